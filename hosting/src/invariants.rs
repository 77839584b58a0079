//! The sweep over hosting's invariants.

use machine::{Check, holds};

use crate::games::{GamePhase, StopStep};
use crate::hosting::{Hosting, Owner, Phase};
use crate::limits;

impl Hosting {
    /// Checks every invariant that holds at the end of a turn. Takes time proportional to the number of games and ports.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_invariants(&self) -> Check {
        holds(self.games.is_whole(), || "the counts of games are wrong".into())?;
        self.check_ports()?;
        self.check_refills()?;
        self.check_deadlines()
    }

    fn check_ports(&self) -> Check {
        holds(self.ports.is_whole(), || "a port is in two places, or in none".into())?;
        let leased = self.ports.leased();
        holds(leased.len() == self.games.len(), || "games and leased ports differ".into())?;
        for (id, game) in self.games.iter() {
            let holder = leased.get(&game.port);
            holds(holder == Some(&id), || format!("port {} of {id:?}: {holder:?}", game.port))?;
            let is_played = game.told_match().is_none_or(|_| game.players > 0);
            holds(is_played, || format!("{id:?} is played without players"))?;
        }
        Ok(())
    }

    /// A warm game that is missing is launched, or held back until a time to come.
    fn check_refills(&self) -> Check {
        let ordered = self.games.counts().refills_ordered;
        holds(ordered <= limits::REFILLS_ORDERED_MAX, || format!("{ordered} refills ordered"))?;
        let serving = self.phase == Phase::Serving;
        let since = self.refills.missing_since;
        let missing = self.is_warm_game_missing();
        holds(missing == since.is_some() || !serving, || {
            format!("a warm game is missing: {missing}, since {since:?}")
        })?;
        let until = self.refill_due().filter(|due| serving && *due > self.now);
        let checks_again = self.deadlines.of(Owner::Refill);
        holds(checks_again == until, || {
            format!("refills are held back until {until:?}, checked again at {checks_again:?}")
        })
    }

    /// Every deadline has an owner, every phase that must not last has a deadline, and none is in the past.
    fn check_deadlines(&self) -> Check {
        for owner in self.deadlines.owners() {
            let exists = match owner {
                Owner::Game(id) => self.games.get(id).is_some(),
                Owner::Backoff(_) | Owner::Surplus(_) => true,
                Owner::Refill | Owner::Ports | Owner::Drain => true,
            };
            holds(exists, || format!("a deadline of {owner:?}, which is gone"))?;
        }
        for (id, game) in self.games.iter() {
            let has = self.deadlines.of(Owner::Game(id)).is_some();
            let needs = match game.phase() {
                GamePhase::Launching | GamePhase::Starting(_) | GamePhase::Running { .. } => true,
                GamePhase::Warm => false,
                GamePhase::Stopping { next: StopStep::AwaitExit, .. } => game.has_process(),
                GamePhase::Stopping { .. } => true,
            };
            holds(has == needs, || format!("{id:?} {game:?}: deadline: {has}"))?;
        }
        let resting = self.ports.next_rested();
        holds(self.deadlines.of(Owner::Ports) == resting, || {
            format!("ports rest until {resting:?}")
        })?;
        let has_drain = self.deadlines.of(Owner::Drain).is_some();
        let is_draining = self.phase == Phase::Draining;
        holds(!has_drain || is_draining, || format!("a drain's end: {has_drain}"))
    }
}
