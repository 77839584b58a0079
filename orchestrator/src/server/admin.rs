//! What operators ask, and the answers. Each answer is bounded, and says how to get the rest.

use std::time::Duration;

use log::LevelFilter;
use matchmaker::{GameId, Input, ModeId, PlayerId};
use serde::Serialize;

use super::Server;
use crate::admin::socket::{Asker, CONVERSATIONS_MAX};
use crate::admin::{
    Done, END, Games, LivingGame, OneGame, PORT_LETTERS, Players, PortStatus, QueueStatus, Refusal,
    ReportStatus, Request, Status, TemplateStatus, Turns, WaitingPlayer, Watch,
};
use crate::games::reports::{Draft, Report};
use crate::logging;

/// A page of games is full when it has so many bytes, about: less than the loop needs a millisecond for.
const PAGE_BYTES: usize = 128 * 1024;

/// A page of players is full when there are so many, with names as long as they may be.
const PAGE_PLAYERS: usize = 512;

/// The levels of the log.
const LEVELS: &str = "off, error, warn, info, debug and trace";

/// What a living game takes of a page, besides names.
const LIVING_BYTES: usize = 256;

impl Server {
    /// Serves each operator one request, where there is one.
    pub(super) fn serve_operators(&mut self) {
        // Taken out meanwhile, so that the answers can come from everything else.
        let Some(mut admin) = self.admin.take() else { return };
        admin.accept(self.poll.registry());
        for place in 0..CONVERSATIONS_MAX {
            let Some(request) = admin.next_request(place, &mut self.chunk) else { continue };
            let answer = match request {
                Ok(line) => self.answer_operator(&line, || admin.promise(place)),
                Err(error) => Some(refusal(error)),
            };
            if let Some(answer) = answer {
                admin.answer(place, &answer);
            }
        }
        self.admin = Some(admin);
    }

    /// The answer to a request; `None` if it is promised for later.
    fn answer_operator(
        &mut self,
        line: &[u8],
        promise: impl FnOnce() -> Option<Asker>,
    ) -> Option<String> {
        Some(match serde_json::from_slice(line) {
            Ok(Request::Games { last, before, from }) => json(&self.games_page(last, before, from)),
            Ok(Request::Game { game }) => match self.one_game(GameId(game)) {
                Some(found) => json(&found),
                None => refusal(format!("nothing is known of game {game}, living or reported")),
            },
            Ok(Request::Players { from }) => json(&self.players_page(PlayerId(from))),
            Ok(Request::Log { level }) => done(set_log_level(&level)),
            Ok(Request::Dump) => {
                let begun = self.begin_dump(promise());
                return begun.err().map(refusal);
            }
            Ok(Request::Drain) => done(self.drain_as_asked()),
            Ok(Request::Undrain) => done(self.undrain_as_asked()),
            Ok(Request::Reload) => match self.reload() {
                Ok(done) => json(&done),
                Err(error) => refusal(error),
            },
            Ok(Request::Kick { player }) => done(self.kick(PlayerId(player))),
            Ok(Request::Kill { game, now }) => done(self.end_game(GameId(game), now)),
            Ok(Request::Status { reset_turns, watch }) => {
                let mut status = self.daemon_status();
                status.watch = watch.then(|| self.watch());
                let status = json(&status);
                if reset_turns {
                    self.turns = Turns::default();
                }
                status
            }
            Ok(Request::Handover) => {
                let begun = self.begin_handover(promise());
                return begun.err().map(refusal);
            }
            Ok(Request::Upgrade { binary }) => {
                let begun = self.begin_upgrade(binary, promise());
                return begun.err().map(refusal);
            }
            Err(error) => refusal(error.to_string()),
        })
    }

