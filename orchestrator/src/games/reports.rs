//! What is remembered of games: of living ones what their end will not tell, of those that ended a report each.
//!
//! The kernel tells how a process ended and what it used, the brain who came and how long it lived; who was expected
//! and what the game said of its match is written down here meanwhile. Reports are bounded in number and in bytes;
//! the oldest go first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use matchmaker::{Action, Event, Exit, GameId, GameStage, MatchId, ModeId};
use process::Ended;
use protocol::Seat;
use protocol::admin::{ExitWord, Report, ReportedPlayer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::stop_reason;
use crate::clock::Instant;

/// The memory that reports may take, in bytes: about a thousand results of the longest kind that a game can say.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The reports that are handed over to another program, in bytes: it writes and reads them in some milliseconds.
const SAVED_BYTES_MAX: usize = 1024 * 1024;

/// A game that was ordered and has not ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Draft {
    pub(crate) mode: ModeId,
    pub(crate) port: u16,
    pub(crate) ordered: Instant,
    pub(crate) phase: GameStage,
    pub(crate) match_id: Option<MatchId>,
    /// The names of its players, by slot.
    pub(crate) names: Vec<String>,
    /// The key of the limit that is ending it.
    #[serde(default)]
    limit: Option<String>,
    result: Option<Box<RawValue>>,
}

/// All of them as they are written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    drafts: BTreeMap<GameId, Draft>,
    kept: VecDeque<Report>,
    ended: u64,
}

/// What the brain tells of a game's end.
pub(crate) struct Ending<'a> {
    pub(crate) game: GameId,
    pub(crate) mode: &'a str,
    pub(crate) match_id: Option<MatchId>,
    pub(crate) exit: Exit,
    /// The key of the limit that its process died of.
    pub(crate) limit: Option<&'static str>,
    pub(crate) lived: Duration,
    /// Slots.
    pub(crate) joined: &'a [usize],
    /// Whether the game says who joined.
    pub(crate) joined_known: bool,
}

/// All of them.
pub(crate) struct Reports {
    keep: usize,
    drafts: BTreeMap<GameId, Draft>,
    /// The oldest first.
    kept: VecDeque<Report>,
    kept_bytes: usize,
    ended: u64,
}

impl Reports {
    /// None yet, and never more than so many.
    pub(crate) fn new(keep: usize) -> Self {
        let kept = VecDeque::new();
        Self { keep, drafts: BTreeMap::new(), kept, kept_bytes: 0, ended: 0 }
    }

