//! One record for each game: what the daemon knows of it from the order to launch it until its end.
//!
//! [`GameRecords::follow`] and [`GameRecords::follow_input`] are called for each action and each input, live and when a
//! journal is replayed, so that both come to the same records. Reports, operators' views, the launcher's list of living
//! games and the netcode keys are derived from them.

use std::collections::BTreeMap;

use brain::{Action, Event, GameAction, GameId, GameInput, GamePhase, Input, MatchId, ModeId};
use launcher::LivingGame;
use protocol::Seat;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keys::{KeyChange, NetcodeKeys};
use super::stop_reason;
use crate::clock::Instant;

/// One game.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GameRecord {
    pub(crate) mode: ModeId,
    /// The index of the program that it was launched as.
    pub(crate) program: usize,
    pub(crate) port: u16,
    /// When its launch was ordered.
    pub(crate) ordered: Instant,
    pub(crate) phase: GamePhase,
    /// Its process, once that exists.
    pub(crate) pid: Option<i32>,
    /// The match that was sent to it.
    pub(crate) match_id: Option<MatchId>,
    /// The names of its players, by slot.
    pub(crate) names: Vec<String>,
    /// The key of the limit that is ending it.
    pub(crate) limit: Option<String>,
    /// The result of its match.
    pub(crate) result: Option<Box<RawValue>>,
    /// With `transport = "netcode"`: its key and its players' connect tokens.
    pub(crate) netcode: Option<NetcodeKeys>,
}

/// The records of all games that were ordered and have not ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct GameRecords(BTreeMap<GameId, GameRecord>);

impl GameRecords {
    /// Updates the records for an action. `program_of` gives the program that a mode launches now. Returns the record
    /// of a game that has ended, which is no longer among the others.
    pub(crate) fn follow(
        &mut self,
        action: &Action,
        now: Instant,
        program_of: impl Fn(ModeId) -> usize,
    ) -> Option<GameRecord> {
        match action {
            Action::Game(GameAction::Launch { game, mode, port, seated }) => {
                self.order(*game, *mode, program_of(*mode), *port, now);
                if let Some(seated) = seated {
                    self.seat(*game, seated.match_id, &seated.seats);
                }
            }
            Action::Game(GameAction::Start { game, match_id, seats, .. }) => {
                self.seat(*game, *match_id, seats);
                self.enter(*game, GamePhase::Starting);
            }
            Action::Game(GameAction::Fill { game, seats }) => self.fill(*game, seats),
            Action::Game(GameAction::Rejoin { game, seat }) => self.forget_token(*game, seat.slot),
            Action::Game(GameAction::Stop { game, .. })
            | Action::Game(GameAction::Terminate { game })
            | Action::Game(GameAction::Kill { game }) => {
                self.enter(*game, GamePhase::Stopping);
            }
            Action::Report(event) => return self.follow_event(event),
            _ => {}
        }
        None
    }

    fn follow_event(&mut self, event: &Event) -> Option<GameRecord> {
        match event {
            Event::GameWarm { game, .. } => self.enter(*game, GamePhase::Warm),
            Event::MatchAssigned { game, .. } => self.enter(*game, GamePhase::Running),
            Event::GameStopping { game, reason } => {
                if let Some(limit) = stop_reason::limit(reason)
                    && let Some(record) = self.0.get_mut(game)
                {
                    record.limit = Some(limit.to_owned());
                }
            }
            Event::MatchResult { game, result, .. } => {
                if let Some(record) = self.0.get_mut(game) {
                    record.result = RawValue::from_string(result.to_owned()).ok();
                }
            }
            Event::GameEnded { game, .. } => return self.0.remove(game),
            _ => {}
        }
        None
    }

    /// Updates the records for an input that the brain is about to handle.
    pub(crate) fn follow_input(&mut self, input: &Input) {
        if let Input::Game(GameInput::LaunchFailed { game, .. }) = input {
            self.0.remove(game);
        }
    }

    /// A game's process exists.
    pub(crate) fn set_pid(&mut self, game: GameId, pid: i32) {
        if let Some(record) = self.0.get_mut(&game) {
            record.pid = Some(pid);
        }
    }

    /// Changes the netcode keys of a game.
    pub(crate) fn change_keys(&mut self, game: GameId, change: KeyChange) {
        if let Some(record) = self.0.get_mut(&game) {
            record.netcode.get_or_insert_default().apply(change);
        }
    }

    pub(crate) fn get(&self, game: GameId) -> Option<&GameRecord> {
        self.0.get(&game)
    }

    /// The records from this game on, in the order of the games' ids.
    pub(crate) fn from(&self, game: GameId) -> impl Iterator<Item = (GameId, &GameRecord)> {
        self.0.range(game..).map(|(game, record)| (*game, record))
    }

    /// The games with processes, as a new launcher has to know them.
    pub(crate) fn living(&self) -> impl Iterator<Item = LivingGame> {
        self.0.iter().filter_map(|(game, record)| {
            let pid = record.pid?;
            Some(LivingGame { game: game.0, pid, program: record.program, port: record.port })
        })
    }

