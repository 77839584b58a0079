//! All players of a run: the activity of each, and the transitions between activities.

use std::net::IpAddr;
use std::time::Duration;

use client::Assignment;
use mio::{Interest, Registry, Token};

use crate::compositor::{Compositor, Dispatch};
use crate::limits;
use crate::measure::Latency;
use crate::net;
use crate::phase::Phase;
use crate::pool::{Birth, Pool};
use crate::scenarios::Run;
use crate::scenarios::in_game::Game;
use crate::stage::Stage;
use crate::step::Step;
use crate::timers::Timers;
use crate::visit::{BACK_IN, Turn, Visit};

/// The players, and their shared state.
pub(crate) struct Players {
    players: Vec<Player>,
    /// Places of players who are gone for good.
    vacant: Vec<usize>,
    pub(crate) stage: Stage,
    pub(crate) compositor: Compositor,
    pub(crate) pool: Pool,
    timers: Timers,
    registry: Registry,
    /// Advice about limits that were reached.
    advice: Vec<&'static str>,
}

/// An entry in the list of players, and its current player.
struct Player {
    number: u32,
    source: Option<IpAddr>,
    /// The number of runs started.
    runs: u32,
    /// Changes with each socket, so that late events of an old one are ignored.
    epoch: u32,
    activity: Activity,
}

/// The activity of a player.
enum Activity {
    Vacant,
    Idle,
    /// Without a connection for a while, during a run.
    Away(Box<Run>, Duration),
    Visit(Box<Visit>),
    Game(Box<Game>),
}

/// The largest numbers of new players, and of started runs, before other work.
const BIRTHS_MAX: usize = 1024;
const DISPATCHES_MAX: usize = 256;

/// The largest number of deadlines that are handled before other work.
const TIMEOUTS_MAX: usize = 1024;

/// The lower bits of a token are the player's place, the others the epoch.
const PLACE_BITS: u32 = 32;

/// Tokens from here on are not places of players.
pub(crate) const PLACES_MAX: usize = 1 << 24;

impl Players {
    pub(crate) fn new(
        stage: Stage,
        compositor: Compositor,
        pool: Pool,
        registry: Registry,
    ) -> Self {
        Self {
            players: Vec::new(),
            vacant: Vec::new(),
            stage,
            compositor,
            pool,
            timers: Timers::default(),
            registry,
            advice: Vec::new(),
        }
    }

    /// Handles an event of a socket.
    pub(crate) fn handle_ready(&mut self, token: Token, is_read_closed: bool) {
        let place = token.0 & ((1 << PLACE_BITS) - 1);
        let Some(player) = self.players.get_mut(place) else { return };
        if token_of(place, player.epoch) != token {
            return;
        }
        match &mut player.activity {
            Activity::Visit(visit) => {
                let turn = visit.handle_ready(&mut self.stage, is_read_closed);
                self.after_visit(place, turn);
            }
            Activity::Game(game) => {
                let continues = game.handle_ready(&mut self.stage);
                self.after_game(place, continues);
            }
            Activity::Vacant | Activity::Idle | Activity::Away(..) => {}
        }
    }

    /// Does everything that is due.
    pub(crate) fn handle_time(&mut self) {
        let now = self.stage.now();
        for _ in 0..TIMEOUTS_MAX {
            let Some(place) = self.timers.poll(now) else { break };
            self.handle_timeout(place, now);
        }
        for _ in 0..BIRTHS_MAX {
            let Some(birth) = self.pool.poll_birth(now) else { break };
            self.handle_birth(birth);
        }
        for _ in 0..DISPATCHES_MAX {
            let Some(dispatch) = self.compositor.poll(now) else { break };
            self.handle_dispatch(dispatch);
        }
    }

