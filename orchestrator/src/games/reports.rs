//! Reports of games that ended.
//!
//! The kernel knows how a process ended and what it used, the brain which players joined and how long the game lived, and
//! the game's record the rest. Reports are bounded in number and in bytes; the oldest are dropped first.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use brain::{Event, Exit, GameId, MatchId};
use launcher::Contract;
use process::Ended;
use protocol::admin::{ExitWord, Report, ReportedPlayer};
use serde::{Deserialize, Serialize};

use super::Games;
use super::record::GameRecord;
use crate::config::Config;
use crate::units::Span;

/// The memory that reports may take, in bytes: about a thousand results of the longest kind that a game can say.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The reports that are handed over to another program, in bytes: it writes and reads them in some milliseconds.
const SAVED_BYTES_MAX: usize = 1024 * 1024;

/// The newest reports, as a snapshot holds them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedReports {
    kept: VecDeque<Report>,
    ended: u64,
}

/// The end of a game, as the brain reports it.
pub(crate) struct GameEnd<'a> {
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

/// The reports that are kept.
pub(crate) struct Reports {
    keep: usize,
    /// The oldest first.
    kept: VecDeque<Report>,
    kept_bytes: usize,
    ended: u64,
}

impl Reports {
    /// Keeps at most `keep` reports.
    pub(crate) fn new(keep: usize) -> Self {
        Self { keep, kept: VecDeque::new(), kept_bytes: 0, ended: 0 }
    }

