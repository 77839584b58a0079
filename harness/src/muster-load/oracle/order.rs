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
    /// When the player said READY.
    pub(crate) ready_at: Duration,
    /// When it is certain to have been in the queue, and from when on it was in no match but this one; `None`
    /// where that is not certain.
    pub(crate) placed_at: Option<Duration>,
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
    /// The player who had its place first, as far as is certain, and the one who said READY last.
    first_placed: Option<(Duration, u32)>,
    last_ready: (Duration, u32),
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
        let Seat { player, match_number, slot, players, address, ready_at, placed_at } = seat;
        let found = self.matches.entry(match_number).or_insert_with(|| Match {
            players,
            slots: 0,
            address: address.clone(),
            first_placed: None,
            last_ready: (ready_at, player),
            is_told_of: false,
        });
        let placed = placed_at.map(|placed| (placed, player));
        found.first_placed = found.first_placed.into_iter().chain(placed).min();
        found.last_ready = found.last_ready.max((ready_at, player));
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
        // The first place of all matches that are later than the one looked at.
        let mut earliest: Option<(Duration, u32, u64)> = None;
        for (number, found) in self.matches.iter_mut().rev() {
            let (ready, later_player) = found.last_ready;
            if let Some((placed, player, match_number)) = earliest
                && placed < ready
                && !found.is_told_of
            {
                found.is_told_of = true;
                let (placed, ready) = (seconds(placed), seconds(ready));
                problems.push(format!(
                    "p{player} had its place at {placed} and is in match {match_number}; p{later_player} said READY at \
                     {ready} and is in match {number}, which is earlier"
                ));
            }
            if let Some((placed, player)) = found.first_placed
                && earliest.is_none_or(|(earliest, ..)| placed < earliest)
            {
                earliest = Some((placed, player, *number));
            }
        }
        self.matches = self.matches.split_off(&floor);
        self.sweep_at = self.matches.len() * 2;
        problems
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
            ready_at: Duration::from_millis(ready_ms),
            placed_at: Some(Duration::from_millis(placed_ms)),
        }
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
        order.seat(Seat { placed_at: None, ..seat(0, 2, 0, 1) }).unwrap();
        order.seat(seat(2, 1, 5, 6)).unwrap();
        assert_eq!(order.sweep(0), [] as [String; 0]);
        order.seat(seat(1, 2, 3, 4)).unwrap();
        assert!(order.sweep(0)[0].contains("p1 had its place"), "the other player of that match");
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
