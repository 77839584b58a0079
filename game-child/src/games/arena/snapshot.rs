//! The state of the world after a tick, and its changes since an earlier one.

use std::fmt;

use super::map::{Cell, Point};
use super::{COINS, PLAYERS_MAX};
use protocol::fields::Line;

/// The state of the world after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the tick, from 1. A higher number is newer; some are left out.
    pub number: u32,
    /// Ticks left to play.
    pub left: u32,
    /// The state of the game.
    pub standing: Standing,
    /// The present players by slot.
    pub runners: [Option<Runner>; PLAYERS_MAX],
    /// The cells of the coins.
    pub coins: [Cell; COINS],
}

/// A player on the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runner {
    /// The position.
    pub at: Point,
    /// The number of collected coins.
    pub score: u16,
}

/// The state of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Players are missing, and nothing moves.
    Waiting,
    /// The game is being played.
    Playing,
    /// The time is up, or a player has enough points.
    Finished {
        /// The slot of the player with the most points; `None` if several have as many.
        winner: Option<usize>,
    },
    /// The game was ended from outside.
    Stopped,
}

impl Standing {
    /// Whether the state is final.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Stopped)
    }

    /// The name on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Playing => "playing",
            Self::Finished { .. } => "finished",
            Self::Stopped => "stopped",
        }
    }

    fn parse(word: &str, winner: Option<usize>) -> Option<Self> {
        match (word, winner) {
            ("waiting", None) => Some(Self::Waiting),
            ("playing", None) => Some(Self::Playing),
            ("finished", winner) => Some(Self::Finished { winner }),
            ("stopped", None) => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// A snapshot as it is sent to one player: whole, or as the differences from an older one, its base. E.g. whole, and
/// then with a base, where only one player has moved, along the row:
///
/// ```text
/// SNAP 120 0 in=57 left=1234 is=playing p0=4224,2176,3 p1=896,896,0 c0=12,5 c1=…
/// SNAP 122 120 in=59 left=1232 is=playing p0=4292,,
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The number of the snapshot.
    pub number: u32,
    /// The number of the base; `None` if the snapshot is whole.
    pub base: Option<u32>,
    /// The number of the last received input of this player; 0 is none.
    pub input: u32,
    left: u32,
    standing: Standing,
    runners: [Option<Change>; PLAYERS_MAX],
    coins: [Option<Cell>; COINS],
}

/// The changes of a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Gone,
    /// `None` means unchanged.
    To {
        x: Option<u16>,
        y: Option<u16>,
        score: Option<u16>,
    },
}

impl Update {
    /// A snapshot for a player whose last received input is `input`: whole without a base.
    pub fn new(snapshot: &Snapshot, base: Option<&Snapshot>, input: u32) -> Self {
        debug_assert!(base.is_none_or(|base| base.number < snapshot.number));
        let change = |slot: usize| {
            let before = base.and_then(|base| base.runners[slot]);
            Change::between(before, snapshot.runners[slot])
        };
        let moved = |at: usize| {
            let is_new = base.is_none_or(|base| base.coins[at] != snapshot.coins[at]);
            is_new.then_some(snapshot.coins[at])
        };
        Self {
            number: snapshot.number,
            base: base.map(|base| base.number),
            input,
            left: snapshot.left,
            standing: snapshot.standing,
            runners: std::array::from_fn(change),
            coins: std::array::from_fn(moved),
        }
    }

