//! The matches of one queue, as far as players received assignments: their players and their order. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seconds;

/// A player's seat in a match, from ASSIGN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) player: u32,
    pub(crate) match_number: u64,
    pub(crate) slot: usize,
    pub(crate) players: usize,
    /// `host:port`
    pub(crate) address: String,
    pub(crate) came: Came,
    /// `None` if it is not certain.
    pub(crate) stood: Option<Stood>,
}

/// The earliest possible age of a player's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Came {
    /// When the player sent READY.
    pub(crate) ready_at: Duration,
    /// When the player last sent READY: the same, or later if Muster had disconnected the player.
    pub(crate) last_ready_at: Duration,
}

/// The latest possible age of a player's position, and the time from which the player could be in this match only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stood {
    /// When the player first received QUEUED.
    pub(crate) placed_at: Duration,
    /// When the player last received QUEUED or the confirmation of the position.
    pub(crate) since: Duration,
}

impl Stood {
    /// Whether it requires at least as early a match as `other`.
    fn covers(self, other: Self) -> bool {
        self.placed_at <= other.placed_at && self.since <= other.since
    }

    /// Whether a player who stood so must be in no later match than one who came so.
    fn is_before(self, came: Came) -> bool {
        self.placed_at < came.ready_at && self.since < came.last_ready_at
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Order {
    matches: BTreeMap<u64, Match>,
    /// The number of matches at which the next sweep is due.
    sweep_at: usize,
}

#[derive(Debug)]
struct Match {
    players: usize,
    /// A bit for each slot that is known to be taken.
    slots: u128,
    address: String,
    /// The players.
    came: Vec<(Came, u32)>,
    stood: Vec<(Stood, u32)>,
    is_reported: bool,
}

/// The smallest number of matches that is worth a sweep.
const SWEEP_MIN: usize = 4096;

impl Order {
    pub(crate) fn has(&self, number: u64) -> bool {
        self.matches.contains_key(&number)
    }

    /// Adds an assigned player.
    ///
    /// # Errors
    /// A contradiction to the other players of the match.
    pub(crate) fn seat(&mut self, seat: Seat) -> Result<(), String> {
        let Seat { player, match_number, slot, players, address, came, stood } = seat;
        let found = self.matches.entry(match_number).or_insert_with(|| Match {
            players,
            slots: 0,
            address: address.clone(),
            came: Vec::new(),
            stood: Vec::new(),
            is_reported: false,
        });
        found.came.push((came, player));
        found.stood.extend(stood.map(|stood| (stood, player)));
        let assignment =
            format!("p{player} was assigned to match {match_number}, slot {slot} of {players}");
        if found.players != players {
            return Err(format!("{assignment}; another player received players={}", found.players));
        }
        if found.address != address {
            return Err(format!("{assignment}, at {address}; another player at {}", found.address));
        }
        // No match has more than 128 players; a slot beyond that is wrong in any case.
        let bit = u32::try_from(slot).ok().and_then(|slot| 1_u128.checked_shl(slot)).unwrap_or(0);
        if slot >= players || found.slots & bit != 0 {
            return Err(format!("{assignment}; the slot is taken, or the number is too high"));
        }
        found.slots |= bit;
        Ok(())
    }

    /// Whether enough matches are known for a sweep.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.matches.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// Finds the matches that were formed before one whose player had a position before their players had sent READY.
    /// Then forgets matches below `floor`: no player who may still be assigned can have been before their players.
    pub(crate) fn sweep(&mut self, floor: u64) -> Vec<String> {
        let mut problems = Vec::new();
        // The best positions in later matches, none of which covers another.
        let mut best: Vec<(Stood, u32, u64)> = Vec::new();
        for (number, found) in self.matches.iter_mut().rev() {
            if !found.is_reported
                && let Some(problem) = found.problem(*number, &best)
            {
                found.is_reported = true;
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
    /// A player of this match who came later than a player of a later match.
    fn problem(&self, number: u64, later: &[(Stood, u32, u64)]) -> Option<String> {
        self.came.iter().find_map(|&(came, overtaker)| {
            let (stood, player, its_number) =
                later.iter().find(|(stood, ..)| stood.is_before(came))?;
            let (placed, since) = (seconds(stood.placed_at), seconds(stood.since));
            let (ready, last) = (seconds(came.ready_at), seconds(came.last_ready_at));
            Some(format!(
                "p{player} had the position at {placed} and kept it from {since} on, and is in match {its_number}; \
                 p{overtaker} sent READY at {ready}, for the last time at {last}, and is in match {number}, which is \
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
    fn a_player_who_was_queued_before_another_came_is_in_no_later_match() {
        let mut order = Order::default();
        for seat in [seat(0, 1, 0, 1), seat(1, 1, 5, 6), seat(2, 2, 7, 9), seat(3, 2, 8, 9)] {
            order.seat(seat).unwrap();
        }
        assert_eq!(order.sweep(0), [] as [String; 0]);
        // READY at 2, and still in a match before that of a player who had the position at 1.
        order.seat(seat(4, 4, 0, 1)).unwrap();
        order.seat(seat(6, 3, 2, 3)).unwrap();
        let problems = order.sweep(0);
        assert!(problems[0].contains("p4") && problems[0].contains("p6"), "{problems:?}");
        assert!(order.sweep(0).is_empty(), "reported once");
    }

    #[test]
    fn messages_that_crossed_prove_nothing() {
        let mut order = Order::default();
        // The second player sent READY before the first one received QUEUED.
        order.seat(seat(0, 2, 0, 10)).unwrap();
        order.seat(seat(2, 1, 9, 11)).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
    }

    #[test]
    fn an_uncertain_position_proves_nothing() {
        let mut order = Order::default();
        order.seat(Seat { stood: None, ..seat(0, 2, 0, 1) }).unwrap();
        order.seat(seat(2, 1, 5, 6)).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
        order.seat(seat(1, 2, 3, 4)).unwrap();
        assert!(
            order.sweep(0)[0].contains("p1 had the position"),
            "the other player of that match"
        );
    }

    /// Both were disconnected at 10; one returned at 20, and the other at 30 or before.
    #[test]
    fn a_player_who_returned_before_another_did_is_in_no_later_match() {
        for (younger_back_ms, is_overtaken) in [(30, true), (15, false)] {
            let mut order = Order::default();
            let older = Seat { stood: stood(1, 20), came: came(0, 19), ..seat(0, 2, 0, 1) };
            let younger = Seat { came: came(5, younger_back_ms), ..seat(2, 1, 5, 31) };
            order.seat(older).unwrap();
            order.seat(younger).unwrap();
            assert_eq!(order.sweep(0).len(), usize::from(is_overtaken), "{younger_back_ms}");
        }
        // The other way round, no player is overtaken.
        let mut order = Order::default();
        order.seat(Seat { stood: stood(1, 20), came: came(0, 19), ..seat(0, 1, 0, 1) }).unwrap();
        order.seat(Seat { stood: stood(6, 31), came: came(5, 30), ..seat(2, 2, 5, 31) }).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
    }

    #[test]
    fn seats_are_taken_once_and_consistently() {
        let mut order = Order::default();
        order.seat(seat(0, 1, 0, 1)).unwrap();
        assert!(order.seat(seat(2, 1, 0, 1)).unwrap_err().contains("slot is taken"));
        let more = Seat { players: 3, ..seat(1, 1, 0, 1) };
        assert!(order.seat(more).unwrap_err().contains("another player received"));
        let elsewhere = Seat { address: "127.0.0.1:20001".into(), ..seat(1, 1, 0, 1) };
        assert!(order.seat(elsewhere).unwrap_err().contains("another player at"));
        for slot in [2, 128, usize::MAX] {
            assert!(order.seat(Seat { slot, ..seat(1, 1, 0, 1) }).is_err(), "{slot}");
        }
        order.seat(seat(1, 1, 0, 1)).unwrap();
    }

    #[test]
    fn old_matches_are_forgotten() {
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