    /// The next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [
            self.timers.next_deadline(),
            self.pool.next_deadline(),
            self.compositor.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Ends the run: no player starts anything, and idle ones leave.
    pub(crate) fn handle_end_of_run(&mut self) {
        self.stage.is_ending = true;
        self.compositor.stop();
        self.pool.stop();
        for place in 0..self.players.len() {
            match &mut self.players[place].activity {
                Activity::Visit(visit) => {
                    let turn = visit.handle_end_of_run(&mut self.stage);
                    self.after_visit(place, turn);
                }
                Activity::Game(game) => {
                    let continues = game.handle_end_of_run(&mut self.stage);
                    self.after_game(place, continues);
                }
                // A player whom Muster disconnected still reconnects, to learn the state of the session.
                Activity::Away(run, _) if run.is_owed => {}
                Activity::Away(..) => self.become_idle(place, Duration::ZERO),
                Activity::Vacant | Activity::Idle => {}
            }
        }
    }

    /// Advice about limits that were reached since the last call.
    pub(crate) fn take_advice(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.advice)
    }

    fn handle_birth(&mut self, birth: Birth) {
        let Birth { number, due, source } = birth;
        let player = Player { number, source, runs: 0, epoch: 0, activity: Activity::Idle };
        let place = match self.vacant.pop() {
            Some(place) => {
                let epoch = self.players[place].epoch;
                self.players[place] = Player { epoch, ..player };
                place
            }
            None => {
                self.players.push(player);
                self.players.len() - 1
            }
        };
        self.stage.measure.phase_changed(None, Some(Phase::Idle));
        self.compositor.handle_idle(due, place, number, 0);
    }

    fn handle_dispatch(&mut self, dispatch: Dispatch) {
        let Dispatch { place, due, step } = dispatch;
        self.stage.measure.run_begun(step.kind.name());
        self.stage.measure.took(Latency::Lateness, self.stage.now().saturating_sub(due));
        self.players[place].runs += 1;
        self.begin_visit(place, due, Run::new(step));
    }

    fn begin_visit(&mut self, place: usize, due: Duration, run: Run) {
        let player = &mut self.players[place];
        player.epoch = player.epoch.wrapping_add(1);
        let token = token_of(place, player.epoch);
        let stream = net::connect(self.stage.target, player.source).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(&mut stream, token, interest)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => {
                let visit = Visit::new(player.number, stream, due, run);
                self.stage.measure.phase_changed(Some(Phase::Idle), Some(visit.phase()));
                self.timers.set(place, visit.next_deadline(&self.stage));
                self.players[place].activity = Activity::Visit(Box::new(visit));
            }
            Err(error) => {
                self.stage.io_error("connect", &error);
                self.note_limit(&error);
                match run.is_owed {
                    true => self.go_away(place, Box::new(run), BACK_IN),
                    false => self.become_idle(place, REST),
                }
            }
        }
    }

    /// Suspends the player's run for `back_in`.
    fn go_away(&mut self, place: usize, run: Box<Run>, back_in: Duration) {
        let due = self.stage.now() + back_in;
        self.players[place].activity = Activity::Away(run, due);
        self.timers.set(place, Some(due));
    }

    fn handle_timeout(&mut self, place: usize, now: Duration) {
        match &mut self.players[place].activity {
            Activity::Visit(visit) => match visit.next_deadline(&self.stage) {
                Some(at) if at <= now => {
                    let turn = visit.handle_timeout(&mut self.stage);
                    self.after_visit(place, turn);
                }
                later => self.timers.set(place, later),
            },
            Activity::Game(game) => match game.next_deadline() {
                Some(at) if at <= now => {
                    let continues = game.handle_timeout(&mut self.stage);
                    self.after_game(place, continues);
                }
                later => self.timers.set(place, later),
            },
            Activity::Away(_, until) if *until <= now => self.come_back(place),
            Activity::Away(_, until) => self.timers.set(place, Some(*until)),
            Activity::Vacant | Activity::Idle => {}
        }
    }

    fn come_back(&mut self, place: usize) {
        let activity = std::mem::replace(&mut self.players[place].activity, Activity::Idle);
        if let Activity::Away(run, due) = activity {
            self.begin_visit(place, due, *run);
        }
    }

    fn after_visit(&mut self, place: usize, turn: Turn) {
        let Activity::Visit(visit) = &mut self.players[place].activity else { return };
        if let Turn::Stays = turn {
            return self.timers.set(place, visit.next_deadline(&self.stage));
        }
        let (phase, step) = (visit.phase(), *visit.step());
        let activity = std::mem::replace(&mut self.players[place].activity, Activity::Idle);
        if let Activity::Visit(visit) = activity {
            visit.close();
        }
        match turn {
            Turn::Stays => {}
            Turn::Play(assignment) => self.begin_game(place, phase, &step, &assignment),
            Turn::Idle(rest) => {
                self.stage.measure.phase_changed(Some(phase), Some(Phase::Idle));
                self.rest(place, rest);
            }
            Turn::Away(run, back_in) => {
                self.stage.measure.phase_changed(Some(phase), Some(Phase::Idle));
                if run.is_owed || !self.stage.is_ending {
                    self.go_away(place, run, back_in);
                }
            }
            Turn::LoggedOut => {
                self.stage.measure.phase_changed(Some(phase), None);
                self.players[place].activity = Activity::Vacant;
                self.vacant.push(place);
                self.pool.handle_death(self.stage.now());
            }
        }
    }

    fn begin_game(&mut self, place: usize, phase: Phase, step: &Step, assignment: &Assignment) {
        let player = &mut self.players[place];
        player.epoch = player.epoch.wrapping_add(1);
        let token = token_of(place, player.epoch);
        let game = Game::begin(&mut self.stage, player.source, step.game, assignment);
        let game = game.and_then(|mut game| {
            self.registry.register(game.socket(), token, Interest::READABLE)?;
            Ok(game)
        });
        match game {
            Ok(game) => {
                self.stage.measure.phase_changed(Some(phase), Some(game.phase()));
                self.players[place].activity = Activity::Game(Box::new(game));
                // The first hello is due at once.
                self.handle_timeout(place, self.stage.now());
            }
            Err(error) => {
                self.stage.io_error("join a game", &error);
                self.note_limit(&error);
                self.stage.measure.phase_changed(Some(phase), Some(Phase::Idle));
                self.rest(place, REST);
            }
        }
    }

    fn after_game(&mut self, place: usize, continues: bool) {
        let Activity::Game(game) = &mut self.players[place].activity else { return };
        if continues {
            return self.timers.set(place, game.next_deadline());
        }
        let phase = game.phase();
        self.players[place].activity = Activity::Idle;
        self.stage.measure.phase_changed(Some(phase), Some(Phase::Idle));
        self.rest(place, Duration::ZERO);
    }

    fn become_idle(&mut self, place: usize, rest: Duration) {
        self.players[place].activity = Activity::Idle;
        self.rest(place, rest);
    }

    /// Schedules an idle player's next step after `rest`.
    fn rest(&mut self, place: usize, rest: Duration) {
        if self.stage.is_ending {
            return;
        }
        let player = &self.players[place];
        let since = self.stage.now() + rest;
        self.compositor.handle_idle(since, place, player.number, player.runs);
    }

    fn note_limit(&mut self, error: &std::io::Error) {
        if let Some(advice) = limits::advice_on(error)
            && !self.advice.contains(&advice)
        {
            self.advice.push(advice);
        }
    }
}

/// How long a player rests after a socket could not be opened.
const REST: Duration = Duration::from_secs(1);

/// The token of a player's socket.
fn token_of(place: usize, epoch: u32) -> Token {
    Token(place | (epoch as usize) << PLACE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_are_small() {
        // The size of a player, without strings and lines.
        let sizes = [size_of::<Player>(), size_of::<Visit>(), size_of::<Game>()];
        assert!(sizes[0] <= 64 && sizes[1] <= 512 && sizes[2] <= 768, "{sizes:?}");
    }

    #[test]
    fn a_token_is_of_one_place_and_one_socket() {
        let mask = (1 << PLACE_BITS) - 1;
        for place in [0, 1, PLACES_MAX] {
            for epoch in [0, 1, u32::MAX] {
                let token = token_of(place, epoch);
                assert_eq!(token.0 & mask, place);
                assert_ne!(token, token_of(place, epoch.wrapping_add(1)));
            }
        }
    }
}