    /// A page: first the living games, then reports.
    fn games_page(&self, last: usize, before: u64, from: u64) -> Games<&Report> {
        let mut room = PAGE_BYTES;
        let mut page = Games { living: Vec::new(), ended: Vec::new(), next: None };
        for (game, draft) in self.reports.living(GameId(from)) {
            if room == 0 {
                page.next = Some(Request::Games { last, before, from: game.0 });
                return page;
            }
            let names: usize = draft.names.iter().map(String::len).sum();
            room = room.saturating_sub(LIVING_BYTES + names);
            page.living.push(self.living_game(game, draft));
        }
        for report in self.reports.newest(before).take(last) {
            if room == 0 {
                page.next = Some(Request::Games {
                    last: last - page.ended.len(),
                    before: report.number + 1,
                    // After all living games.
                    from: END,
                });
                return page;
            }
            room = room.saturating_sub(report.bytes());
            page.ended.push(report);
        }
        page
    }

    fn living_game(&self, game: GameId, draft: &Draft) -> LivingGame {
        LivingGame {
            game: game.to_string(),
            mode: self.config.modes[draft.mode.0].name.clone(),
            match_id: draft.match_id.map(|id| id.to_string()),
            phase: draft.phase,
            pid: self.games.get(game).map(|game| game.pid),
            port: draft.port,
            age_ms: millis(self.now.saturating_duration_since(draft.ordered)),
            players: draft.names.clone(),
        }
    }

    fn daemon_status(&self) -> Status {
        let template = |(mode, pid): (ModeId, i32)| TemplateStatus {
            mode: self.config.modes[mode.0].name.clone(),
            pid,
        };
        let queues = self.config.all_in_order().map(|mode| self.queue_status(mode));
        let queues = queues.filter(|it| !it.removed || it.waiting + it.games > 0);
        let range = &self.config.ports.range;
        let (kept, bytes) = self.reports.kept();
        Status {
            pid: std::process::id(),
            uptime_ms: millis(self.now.saturating_duration_since(self.started)),
            serving: self.brain.is_serving(),
            queues: queues.collect(),
            ports: PortStatus {
                first: *range.start(),
                last: *range.end(),
                free: self.brain.mode_status(ModeId(0)).ports_free,
            },
            launcher: self.launcher.pid(),
            templates: self.templates.living().into_iter().map(template).collect(),
            reports: ReportStatus { ended: self.reports.ended(), kept, bytes },
            turns: self.turns,
            matches_assigned: self.counts.modes.iter().map(|mode| mode.matches_assigned).sum(),
            watch: None,
        }
    }

    fn queue_status(&self, mode: ModeId) -> QueueStatus {
        let status = self.brain.mode_status(mode);
        let figures = self.brain.mode_figures(mode);
        let waits = |since| millis(self.brain_now().saturating_sub(since));
        QueueStatus {
            queue: self.config.modes[mode.0].name.clone(),
            waiting: status.waiting,
            games: status.games,
            away: status.away,
            oldest_ms: figures.oldest_since.map(waits),
            failing: figures.is_failing,
            reason: self.why_failing(mode),
            removed: self.mode(mode).is_closed,
        }
    }

    /// What only who watches wants to know.
    fn watch(&self) -> Watch {
        let first = *self.config.ports.range.start();
        let mut letters = vec![PORT_LETTERS[0].0; self.config.ports.range.len()];
        let mut set = |port: u16, word: &str| {
            let letter = PORT_LETTERS.iter().find(|(_, it)| *it == word);
            let slot = letters.get_mut(usize::from(port.saturating_sub(first)));
            if let (Some(slot), Some((letter, _))) = (slot, letter) {
                *slot = *letter;
            }
        };
        self.brain.ports_taken().for_each(|(port, place)| set(port, place.word()));
        self.brain.games_figures().for_each(|game| set(game.port, game.stage.word()));
        Watch { ports: letters.into_iter().collect(), events: logging::recent() }
    }

