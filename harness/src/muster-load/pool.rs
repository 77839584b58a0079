//! The number of players: created at a rate, replaced when they log out. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The wanted and the existing players.
#[derive(Debug)]
pub(crate) struct Pool {
    target: u32,
    ramp: Ramp,
    sources: Option<u32>,
    alive: u32,
    born: u32,
    /// When the next one may be created.
    next_birth: Duration,
}

/// The rate of new players.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ramp {
    /// This many per second.
    PerSecond(f64),
    /// All at once: a thundering herd.
    AtOnce,
}

/// A new player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    /// From 0, never reused.
    pub(crate) number: u32,
    /// When it was due.
    pub(crate) due: Duration,
    /// The source address; `None` leaves it to the kernel.
    pub(crate) source: Option<IpAddr>,
}

/// The first source address: 127.1.0.0. Lower ones are not used, so that other programs' connections from 127.0.0.1 can
/// be distinguished from players.
const FIRST_SOURCE: u32 = u32::from_be_bytes([127, 1, 0, 0]);

/// The number of addresses from the first one to the end of 127.0.0.0/8, except the last one.
pub(crate) const SOURCES_MAX: u32 = u32::from_be_bytes([127, 255, 255, 255]) - FIRST_SOURCE;

impl Pool {
    /// A pool of `target` players who use `sources` addresses of this host, or the kernel's choice.
    pub(crate) fn new(target: u32, ramp: Ramp, sources: Option<u32>) -> Self {
        let sources = sources.map(|count| count.clamp(1, SOURCES_MAX));
        Self { target, ramp, sources, alive: 0, born: 0, next_birth: Duration::ZERO }
    }

    /// The next player, if one is missing and due.
    pub(crate) fn poll_birth(&mut self, now: Duration) -> Option<Birth> {
        let due = self.next_deadline().filter(|due| *due <= now)?;
        self.next_birth = match self.ramp {
            Ramp::PerSecond(rate) => due + Duration::from_secs_f64(1.0 / rate),
            Ramp::AtOnce => due,
        };
        let number = self.born;
        self.born += 1;
        self.alive += 1;
        Some(Birth { number, due, source: self.source(number) })
    }

    /// Removes a player who is gone for good.
    pub(crate) fn handle_death(&mut self, now: Duration) {
        assert!(self.alive > 0, "no player is alive");
        if self.alive == self.target {
            // No player was missing, and unused births are not accumulated.
            self.next_birth = self.next_birth.max(now);
        }
        self.alive -= 1;
    }

    /// When the next player is due, if one is missing.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        (self.alive < self.target).then_some(self.next_birth)
    }

    /// Stops creating players.
    pub(crate) fn stop(&mut self) {
        self.target = 0;
    }

    pub(crate) fn alive(&self) -> u32 {
        self.alive
    }

    pub(crate) fn born(&self) -> u32 {
        self.born
    }

    fn source(&self, number: u32) -> Option<IpAddr> {
        let offset = number % self.sources?;
        Some(Ipv4Addr::from_bits(FIRST_SOURCE + offset).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn births(pool: &mut Pool, now: Duration) -> usize {
        std::iter::from_fn(|| pool.poll_birth(now)).count()
    }

    #[test]
    fn players_come_at_their_rate_until_there_are_enough() {
        let mut pool = Pool::new(25, Ramp::PerSecond(100.0), None);
        assert_eq!(births(&mut pool, ms(0)), 1);
        assert_eq!(births(&mut pool, ms(9)), 0);
        assert_eq!(pool.next_deadline(), Some(ms(10)));
        // A late loop catches up.
        assert_eq!(births(&mut pool, ms(100)), 10);
        assert_eq!(births(&mut pool, ms(10_000)), 14);
        assert_eq!((pool.alive(), pool.next_deadline()), (25, None));
    }

    #[test]
    fn lost_players_are_replaced_at_the_rate_without_accumulating() {
        let mut pool = Pool::new(10, Ramp::PerSecond(10.0), None);
        assert_eq!(births(&mut pool, ms(60_000)), 10);
        (0..5).for_each(|_| pool.handle_death(ms(60_000)));
        assert_eq!(births(&mut pool, ms(60_000)), 1);
        assert_eq!(births(&mut pool, ms(60_250)), 2);
        pool.stop();
        assert_eq!(births(&mut pool, ms(99_000)), 0);
        assert_eq!((pool.alive(), pool.born()), (8, 13));
    }

    #[test]
    fn a_herd_comes_at_once() {
        let mut pool = Pool::new(1000, Ramp::AtOnce, Some(1));
        assert_eq!(births(&mut pool, ms(0)), 1000);
    }

    #[test]
    fn sources_are_spread_over_the_loopback_network() {
        let mut pool = Pool::new(300, Ramp::AtOnce, Some(300));
        let sources: Vec<IpAddr> = std::iter::from_fn(|| pool.poll_birth(ms(0)))
            .filter_map(|birth| birth.source)
            .collect();
        assert_eq!(sources[0], Ipv4Addr::new(127, 1, 0, 0));
        assert_eq!(sources[299], Ipv4Addr::new(127, 1, 1, 43));
        let all = Pool::new(1, Ramp::AtOnce, Some(u32::MAX));
        assert!(all.source(SOURCES_MAX - 1).unwrap().is_loopback());
        assert_eq!(all.source(SOURCES_MAX), all.source(0));
    }
}