    /// The newest reports, in at most [`SAVED_BYTES_MAX`].
    pub(crate) fn save(&self) -> SavedReports {
        let mut room = SAVED_BYTES_MAX;
        let mut fits = |report: &&Report| {
            let left = room.checked_sub(report.bytes());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let mut kept: VecDeque<Report> =
            self.kept.iter().rev().take_while(&mut fits).cloned().collect();
        kept.make_contiguous().reverse();
        SavedReports { kept, ended: self.ended }
    }

    pub(crate) fn restore(saved: SavedReports, keep: usize) -> Self {
        let mut reports = Self { ended: saved.ended, ..Self::new(keep) };
        saved.kept.into_iter().for_each(|report| reports.keep(report));
        reports
    }

    /// Keeps at most `keep` reports from here on.
    pub(crate) fn set_keep(&mut self, keep: usize) {
        self.keep = keep;
        self.drop_excess();
    }

    /// Makes the report of a game that has ended, from its record, its end and what the kernel counted.
    pub(crate) fn finish(
        &mut self,
        record: GameRecord,
        end: &GameEnd<'_>,
        ended: &Ended,
    ) -> Report {
        self.ended += 1;
        // Players who were never assigned to the game are not its players.
        let names = if end.match_id.is_some() { record.names } else { Vec::new() };
        let player =
            |(slot, name)| ReportedPlayer { slot, name, joined: end.joined.contains(&slot) };
        Report {
            number: self.ended,
            ended_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            game: end.game.to_string(),
            mode: end.mode.to_owned(),
            match_id: end.match_id.map(|id| id.to_string()),
            pid: ended.pid,
            port: record.port,
            exit: match end.exit {
                Exit::Status(status) => ExitWord::Status(status),
                Exit::Signal(signal) => ExitWord::Signal(signal),
                Exit::Unknown => ExitWord::Unknown,
            },
            limit: end.limit.map(str::to_owned).or(record.limit),
            lived_ms: millis(end.lived),
            cpu_user_us: micros(ended.cpu_user),
            cpu_system_us: micros(ended.cpu_system),
            memory_peak_kib: ended.memory_peak_kib,
            players: names.into_iter().enumerate().map(player).collect(),
            joined_known: end.joined_known,
            result: record.result,
        }
    }

    /// Keeps a report, in place of older ones where there is no room.
    pub(crate) fn keep(&mut self, report: Report) {
        self.kept_bytes += report.bytes();
        self.kept.push_back(report);
        self.drop_excess();
    }

    fn drop_excess(&mut self) {
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

impl Games {
    /// Logs and keeps the report of a game that has ended, whose record this is.
    pub(crate) fn report_end(
        &mut self,
        event: &Event,
        record: Option<GameRecord>,
        config: &Config,
        limit: Option<&'static str>,
    ) {
        let Event::GameEnded { game, mode, match_id, exit, lived, joined } = event else { return };
        let ended = self.processes.get(*game).and_then(|process| process.ended);
        #[cfg(feature = "stub-games")]
        let ended = ended.or_else(|| self.end_of_stub(*game));
        let (Some(ended), Some(record)) = (ended, record) else {
            return log::error!("game {game} ended, and its record is missing");
        };
        let program = config.programs.get(record.program);
        let program = program.unwrap_or_else(|| config.program_of(*mode));
        let end = GameEnd {
            game: *game,
            mode: &config.modes[mode.0].name,
            match_id: *match_id,
            exit: *exit,
            limit,
            lived: *lived,
            joined,
            joined_known: program.run.contract == Contract::Muster,
        };
        let report = self.reports.finish(record, &end, &ended);
        log_end(&report, *lived);
        self.reports.keep(report);
    }
}

/// Logs a report as one line: at level info where there was a match.
fn log_end(report: &Report, lived: Duration) {
    let level = match report.match_id {
        Some(_) => log::Level::Info,
        None => log::Level::Debug,
    };
    let slots = |player: &ReportedPlayer| player.joined.then(|| player.slot.to_string());
    let joined: Vec<String> = report.players.iter().filter_map(slots).collect();
    let joined = match report.joined_known {
        false => "unknown".to_owned(),
        true if joined.is_empty() => "none".to_owned(),
        true => joined.join(","),
    };
    let has_result = if report.result.is_some() { "yes" } else { "no" };
    let limit = report.limit.as_ref().map_or_else(String::new, |key| format!(" limit={key}"));
    let seconds = |micros: u64| Span(Duration::from_micros(micros));
    log::log!(
        level,
        "game ended game={} match={} mode={} pid={} end=\"{}\" lived={} cpu_user={} cpu_system={} \
         memory_peak_kib={} joined={joined} result={has_result}{limit}",
        report.game,
        report.match_id.as_deref().unwrap_or("none"),
        report.mode,
        report.pid,
        report.exit,
        Span(lived),
        seconds(report.cpu_user_us),
        seconds(report.cpu_system_us),
        report.memory_peak_kib,
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use brain::{GamePhase, ModeId};
    use serde_json::value::RawValue;

    use super::*;
    use crate::clock::Instant;

    const ENDED: Ended = Ended {
        pid: 7,
        end: Ok(0),
        cpu_user: Duration::from_micros(1_500),
        cpu_system: Duration::ZERO,
        memory_peak_kib: 640,
    };

    /// Reports a game of two players with a result; only one of them joined.
    fn report(reports: &mut Reports, id: u64, result: &str) {
        let record = GameRecord {
            mode: ModeId(0),
            program: 0,
            port: 20000,
            ordered: Instant::now(),
            phase: GamePhase::Stopping,
            pid: Some(7),
            match_id: Some(MatchId(id)),
            names: ["ada", "bob"].map(str::to_owned).to_vec(),
            limit: None,
            result: RawValue::from_string(result.to_owned()).ok(),
            netcode: None,
        };
        let end = GameEnd {
            game: GameId(id),
            mode: "duel",
            match_id: Some(MatchId(id)),
            exit: Exit::Status(0),
            limit: None,
            lived: Duration::from_millis(12),
            joined: &[1],
            joined_known: true,
        };
        let report = reports.finish(record, &end, &ENDED);
        reports.keep(report);
    }

    fn numbers(reports: &Reports, before: u64) -> Vec<u64> {
        reports.newest(before).map(|report| report.number).collect()
    }

    #[test]
    fn a_report_tells_what_kernel_game_and_brain_know() {
        let mut reports = Reports::new(10);
        report(&mut reports, 3, r#"{"winner":1}"#);
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
    }

    #[test]
    fn the_newest_are_kept_and_no_more() {
        let mut reports = Reports::new(3);
        (1..=5).for_each(|id| report(&mut reports, id, "{}"));
        assert_eq!(numbers(&reports, u64::MAX), [5, 4, 3]);
        assert_eq!(numbers(&reports, 4), [3]);
        let mut none = Reports::new(0);
        report(&mut none, 1, "{}");
        assert_eq!((none.kept(), none.ended()), ((0, 0), 1));
    }

    #[test]
    fn long_results_leave_room_for_fewer_reports() {
        let mut reports = Reports::new(100_000);
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(1024 * 1024));
        (1..=100).for_each(|id| report(&mut reports, id, &long));
        let (kept, bytes) = reports.kept();
        assert!(bytes <= KEPT_BYTES_MAX && (60..64).contains(&kept), "{kept} of {bytes} bytes");
        assert_eq!(numbers(&reports, u64::MAX)[0], 100);
    }
}
