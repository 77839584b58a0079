//! What operators ask, and the answers. Each answer is bounded, and says how to get the rest.

use brain::{GameId, GameInput, Input, PlayerId, PlayerInput};
use log::LevelFilter;
use serde::Serialize;

use super::Server;
use crate::games::record::GameRecord;
use crate::handoff::preflight::Aim;
use crate::operators::socket::{CONVERSATIONS_MAX, PendingReply};
use crate::{logging, units};
use protocol::admin::{
    Done, Games, ID_END, LivingGame, LoopStats, OneGame, Players, Refusal, Report, Request,
    WaitingPlayer,
};

/// A page of games is full when it has so many bytes, about: less than the loop needs a millisecond for.
const PAGE_BYTES: usize = 128 * 1024;

/// A page of players is full when there are so many, with names as long as they may be.
const PAGE_PLAYERS: usize = 512;

/// The levels of the log.
const LEVELS: &str = "off, error, warn, info, debug or trace";

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
                Ok(line) => self.answer_operator(&line, || admin.defer_reply(place)),
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
        promise: impl FnOnce() -> Option<PendingReply>,
    ) -> Option<String> {
        Some(match serde_json::from_slice(line) {
            Ok(Request::Games { last, before, from }) => json(&self.games_page(last, before, from)),
            Ok(Request::Game { game }) => match self.one_game(GameId(game)) {
                Some(found) => json(&found),
                None => refusal(format!(
                    "game {game} is unknown: it is not running, and no report of it is kept"
                )),
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
                let status = json(&self.view().status(watch));
                if reset_turns {
                    self.loop_stats = LoopStats::default();
                }
                status
            }
            Ok(Request::Handover) => {
                let begun = self.begin_upgrade(Aim::HandOver, None, promise());
                return begun.err().map(|error| refusal(error.to_string()));
            }
            Ok(Request::Upgrade { binary }) => {
                let begun = self.begin_upgrade(Aim::Execute, binary, promise());
                return begun.err().map(|error| refusal(error.to_string()));
            }
            Err(error) => refusal(error.to_string()),
        })
    }

    /// A page: first the living games, then reports.
    fn games_page(&self, last: usize, before: u64, from: u64) -> Games<&Report> {
        let mut room = PAGE_BYTES;
        let mut page = Games { living: Vec::new(), ended: Vec::new(), next: None };
        for (game, record) in self.games.records().from(GameId(from)) {
            if room == 0 {
                page.next = Some(Request::Games { last, before, from: game.0 });
                return page;
            }
            let names: usize = record.names.iter().map(String::len).sum();
            room = room.saturating_sub(LIVING_BYTES + names);
            page.living.push(self.living_game(game, record));
        }
        for report in self.games.reports().newest(before).take(last) {
            if room == 0 {
                page.next = Some(Request::Games {
                    last: last - page.ended.len(),
                    before: report.number + 1,
                    // After all living games.
                    from: ID_END,
                });
                return page;
            }
            room = room.saturating_sub(report.bytes());
            page.ended.push(report);
        }
        page
    }

    fn living_game(&self, game: GameId, record: &GameRecord) -> LivingGame {
        LivingGame {
            game: game.to_string(),
            mode: self.config.modes[record.mode.0].name.clone(),
            match_id: record.match_id.map(|id| id.to_string()),
            phase: record.phase,
            pid: record.pid,
            port: record.port,
            age_ms: units::millis(self.now.saturating_duration_since(record.ordered)),
            players: record.names.clone(),
        }
    }

    fn one_game(&self, game: GameId) -> Option<OneGame<&Report>> {
        let living = self.games.record(game).map(|record| self.living_game(game, record));
        let name = game.to_string();
        let ended = self.games.reports().newest(ID_END).find(|report| report.game == name);
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
                waited_ms: units::millis(self.brain_now().saturating_sub(player.since)),
                here: player.is_here,
            });
        }
        page
    }

    fn undrain_as_asked(&mut self) -> Result<String, String> {
        if self.brain.is_serving() {
            return Ok("players are accepted already".to_owned());
        }
        if self.handoff.stop_was_asked() {
            return Err("a signal stops the daemon, which cannot be cancelled".to_owned());
        }
        log::info!("accepting players again, as requested by an operator");
        self.tell_brain(Input::Undrain);
        match self.brain.is_serving() {
            true => Ok("players are accepted again".to_owned()),
            false => Err("no game is left: the daemon exits".to_owned()),
        }
    }

    fn kick(&mut self, player: PlayerId) -> Result<String, String> {
        let found = self.brain.players_figures(player).next().filter(|it| it.player == player);
        let Some(name) = found.map(|it| it.name.to_owned()) else {
            return Err(format!(
                "player {player} is not waiting; `muster players` lists waiting players"
            ));
        };
        log::info!("player kicked player={player}");
        self.tell_brain(Input::Player(PlayerInput::Kick { player }));
        Ok(format!("removed player {player} ({name})"))
    }

    fn end_game(&mut self, game: GameId, now: bool) -> Result<String, String> {
        if self.games.record(game).is_none() {
            return Err(format!("game {game} is not running; `muster games` lists running games"));
        }
        self.tell_brain(Input::Game(GameInput::End { game, now }));
        let how = if now { "is being killed" } else { "is being stopped" };
        Ok(format!("game {game} {how}"))
    }

    /// Goes down for an operator. Unlike a signal's, nobody else is told that the daemon stops.
    fn drain_as_asked(&mut self) -> Result<String, String> {
        if !self.brain.is_serving() {
            return Ok("draining already".to_owned());
        }
        log::info!("draining, as requested by an operator");
        self.tell_brain(Input::Drain);
        // Games without players are stopped at once, and hold nobody up.
        let played = |(_, record): (GameId, &GameRecord)| record.match_id.is_some();
        Ok(match self.games.records().from(GameId(0)).any(played) {
            true => "draining: no new players; the daemon exits when its games have ended",
            false => "draining: no game has players, so the daemon exits now",
        }
        .to_owned())
    }
}

fn set_log_level(level: &str) -> Result<String, String> {
    let parsed: Result<LevelFilter, _> = level.parse();
    let parsed = parsed.map_err(|_| format!("\"{level}\" is not a level: {LEVELS}"))?;
    log::info!("the log level is {parsed} now");
    logging::set_level(parsed);
    Ok(format!("the log level is {} now", parsed.as_str().to_lowercase()))
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