    fn one_game(&self, game: GameId) -> Option<OneGame<&Report>> {
        let living = self.reports.living(game).next().filter(|(id, _)| *id == game);
        let living = living.map(|(game, draft)| self.living_game(game, draft));
        let name = game.to_string();
        let ended = self.reports.newest(END).find(|report| report.game == name);
        (living.is_some() || ended.is_some()).then_some(OneGame { living, ended })
    }

    fn players_page(&self, from: PlayerId) -> Players {
        let mut page = Players { players: Vec::new(), next: None };
        for player in self.brain.players_figures(from) {
            if page.players.len() == PAGE_PLAYERS {
                page.next = Some(Request::Players { from: player.player.0 });
                break;
            }
            page.players.push(WaitingPlayer {
                player: player.player.to_string(),
                name: player.name.to_owned(),
                queue: self.config.modes[player.mode.0].name.clone(),
                match_id: player.match_id.map(|id| id.to_string()),
                waited_ms: millis(self.brain_now().saturating_sub(player.since)),
                here: player.is_here,
            });
        }
        page
    }

    fn undrain_as_asked(&mut self) -> Result<String, String> {
        if self.brain.is_serving() {
            return Ok("players are taken in already".to_owned());
        }
        if self.stop_was_asked {
            return Err("a signal told the daemon to stop, which cannot be taken back".to_owned());
        }
        log::info!("taking players in again, as an operator asked");
        self.tell_brain(Input::Undrain);
        match self.brain.is_serving() {
            true => Ok("players are taken in again".to_owned()),
            false => Err("no game is left already: the daemon ends".to_owned()),
        }
    }

    fn kick(&mut self, player: PlayerId) -> Result<String, String> {
        let found = self.brain.players_figures(player).next().filter(|it| it.player == player);
        let Some(name) = found.map(|it| it.name.to_owned()) else {
            return Err(format!("player {player} does not wait; `muster players` shows who does"));
        };
        log::info!("player kicked player={player}");
        self.tell_brain(Input::Kick { player });
        Ok(format!("player {player}, {name}, is out"))
    }

    fn end_game(&mut self, game: GameId, now: bool) -> Result<String, String> {
        if self.reports.living(game).next().is_none_or(|(id, _)| id != game) {
            return Err(format!("game {game} does not live; `muster games` shows which do"));
        }
        self.tell_brain(Input::EndGame { game, now });
        let how = if now { "is killed" } else { "is told to stop" };
        Ok(format!("game {game} {how}"))
    }

    /// Goes down for an operator. Unlike a signal's, nobody else is told that the daemon stops.
    fn drain_as_asked(&mut self) -> Result<String, String> {
        if !self.brain.is_serving() {
            return Ok("draining already".to_owned());
        }
        log::info!("draining, as an operator asked");
        self.tell_brain(Input::Drain);
        // Games without players are stopped at once, and hold nobody up.
        let played = |(_, draft): (GameId, &Draft)| draft.match_id.is_some();
        Ok(match self.reports.living(GameId(0)).any(played) {
            true => "draining: no new players; the daemon exits when its games have ended",
            false => "draining: no game is played, so the daemon exits now",
        }
        .to_owned())
    }
}

fn set_log_level(level: &str) -> Result<String, String> {
    let parsed: Result<LevelFilter, _> = level.parse();
    let parsed = parsed.map_err(|_| format!("\"{level}\" is none of {LEVELS}"))?;
    log::info!("logging at level {parsed} from here on");
    logging::set_level(parsed);
    Ok(format!("logging at level {}", parsed.as_str().to_lowercase()))
}

fn done(outcome: Result<String, String>) -> String {
    match outcome {
        Ok(done) => json(&Done { done, warnings: Vec::new() }),
        Err(error) => refusal(error),
    }
}

fn refusal(error: String) -> String {
    json(&Refusal { error })
}

fn json(answer: &impl Serialize) -> String {
    // Serializing fails only for maps with keys that are not strings, which no answer holds.
    serde_json::to_string(answer).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