    /// What is to be known of them: all of living games, and of those that ended no more than can be handed over at
    /// once.
    pub(crate) fn save(&self) -> Saved {
        let mut room = SAVED_BYTES_MAX;
        let mut fits = |report: &&Report| {
            let left = room.checked_sub(report.bytes());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let mut kept: VecDeque<Report> =
            self.kept.iter().rev().take_while(&mut fits).cloned().collect();
        kept.make_contiguous().reverse();
        Saved { drafts: self.drafts.clone(), kept, ended: self.ended }
    }

    /// Goes on with them, and keeps so many at most.
    pub(crate) fn restore(saved: Saved, keep: usize) -> Self {
        let mut reports = Self { drafts: saved.drafts, ended: saved.ended, ..Self::new(keep) };
        saved.kept.into_iter().for_each(|report| reports.keep(report));
        reports
    }

    /// Keeps so many from here on.
    pub(crate) fn set_keep(&mut self, keep: usize) {
        self.keep = keep;
        self.forget_what_is_too_much();
    }

    // ---- Living games ----

    /// Takes note of what is about to be done with games, but for their end.
    pub(crate) fn follow(&mut self, action: &Action, now: Instant) {
        match action {
            Action::Launch { game, mode, port, seated } => {
                self.order(*game, *mode, *port, now);
                if let Some(seated) = seated {
                    self.seat(*game, seated.match_id, &seated.seats);
                }
            }
            Action::Start { game, match_id, seats, .. } => {
                self.seat(*game, *match_id, seats);
                self.enter(*game, GameStage::Starting);
            }
            Action::Fill { game, seats } => self.seat_others(*game, seats),
            Action::Stop { game, .. } | Action::Terminate { game } | Action::Kill { game } => {
                self.enter(*game, GameStage::Stopping);
            }
            Action::Report(Event::GameWarm { game, .. }) => self.enter(*game, GameStage::Warm),
            Action::Report(Event::MatchAssigned { game, .. }) => {
                self.enter(*game, GameStage::Running);
            }
            Action::Report(Event::GameStopping { game, reason }) => {
                if let Some(limit) = stop_reason::limit(reason)
                    && let Some(draft) = self.drafts.get_mut(game)
                {
                    draft.limit = Some(limit.to_owned());
                }
            }
            Action::Report(Event::MatchResult { game, result, .. }) => {
                self.note_result(*game, result);
            }
            _ => {}
        }
    }

    /// A game is being launched. Each call is followed by [`finish`](Self::finish) or [`forget`](Self::forget).
    pub(crate) fn order(&mut self, game: GameId, mode: ModeId, port: u16, now: Instant) {
        let draft = Draft {
            mode,
            port,
            ordered: now,
            phase: GameStage::Launching,
            match_id: None,
            names: Vec::new(),
            limit: None,
            result: None,
        };
        self.drafts.insert(game, draft);
    }

    /// A game has its players, at birth or later.
    pub(crate) fn seat(&mut self, game: GameId, match_id: MatchId, seats: &[Seat]) {
        if let Some(draft) = self.drafts.get_mut(&game) {
            draft.match_id = Some(match_id);
            draft.names = seats.iter().map(|seat| seat.name.clone()).collect();
        }
    }

    /// Others come into slots of a running match.
    fn seat_others(&mut self, game: GameId, seats: &[Seat]) {
        let Some(draft) = self.drafts.get_mut(&game) else { return };
        for seat in seats {
            if let Some(name) = draft.names.get_mut(seat.slot) {
                seat.name.clone_into(name);
            }
        }
    }

    pub(crate) fn enter(&mut self, game: GameId, phase: GameStage) {
        if let Some(draft) = self.drafts.get_mut(&game) {
            draft.phase = phase;
        }
    }

    pub(crate) fn note_result(&mut self, game: GameId, result: &str) {
        if let Some(draft) = self.drafts.get_mut(&game) {
            draft.result = RawValue::from_string(result.to_owned()).ok();
        }
    }

    /// A game never came to be.
    pub(crate) fn forget(&mut self, game: GameId) {
        self.drafts.remove(&game);
    }

    /// The games that were ordered and have not ended, from this one on.
    pub(crate) fn living(&self, from: GameId) -> impl Iterator<Item = (GameId, &Draft)> {
        self.drafts.range(from..).map(|(game, draft)| (*game, draft))
    }

    // ---- Games that ended ----

    /// A game has ended: what is to be known of it. `None` if it was never ordered.
    pub(crate) fn finish(&mut self, ending: &Ending<'_>, ended: &Ended) -> Option<Report> {
        let draft = self.drafts.remove(&ending.game)?;
        self.ended += 1;
        // Players who were never told of the game are not its players.
        let names = if ending.match_id.is_some() { draft.names } else { Vec::new() };
        let player =
            |(slot, name)| ReportedPlayer { slot, name, joined: ending.joined.contains(&slot) };
        Some(Report {
            number: self.ended,
            ended_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            game: ending.game.to_string(),
            mode: ending.mode.to_owned(),
            match_id: ending.match_id.map(|id| id.to_string()),
            pid: ended.pid,
            port: draft.port,
            exit: match ending.exit {
                Exit::Status(status) => ExitWord::Status(status),
                Exit::Signal(signal) => ExitWord::Signal(signal),
                Exit::Unknown => ExitWord::Unknown,
            },
            limit: ending.limit.map(str::to_owned).or(draft.limit),
            lived_ms: millis(ending.lived),
            cpu_user_us: micros(ended.cpu_user),
            cpu_system_us: micros(ended.cpu_system),
            memory_peak_kib: ended.memory_peak_kib,
            players: names.into_iter().enumerate().map(player).collect(),
            joined_known: ending.joined_known,
            result: draft.result,
        })
    }

    /// Keeps a report, in place of older ones where there is no room.
    pub(crate) fn keep(&mut self, report: Report) {
        self.kept_bytes += report.bytes();
        self.kept.push_back(report);
        self.forget_what_is_too_much();
    }

    fn forget_what_is_too_much(&mut self) {
        while self.kept.len() > self.keep || self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= oldest.bytes();
        }
    }

