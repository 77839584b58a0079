//! The matches of one queue, as far as players were told of them: who sits where, and which came first. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seconds;

/// A player's place in a match, as ASSIGN tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) player: u32,
    pub(crate) match_number: u64,
    pub(crate) slot: usize,
    pub(crate) players: usize,
    /// `host:port`
    pub(crate) address: String,
    pub(crate) came: Came,
    /// `None` where that is not certain.
    pub(crate) stood: Option<Stood>,
}

/// What a player's place cannot have been older than, and its match not formed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Came {
    /// When it said READY.
    pub(crate) ready_at: Duration,
    /// When it said so last: the same, or when it came back after Muster had dropped it.
    pub(crate) last_ready_at: Duration,
}

/// What a player's place cannot have been newer than, and since when it could be in no match but this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stood {
    /// When it was told QUEUED first.
    pub(crate) placed_at: Duration,
    /// When it was told so last, or that it stands where it stood.
    pub(crate) since: Duration,
}

impl Stood {
    /// Whether it is at least as much of a reason for an early match as another.
    fn covers(self, other: Self) -> bool {
        self.placed_at <= other.placed_at && self.since <= other.since
    }

    /// Whether who stood so has to be in no later match than who came so.
    fn is_before(self, came: Came) -> bool {
        self.placed_at < came.ready_at && self.since < came.last_ready_at
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Order {
    matches: BTreeMap<u64, Match>,
    /// How many matches there may be before the next sweep.
    sweep_at: usize,
}

#[derive(Debug)]
struct Match {
    players: usize,
    /// Bit by bit, whose slots are known to be taken.
    slots: u128,
    address: String,
    /// Its players.
    came: Vec<(Came, u32)>,
    stood: Vec<(Stood, u32)>,
    is_told_of: bool,
}

/// Fewer matches than this are not worth a sweep.
const SWEEP_MIN: usize = 4096;

impl Order {
    pub(crate) fn has(&self, number: u64) -> bool {
        self.matches.contains_key(&number)
    }

    /// A player was assigned.
    ///
    /// # Errors
    /// What is wrong with that, beside the other players of the match.
    pub(crate) fn seat(&mut self, seat: Seat) -> Result<(), String> {
        let Seat { player, match_number, slot, players, address, came, stood } = seat;
        let found = self.matches.entry(match_number).or_insert_with(|| Match {
            players,
            slots: 0,
            address: address.clone(),
            came: Vec::new(),
            stood: Vec::new(),
            is_told_of: false,
        });
        found.came.push((came, player));
        found.stood.extend(stood.map(|stood| (stood, player)));
        let told =
            format!("p{player} was assigned to match {match_number}, slot {slot} of {players}");
        if found.players != players {
            return Err(format!("{told}; another player was told that it has {}", found.players));
        }
        if found.address != address {
            return Err(format!("{told}, at {address}; another player at {}", found.address));
        }
        // No match has more players than bits are here; a slot beyond is wrong in any case.
        let bit = u32::try_from(slot).ok().and_then(|slot| 1_u128.checked_shl(slot)).unwrap_or(0);
        if slot >= players || found.slots & bit != 0 {
            return Err(format!("{told}; the slot is taken, or there is none of that number"));
        }
        found.slots |= bit;
        Ok(())
    }

    /// Whether there is enough to look through.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.matches.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// The matches that came before one whose player had its place before theirs had said READY. Then forgets matches
    /// below `floor`: no player who may still be assigned can have been before their players.
    pub(crate) fn sweep(&mut self, floor: u64) -> Vec<String> {
        let mut problems = Vec::new();
        // The best places in matches that are later than the one looked at: none of them covers another.
        let mut best: Vec<(Stood, u32, u64)> = Vec::new();
        for (number, found) in self.matches.iter_mut().rev() {
            if !found.is_told_of
                && let Some(problem) = found.problem(*number, &best)
            {
                found.is_told_of = true;
                problems.push(problem);
            }
            for &(stood, player) in &found.stood {
                if !best.iter().any(|(better, ..)| better.covers(stood)) {
                    best.retain(|(other, ..)| !stood.covers(*other));
                    best.push((stood, player, *number));
                }
            }
        }
        self.matches = self.matches.split_off(&floor);
        self.sweep_at = self.matches.len() * 2;
        problems
    }
}

impl Match {
    /// One of its players who came later than one of those in later matches.
    fn problem(&self, number: u64, later: &[(Stood, u32, u64)]) -> Option<String> {
        self.came.iter().find_map(|&(came, overtaker)| {
            let (stood, player, its_number) =
                later.iter().find(|(stood, ..)| stood.is_before(came))?;
            let (placed, since) = (seconds(stood.placed_at), seconds(stood.since));
            let (ready, last) = (seconds(came.ready_at), seconds(came.last_ready_at));
            Some(format!(
                "p{player} had its place at {placed}, stood there from {since} on, and is in match {its_number}; \
                 p{overtaker} said READY at {ready}, for the last time at {last}, and is in match {number}, which is \
                 earlier"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(player: u32, match_number: u64, ready_ms: u64, placed_ms: u64) -> Seat {
        Seat {
            player,
            match_number,
            slot: usize::try_from(player % 2).unwrap(),
            players: 2,
            address: "127.0.0.1:20000".into(),
            came: came(ready_ms, ready_ms),
            stood: stood(placed_ms, placed_ms),
        }
    }

    fn came(ready_ms: u64, last_ready_ms: u64) -> Came {
        let [ready_at, last_ready_at] = [ready_ms, last_ready_ms].map(Duration::from_millis);
        Came { ready_at, last_ready_at }
    }

    fn stood(placed_ms: u64, since_ms: u64) -> Option<Stood> {
        let [placed_at, since] = [placed_ms, since_ms].map(Duration::from_millis);
        Some(Stood { placed_at, since })
    }

    #[test]
    fn who_had_a_place_before_another_came_is_in_no_later_match() {
        let mut order = Order::default();
        for seat in [seat(0, 1, 0, 1), seat(1, 1, 5, 6), seat(2, 2, 7, 9), seat(3, 2, 8, 9)] {
            order.seat(seat).unwrap();
        }
        assert_eq!(order.sweep(0), [] as [String; 0]);
        // READY at 2, and still in a match before that of a player who had its place at 1.
        order.seat(seat(4, 4, 0, 1)).unwrap();
        order.seat(seat(6, 3, 2, 3)).unwrap();
        let problems = order.sweep(0);
        assert!(problems[0].contains("p4") && problems[0].contains("p6"), "{problems:?}");
        assert!(order.sweep(0).is_empty(), "told once");
    }

    #[test]
    fn messages_that_crossed_prove_nothing() {
        let mut order = Order::default();
        // The second said READY before the first was told that it is queued.
        order.seat(seat(0, 2, 0, 10)).unwrap();
        order.seat(seat(2, 1, 9, 11)).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
    }

    #[test]
    fn whose_place_is_not_certain_proves_nothing() {
        let mut order = Order::default();
        order.seat(Seat { stood: None, ..seat(0, 2, 0, 1) }).unwrap();
        order.seat(seat(2, 1, 5, 6)).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
        order.seat(seat(1, 2, 3, 4)).unwrap();
        assert!(order.sweep(0)[0].contains("p1 had its place"), "the other player of that match");
    }

    /// Both were dropped at 10; one came back at 20, and the other at 30 or before.
    #[test]
    fn who_was_back_in_its_old_place_before_another_came_back_is_in_no_later_match() {
        for (younger_back_ms, is_overtaken) in [(30, true), (15, false)] {
            let mut order = Order::default();
            let older = Seat { stood: stood(1, 20), came: came(0, 19), ..seat(0, 2, 0, 1) };
            let younger = Seat { came: came(5, younger_back_ms), ..seat(2, 1, 5, 31) };
            order.seat(older).unwrap();
            order.seat(younger).unwrap();
            assert_eq!(order.sweep(0).len(), usize::from(is_overtaken), "{younger_back_ms}");
        }
        // The other way round nobody is overtaken.
        let mut order = Order::default();
        order.seat(Seat { stood: stood(1, 20), came: came(0, 19), ..seat(0, 1, 0, 1) }).unwrap();
        order.seat(Seat { stood: stood(6, 31), came: came(5, 30), ..seat(2, 2, 5, 31) }).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
    }

    #[test]
    fn seats_are_taken_once_and_told_alike() {
        let mut order = Order::default();
        order.seat(seat(0, 1, 0, 1)).unwrap();
        assert!(order.seat(seat(2, 1, 0, 1)).unwrap_err().contains("slot is taken"));
        let more = Seat { players: 3, ..seat(1, 1, 0, 1) };
        assert!(order.seat(more).unwrap_err().contains("another player was told"));
        let elsewhere = Seat { address: "127.0.0.1:20001".into(), ..seat(1, 1, 0, 1) };
        assert!(order.seat(elsewhere).unwrap_err().contains("another player at"));
        for slot in [2, 128, usize::MAX] {
            assert!(order.seat(Seat { slot, ..seat(1, 1, 0, 1) }).is_err(), "{slot}");
        }
        order.seat(seat(1, 1, 0, 1)).unwrap();
    }

    #[test]
    fn what_is_far_behind_is_forgotten() {
        let mut order = Order::default();
        for number in 0..10_000 {
            let at = number * 10;
            order.seat(seat(0, number, at, at + 1)).unwrap();
            if order.wants_sweep() {
                assert!(order.sweep(number.saturating_sub(10)).is_empty());
            }
            assert!(order.matches.len() <= SWEEP_MIN);
        }
    }
}
