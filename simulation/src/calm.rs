//! The calm after the faults: whoever waits is served in bounded time, and a drain ends.

use std::time::Duration;

use super::book::Step;
use super::setup::Temper;
use super::world::World;
use super::{Verdict, demand};
use matchmaker::Input;
use matchmaker::limits;

impl World<'_> {
    /// Faults stop. Processes that are bad already stay so, and have to be dealt with; an outsider may stay
    /// on its port as long as Muster has one left.
    pub(super) fn calm_down(&mut self) -> Verdict {
        self.temper = Temper::GOOD;
        self.is_calm = true;
        if self.outsiders.len() == self.book.config.ports.len() || self.choices.one_in(2) {
            self.outsiders.clear();
        }
        self.let_time_pass()?;
        self.settle_down("everyone is served", Self::is_served)?;
        self.demand_everyone_served()?;
        self.tell(Input::Drain)?;
        self.settle_down("the drain is over", |world| world.book.is_drained)?;
        // Nothing is held for ever, except by the outsiders, who are asked for no more.
        let rest = self.book.config.quarantine.max(limits::SUSPECT_PORT_REST_MAX);
        self.now += rest;
        self.let_time_pass()?;
        let (free, ring) = (self.book.free_ports(), self.book.config.ports.len());
        demand(free == ring, || format!("{free} of {ring} ports came back"))?;
        let next = self.brain.next_deadline();
        demand(next.is_none(), || format!("all is over, and the brain waits for {next:?}"))
    }

    /// Lets all games do their part and time pass from deadline to deadline, until a goal is reached.
    fn settle_down(&mut self, goal: &str, is_reached: impl Fn(&Self) -> bool) -> Verdict {
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
            self.let_time_pass()?;
            let took = self.now - begun;
            demand(took <= time_max, || format!("{goal}: not after {took:?}"))?;
        }
        demand(is_reached(self), || format!("{goal}: not after {rounds_max} rounds"))
    }

    /// How many rounds and how much time everything that is still to be done may take.
    fn patience(&self) -> (usize, Duration) {
        let config = &self.book.config;
        let longest = |mode: &matchmaker::Mode| {
            mode.ready_timeout + mode.start_timeout + mode.max_duration + mode.stop_grace
        };
        let rest = config.quarantine.max(limits::SUSPECT_PORT_REST_MAX);
        let turn = config.modes.iter().map(longest).max().unwrap_or_default() + rest;
        let turns = self.book.parties.len() + self.book.games.len() + 2;
        let turns_max = u32::try_from(turns).unwrap_or(u32::MAX);
        // A mode may sit in its longest pause, and what is bad already may bring on one more for each game.
        let pauses = u32::try_from(self.book.games.len() + 2).unwrap_or(u32::MAX);
        let time_max = turn * turns_max + limits::BACKOFF_MAX * pauses + config.drain_timeout;
        let rounds_max = 200 + 20 * turns + 4 * usize::try_from(time_max.as_secs()).unwrap_or(0);
        (rounds_max, time_max)
    }

    fn is_served(&self) -> bool {
        // Who is asked says nothing, or has accepted; in either case it is over soon.
        let nobody_is_matched = self.book.people.values().all(|person| person.party.is_none());
        let all_idle = self.book.games.values().all(|process| process.step == Step::Warm);
        let all_warm = self.book.mode_ids().all(|mode| !self.book.lacks_warm(mode));
        let can_warm = self.book.is_serving() && self.has_open_port();
        nobody_is_matched && all_idle && (all_warm || !can_warm)
    }

    /// Whether there is a port that neither a game nor an outsider holds.
    fn has_open_port(&self) -> bool {
        let is_held = |port: &u16| {
            self.outsiders.contains(port) || self.book.games.values().any(|game| game.port == *port)
        };
        self.book.config.ports.clone().any(|port| !is_held(&port))
    }

    fn demand_everyone_served(&self) -> Verdict {
        for mode in self.book.mode_ids() {
            let (waiting, size) = (self.book.queue(mode).len(), self.book.mode(mode).players);
            let takes_all = self.book.mode(mode).is_first_come_first_served();
            demand(waiting < size || !takes_all, || {
                format!("{waiting} wait for a match of {size}")
            })?;
        }
        Ok(())
    }
}