    /// The reports with lower numbers than this, the newest first.
    pub(crate) fn newest(&self, before: u64) -> impl Iterator<Item = &Report> {
        let end = self.kept.partition_point(|report| report.number < before);
        self.kept.range(..end).rev()
    }

    /// How many reports are kept, and how many bytes they take.
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.kept_bytes)
    }

    /// How many games have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Ended = Ended {
        pid: 7,
        end: Ok(0),
        cpu_user: Duration::from_micros(1_500),
        cpu_system: Duration::ZERO,
        memory_peak_kib: 640,
    };

    /// A game of two is played, said a result and ended; only one came.
    fn play(reports: &mut Reports, id: u64, result: &str) {
        let game = GameId(id);
        reports.order(game, ModeId(0), 20000, Instant::now());
        let seat = |(slot, name): (usize, &str)| {
            let token = protocol::Secret::from_bytes([1; 16]);
            Seat { slot, name: name.to_owned(), token }
        };
        let seats: Vec<Seat> = ["ada", "bob"].into_iter().enumerate().map(seat).collect();
        reports.seat(game, MatchId(id), &seats);
        reports.note_result(game, result);
        let ending = Ending {
            game,
            mode: "duel",
            match_id: Some(MatchId(id)),
            exit: Exit::Status(0),
            limit: None,
            lived: Duration::from_millis(12),
            joined: &[1],
            joined_known: true,
        };
        let report = reports.finish(&ending, &ENDED).unwrap();
        reports.keep(report);
    }

    fn numbers(reports: &Reports, before: u64) -> Vec<u64> {
        reports.newest(before).map(|report| report.number).collect()
    }

    #[test]
    fn a_report_tells_what_kernel_game_and_brain_know() {
        let mut reports = Reports::new(10);
        play(&mut reports, 3, r#"{"winner":1}"#);
        let report = reports.newest(u64::MAX).next().unwrap();
        let told = serde_json::to_value(report).unwrap();
        assert_eq!(told["result"]["winner"], 1);
        assert_eq!(told["exit"]["status"], 0);
        assert_eq!(
            (told["lived_ms"].as_u64(), told["cpu_user_us"].as_u64()),
            (Some(12), Some(1_500))
        );
        let joined = |slot: usize| told["players"][slot]["joined"].as_bool();
        assert_eq!((joined(0), joined(1)), (Some(false), Some(true)));
        assert_eq!(reports.living(GameId(0)).count(), 0);
    }

    #[test]
    fn the_newest_are_kept_and_no_more() {
        let mut reports = Reports::new(3);
        (1..=5).for_each(|id| play(&mut reports, id, "{}"));
        assert_eq!(numbers(&reports, u64::MAX), [5, 4, 3]);
        assert_eq!(numbers(&reports, 4), [3]);
        let mut none = Reports::new(0);
        play(&mut none, 1, "{}");
        assert_eq!((none.kept(), none.ended()), ((0, 0), 1));
    }

    #[test]
    fn long_results_leave_room_for_fewer_reports() {
        let mut reports = Reports::new(100_000);
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(1024 * 1024));
        (1..=100).for_each(|id| play(&mut reports, id, &long));
        let (kept, bytes) = reports.kept();
        assert!(bytes <= KEPT_BYTES_MAX && (60..64).contains(&kept), "{kept} of {bytes} bytes");
        assert_eq!(numbers(&reports, u64::MAX)[0], 100);
    }
}
