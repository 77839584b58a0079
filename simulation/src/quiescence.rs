//! The end of a world: faults stop, all waiting players are served in a bounded time, and a drain ends.

use std::time::Duration;

use brain::{Input, Mode, limits};

use crate::model::GamePhase;
use crate::setup::Faults;
use crate::world::World;
use crate::{CheckResult, check};

impl World<'_> {
    /// Faults stop. Processes that are bad already stay so, and have to be dealt with. Foreign processes keep their
    /// ports if Muster has one left.
    pub(crate) fn quiesce(&mut self) -> CheckResult {
        self.faults = Faults::GOOD;
        self.is_quiescent = true;
        if self.foreign_ports.len() == self.model.config.ports.len() || self.choices.one_in(2) {
            self.foreign_ports.clear();
        }
        self.pass_time()?;
        self.run_until("all players are served", Self::is_served)?;
        self.apply(Input::Drain)?;
        self.run_until("the drain is over", |world| world.model.is_drained)?;
        // Every port returns, also those that foreign processes hold: they are not tried any more.
        let rest = self.model.config.quarantine.max(limits::SUSPECT_PORT_REST_MAX);
        self.now += rest;
        self.pass_time()?;
        let (free, ring) = (self.model.free_ports(), self.model.config.ports.len());
        check(free == ring, || format!("{free} of {ring} ports came back"))?;
        let next = self.brain.next_deadline();
        check(next.is_none(), || format!("all is over, and the brain waits until {next:?}"))
    }

    /// Lets all games do their part and time pass from deadline to deadline, until a goal is reached.
    fn run_until(&mut self, goal: &str, is_reached: impl Fn(&Self) -> bool) -> CheckResult {
        let begun = self.now;
        let (rounds_max, time_max) = self.patience();
        for _ in 0..rounds_max {
            if is_reached(self) {
                return Ok(());
            }
            if self.all_games_proceed()? {
                continue;
            }
            let Some(next) = self.brain.next_deadline() else { continue };
            self.now = next.max(self.now);
            self.pass_time()?;
            let took = self.now - begun;
            check(took <= time_max, || format!("{goal}: not after {took:?}"))?;
        }
        check(is_reached(self), || format!("{goal}: not after {rounds_max} rounds"))
    }

    /// The rounds and the time that all that is left to do may take.
    fn patience(&self) -> (usize, Duration) {
        let config = &self.model.config;
        let longest = |mode: &Mode| {
            mode.ready_timeout + mode.start_timeout + mode.max_duration + mode.stop_grace
        };
        let rest = config.quarantine.max(limits::SUSPECT_PORT_REST_MAX);
        let turn = config.modes.iter().map(longest).max().unwrap_or_default() + rest;
        let turns = self.model.matches.len() + self.model.games.len() + 2;
        let turns_max = u32::try_from(turns).unwrap_or(u32::MAX);
        // A mode may be in its longest pause, and each bad process may cause another one.
        let pauses = u32::try_from(self.model.games.len() + 2).unwrap_or(u32::MAX);
        let time_max = turn * turns_max + limits::BACKOFF_MAX * pauses + config.drain_timeout;
        let rounds_max = 200 + 20 * turns + 4 * usize::try_from(time_max.as_secs()).unwrap_or(0);
        (rounds_max, time_max)
    }

    fn is_served(&self) -> bool {
        let model = &self.model;
        // A player who is asked to accept a match says nothing, or has accepted; either ends soon.
        let all_matched = model.players.values().all(|player| player.match_id.is_none());
        let all_idle = model.games.values().all(|process| process.phase == GamePhase::Warm);
        let is_warm = |mode| model.warm_supply(mode) >= model.mode(mode).warm_min;
        let all_warm = model.mode_ids().all(is_warm);
        let can_warm = model.is_serving() && self.has_open_port();
        all_matched && all_idle && (all_warm || !can_warm)
    }

    /// Whether there is a port that neither a game nor a foreign process holds.
    fn has_open_port(&self) -> bool {
        let is_held = |port: &u16| {
            self.foreign_ports.contains(port)
                || self.model.games.values().any(|game| game.port == *port)
        };
        self.model.config.ports.clone().any(|port| !is_held(&port))
    }
}