    fn order(&mut self, game: GameId, mode: ModeId, program: usize, port: u16, now: Instant) {
        let record = GameRecord {
            mode,
            program,
            port,
            ordered: now,
            phase: GamePhase::Launching,
            pid: None,
            match_id: None,
            names: Vec::new(),
            limit: None,
            result: None,
            netcode: None,
        };
        self.0.insert(game, record);
    }

    /// A game has its players, from its launch or later.
    fn seat(&mut self, game: GameId, match_id: MatchId, seats: &[Seat]) {
        if let Some(record) = self.0.get_mut(&game) {
            record.match_id = Some(match_id);
            record.names = seats.iter().map(|seat| seat.name.clone()).collect();
        }
    }

    /// Other players take open slots of a running match.
    fn fill(&mut self, game: GameId, seats: &[Seat]) {
        for seat in seats {
            self.forget_token(game, seat.slot);
            let name = self.0.get_mut(&game).and_then(|record| record.names.get_mut(seat.slot));
            if let Some(name) = name {
                seat.name.clone_into(name);
            }
        }
    }

    /// The player in a slot has another secret from now on, and needs another connect token.
    fn forget_token(&mut self, game: GameId, slot: usize) {
        if let Some(netcode) = self.0.get_mut(&game).and_then(|record| record.netcode.as_mut()) {
            netcode.forget_token(slot);
        }
    }

    fn enter(&mut self, game: GameId, phase: GamePhase) {
        if let Some(record) = self.0.get_mut(&game) {
            record.phase = phase;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brain::{Exit, LaunchFault, SeatedMatch};
    use protocol::Secret;

    use super::*;

    const GAME: GameId = GameId(7);

    fn seat(slot: usize, name: &str) -> Seat {
        Seat { slot, name: name.to_owned(), token: Secret::from_bytes([1; 16]) }
    }

    fn launch(seated: Option<SeatedMatch>) -> Action {
        Action::Game(GameAction::Launch { game: GAME, mode: ModeId(2), port: 20000, seated })
    }

    fn followed(actions: &[Action]) -> GameRecords {
        let mut records = GameRecords::default();
        for action in actions {
            assert!(records.follow(action, Instant::now(), |mode| mode.0 + 1).is_none());
        }
        records
    }

    #[test]
    fn a_record_holds_what_the_actions_say() {
        let seats = vec![seat(0, "ada"), seat(1, "bob")];
        let start = Action::Game(GameAction::Start {
            game: GAME,
            mode: ModeId(2),
            match_id: MatchId(3),
            seats,
        });
        let fill = Action::Game(GameAction::Fill { game: GAME, seats: vec![seat(1, "eve")] });
        let result = Event::MatchResult {
            match_id: MatchId(3),
            mode: ModeId(2),
            game: GAME,
            result: r#"{"winner":1}"#.to_owned(),
        };
        let stop = Action::Game(GameAction::Stop { game: GAME, grace: Duration::ZERO });
        let mut records = followed(&[launch(None), start, fill, Action::Report(result), stop]);
        let record = records.get(GAME).unwrap();
        assert_eq!((record.program, record.port, record.match_id), (3, 20000, Some(MatchId(3))));
        assert_eq!(
            (record.phase, &record.names[..]),
            (GamePhase::Stopping, &["ada", "eve"].map(str::to_owned)[..])
        );
        assert_eq!(record.result.as_ref().unwrap().get(), r#"{"winner":1}"#);
        assert_eq!(records.living().count(), 0, "it has no process yet");
        records.set_pid(GAME, 99);
        assert_eq!(records.living().next().unwrap().program, 3);
        let ended = Action::Report(Event::GameEnded {
            game: GAME,
            mode: ModeId(2),
            match_id: None,
            exit: Exit::Status(0),
            lived: Duration::ZERO,
            joined: Vec::new(),
        });
        let last = records.follow(&ended, Instant::now(), |mode| mode.0).unwrap();
        assert_eq!(last.pid, Some(99));
        assert!(records.get(GAME).is_none());
    }

    #[test]
    fn a_game_that_was_not_launched_has_no_record() {
        let seated = SeatedMatch { match_id: MatchId(1), seats: vec![seat(0, "ada")] };
        let mut records = followed(&[launch(Some(seated))]);
        assert_eq!(records.get(GAME).unwrap().match_id, Some(MatchId(1)));
        records.follow_input(&Input::Game(GameInput::LaunchFailed {
            game: GAME,
            fault: LaunchFault::Interrupted,
        }));
        assert!(records.get(GAME).is_none());
    }

    #[test]
    fn another_secret_takes_another_token() {
        let mut records = followed(&[launch(None)]);
        let token = |slot| KeyChange::Token { slot, token: format!("token {slot}") };
        [0, 1].into_iter().for_each(|slot| records.change_keys(GAME, token(slot)));
        let has_token = |records: &GameRecords, slot| {
            records.get(GAME).unwrap().netcode.as_ref().unwrap().has_token(slot)
        };
        records.follow(
            &Action::Game(GameAction::Rejoin { game: GAME, seat: seat(1, "bob") }),
            Instant::now(),
            |_| 0,
        );
        assert!(has_token(&records, 0) && !has_token(&records, 1));
        records.follow(
            &Action::Game(GameAction::Fill { game: GAME, seats: vec![seat(0, "eve")] }),
            Instant::now(),
            |_| 0,
        );
        assert!(!has_token(&records, 0));
    }
}