    /// The snapshot, made from its base, which must be the one with the update's number. `None` if they do not match,
    /// or the result is invalid.
    pub fn apply(&self, base: Option<&Snapshot>) -> Option<Snapshot> {
        if base.map(|base| base.number) != self.base {
            return None;
        }
        let mut runners = base.map_or([None; PLAYERS_MAX], |base| base.runners);
        for (runner, change) in runners.iter_mut().zip(&self.runners) {
            if let Some(change) = change {
                *runner = change.apply(*runner)?;
            }
        }
        let mut coins = self.coins;
        for (at, coin) in coins.iter_mut().enumerate() {
            *coin = coin.or(base.map(|base| base.coins[at]));
        }
        let coins = match coins {
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h)] => {
                [a, b, c, d, e, f, g, h]
            }
            _ => return None,
        };
        let (number, left, standing) = (self.number, self.left, self.standing);
        Some(Snapshot { number, left, standing, runners, coins })
    }

    /// Parses the text after `SNAP`. Unknown fields are ignored, known ones can be in any order.
    pub(super) fn parse(rest: &str) -> Option<Self> {
        let (number, rest) = rest.split_once(' ')?;
        let (base, rest) = rest.split_once(' ')?;
        let (mut input, mut left, mut word, mut winner) = (None, None, None, None);
        let (mut runners, mut coins) = ([None; PLAYERS_MAX], [None; COINS]);
        for field in (Line { verb: "SNAP", rest }).fields() {
            let (key, value) = field.ok()?;
            match key {
                "in" => input = Some(value.parse().ok()?),
                "left" => left = Some(value.parse().ok()?),
                "is" => word = Some(value),
                "winner" => {
                    winner = Some(value.parse().ok().filter(|slot| *slot < PLAYERS_MAX)?);
                }
                _ => {
                    if let Some(runner) = indexed(key, 'p', &mut runners) {
                        *runner = Some(Change::parse(&value)?);
                    } else if let Some(coin) = indexed(key, 'c', &mut coins) {
                        *coin = Some(value.parse().ok()?);
                    }
                }
            }
        }
        let (number, base) = (number.parse().ok()?, base.parse().ok()?);
        let is_in_order = base < number;
        is_in_order.then_some(Self {
            number,
            base: (base > 0).then_some(base),
            input: input?,
            left: left?,
            standing: Standing::parse(&word?, winner)?,
            runners,
            coins,
        })
    }
}

/// The element of a list that a key like `p3` names.
fn indexed<'a, T>(key: &str, letter: char, list: &'a mut [T]) -> Option<&'a mut T> {
    key.strip_prefix(letter)?.parse::<usize>().ok().and_then(|at| list.get_mut(at))
}

/// The text after `SNAP`.
impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, input, left, standing, .. } = self;
        let base = self.base.unwrap_or(0);
        write!(f, "{number} {base} in={input} left={left} is={}", standing.word())?;
        if let Standing::Finished { winner: Some(slot) } = standing {
            write!(f, " winner={slot}")?;
        }
        for (slot, change) in self.runners.iter().enumerate() {
            if let Some(change) = change {
                write!(f, " p{slot}={change}")?;
            }
        }
        for (at, coin) in self.coins.iter().enumerate() {
            if let Some(coin) = coin {
                write!(f, " c{at}={coin}")?;
            }
        }
        Ok(())
    }
}

impl Change {
    fn between(before: Option<Runner>, after: Option<Runner>) -> Option<Self> {
        match (before, after) {
            (None, None) => None,
            (Some(_), None) => Some(Self::Gone),
            (before, Some(after)) if before == Some(after) => None,
            (before, Some(after)) => {
                let part = |of: fn(Runner) -> u16| {
                    Some(of(after)).filter(|new| before.map(of) != Some(*new))
                };
                let (x, y) = (part(|runner| runner.at.x), part(|runner| runner.at.y));
                Some(Self::To { x, y, score: part(|runner| runner.score) })
            }
        }
    }

    /// The player after the change: `None` if it is invalid, `Some(None)` if the player has left.
    fn apply(self, before: Option<Runner>) -> Option<Option<Runner>> {
        match self {
            Self::Gone => Some(None),
            Self::To { x, y, score } => {
                let at = Point {
                    x: x.or(before.map(|runner| runner.at.x))?,
                    y: y.or(before.map(|runner| runner.at.y))?,
                };
                let score = score.or(before.map(|runner| runner.score))?;
                at.cell().map(|_| Some(Runner { at, score }))
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::Gone);
        }
        let part = |text: &str| match text {
            "" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        let mut parts = text.split(',');
        let (x, y, score) = (part(parts.next()?)?, part(parts.next()?)?, part(parts.next()?)?);
        parts.next().is_none().then_some(Self::To { x, y, score })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::To { x, y, score } = self else { return f.write_str("-") };
        for (before, part) in ["", ",", ","].into_iter().zip([x, y, score]) {
            f.write_str(before)?;
            if let Some(number) = part {
                write!(f, "{number}")?;
            }
        }
        Ok(())
    }
}
