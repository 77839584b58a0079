//! The messages in datagrams after a player has joined.

use std::fmt;

use super::limits::{HZ_MAX, NAME_SHOWN_MAX};
use super::map::Direction;
use super::snapshot::Update;
use super::{MOVES_MAX, PLAYERS_MAX};
use protocol::fields::{Line, encode};

/// A player's message, once a tick: `INPUT <number> <ack> <moves>`, e.g. `INPUT 57 120 55666`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The number of the newest move, from 1. The moves before it have the previous numbers.
    pub number: u32,
    /// The number of the newest snapshot that the player has; 0 is none.
    pub ack: u32,
    /// The last moves, the newest last: at least one, at most [`MOVES_MAX`].
    moves: Vec<Direction>,
}

impl Input {
    /// An input; `None` if there are no moves, too many, or more than numbers.
    pub fn new(number: u32, ack: u32, moves: Vec<Direction>) -> Option<Self> {
        let count = u32::try_from(moves.len()).ok()?;
        let is_good = !moves.is_empty() && moves.len() <= MOVES_MAX && count <= number;
        is_good.then_some(Self { number, ack, moves })
    }

    /// Parses a player's message; `None` if it is unknown, and to be ignored.
    pub fn parse(words: &str) -> Option<Self> {
        let mut parts = words.strip_prefix("INPUT ")?.split_ascii_whitespace();
        let (number, ack) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let digits = parts.next().filter(|digits| digits.len() <= MOVES_MAX)?;
        let moves = digits.chars().map(Direction::of_digit).collect::<Option<_>>()?;
        Self::new(number, ack, moves).filter(|_| parts.next().is_none())
    }

    /// The moves with their numbers, the oldest first.
    pub fn moves(&self) -> impl Iterator<Item = (u32, Direction)> {
        let count = u32::try_from(self.moves.len()).unwrap_or(0);
        // Saturating: a hostile number can be the highest one.
        (self.number.saturating_sub(count) + 1..=self.number).zip(self.moves.iter().copied())
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "INPUT {} {} ", self.number, self.ack)?;
        self.moves.iter().try_for_each(|direction| write!(f, "{}", direction.digit()))
    }
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromArena {
    /// `ARENA …`: the constants of a match.
    Setup(Setup),
    /// `SNAP …`: the state of the world.
    Update(Box<Update>),
}

impl FromArena {
    /// Parses a server's message; `None` if it is unknown, and to be ignored.
    pub fn parse(words: &str) -> Option<Self> {
        let line = Line::parse(words.as_bytes()).ok()?;
        match line.verb {
            "ARENA" => Setup::parse(&line).map(Self::Setup),
            "SNAP" => Update::parse(line.rest).map(Box::new).map(Self::Update),
            _ => None,
        }
    }
}

impl fmt::Display for FromArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(setup) => write!(f, "ARENA {setup}"),
            Self::Update(update) => write!(f, "SNAP {update}"),
        }
    }
}

/// The constants of a match, as sent to one player, e.g. `ARENA hz=30 points=30 you=0 n0=ada n1=bob`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Ticks per second.
    pub hz: u32,
    /// The score that ends the game.
    pub points: u16,
    /// The receiver's slot.
    pub you: usize,
    /// The players' names by slot, truncated to [`NAME_SHOWN_MAX`] bytes: any UTF-8, to be escaped wherever they are
    /// shown.
    pub names: Vec<String>,
}

impl Setup {
    fn parse(line: &Line<'_>) -> Option<Self> {
        let (mut hz, mut points, mut you) = (None, None, None);
        let mut names: [Option<String>; PLAYERS_MAX] = Default::default();
        for field in line.fields() {
            let (key, value) = field.ok()?;
            match key {
                "hz" => hz = value.parse().ok().filter(|hz| (1..=HZ_MAX).contains(hz)),
                "points" => points = value.parse().ok(),
                "you" => you = value.parse().ok().filter(|slot| *slot < PLAYERS_MAX),
                _ => {
                    let slot = key.strip_prefix('n').and_then(|slot| slot.parse::<usize>().ok());
                    if let Some(name) = slot.and_then(|slot| names.get_mut(slot)) {
                        *name = Some(value.into_owned());
                    }
                }
            }
        }
        // Up to the first slot without a name.
        let names = names.into_iter().map_while(|name| name).collect();
        Some(Self { hz: hz?, points: points?, you: you?, names })
    }
}

/// The text after `ARENA`.
impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hz={} points={} you={}", self.hz, self.points, self.you)?;
        let mut named = self.names.iter().take(PLAYERS_MAX).enumerate();
        named.try_for_each(|(slot, name)| {
            let shown = &name[..name.floor_char_boundary(NAME_SHOWN_MAX)];
            write!(f, " n{slot}={}", encode(shown))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{COINS, Cell, HEIGHT, Runner, Snapshot, Standing, UNIT, WIDTH, free_cells};
    use super::*;
    use protocol::datagram::{DATAGRAM_MAX, FromPlayer};

    /// SplitMix64.
    struct Dice(u64, Vec<Cell>);

    impl Dice {
        fn new(seed: u64) -> Self {
            Self(seed, free_cells().collect())
        }

        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
        }

        fn cell(&mut self) -> Cell {
            let at = self.below(self.1.len());
            self.1[at]
        }

        fn snapshot(&mut self, number: u32) -> Snapshot {
            let standing = match self.below(5) {
                0 => Standing::Waiting,
                1 => Standing::Playing,
                2 => Standing::Finished { winner: Some(self.below(PLAYERS_MAX)) },
                3 => Standing::Finished { winner: None },
                _ => Standing::Stopped,
            };
            let left = u32::try_from(self.below(5000)).unwrap();
            let runners = std::array::from_fn(|_| self.runner());
            Snapshot {
                number,
                left,
                standing,
                runners,
                coins: std::array::from_fn(|_| self.cell()),
            }
        }

        fn runner(&mut self) -> Option<Runner> {
            let at = self.cell().centre();
            let score = u16::try_from(self.below(100)).unwrap();
            (self.below(3) > 0).then_some(Runner { at, score })
        }

        /// A snapshot with a few changes.
        fn later(&mut self, snapshot: &Snapshot) -> Snapshot {
            let mut later = *snapshot;
            later.number += 1 + u32::try_from(self.below(60)).unwrap();
            for _ in 0..self.below(6) {
                later.runners[self.below(PLAYERS_MAX)] = self.runner();
                if let Some(runner) = &mut later.runners[self.below(PLAYERS_MAX)] {
                    runner.at.x += 1;
                }
                later.coins[self.below(COINS)] = self.cell();
            }
            later
        }
    }

    fn reread(update: &Update) -> Update {
        let text = FromArena::Update(Box::new(update.clone())).to_string();
        assert!(text.len() <= DATAGRAM_MAX && !text.chars().any(char::is_control), "{text}");
        let Some(FromArena::Update(reread)) = FromArena::parse(&text) else { panic!("{text}") };
        *reread
    }

    #[test]
    fn a_snapshot_survives_formatting_whole_or_as_a_difference() {
        let mut dice = Dice::new(1);
        for _ in 0..2000 {
            let base = dice.snapshot(7);
            let (near, far) = (dice.later(&base), dice.snapshot(8));
            for snapshot in [near, far] {
                let whole = reread(&Update::new(&snapshot, None, 3));
                assert_eq!(whole.apply(None), Some(snapshot));
                assert_eq!(whole.apply(Some(&base)), None, "a whole one has no base");
                let difference = reread(&Update::new(&snapshot, Some(&base), 3));
                assert_eq!(difference.apply(Some(&base)), Some(snapshot));
                assert_eq!(difference.apply(None), None, "a difference needs its base");
                assert_eq!(difference.apply(Some(&snapshot)), None, "and no other one");
                assert_eq!((difference.number, difference.input), (snapshot.number, 3));
            }
        }
    }

    #[test]
    fn the_messages_are_those_of_the_contract() {
        let coins: Vec<Cell> = free_cells().take(COINS).collect();
        let mut snapshot = Snapshot {
            number: 120,
            left: 1234,
            standing: Standing::Playing,
            runners: [None; PLAYERS_MAX],
            coins: coins.try_into().unwrap(),
        };
        let at = Cell::new(16, 8).unwrap().centre();
        snapshot.runners[0] = Some(Runner { at, score: 3 });
        let whole = FromArena::Update(Box::new(Update::new(&snapshot, None, 57))).to_string();
        assert_eq!(
            whole,
            "SNAP 120 0 in=57 left=1234 is=playing p0=4224,2176,3 c0=1,1 c1=2,1 c2=3,1 c3=4,1 c4=5,1 c5=6,1 \
             c6=7,1 c7=8,1"
        );
        let base = snapshot;
        (snapshot.number, snapshot.left) = (122, 1232);
        snapshot.runners[0].as_mut().unwrap().at.x += 68;
        let difference =
            FromArena::Update(Box::new(Update::new(&snapshot, Some(&base), 59))).to_string();
        assert_eq!(difference, "SNAP 122 120 in=59 left=1232 is=playing p0=4292,,");
        let later = "SNAP 122 120 p99=x later=1 is=playing p0=4292,,  left=1232 in=59";
        assert_eq!(FromArena::parse(later), FromArena::parse(&difference));
    }

    #[test]
    fn sixteen_players_fit_a_datagram_with_any_names() {
        let corner = Cell::new(WIDTH - 2, HEIGHT - 2).unwrap();
        let at = super::super::Point { x: corner.centre().x + UNIT / 4, y: corner.centre().y };
        let snapshot = Snapshot {
            number: u32::MAX,
            left: u32::MAX,
            standing: Standing::Finished { winner: Some(15) },
            runners: [Some(Runner { at, score: u16::MAX }); PLAYERS_MAX],
            coins: [corner; COINS],
        };
        let update = reread(&Update::new(&snapshot, None, u32::MAX));
        assert!(update.to_string().len() < DATAGRAM_MAX / 2, "room for later additions");
        for name in ["\n".repeat(64), "é".repeat(32), "猫".repeat(21), String::new()] {
            let names = vec![name.clone(); PLAYERS_MAX];
            let setup = Setup { hz: HZ_MAX, points: u16::MAX, you: 15, names };
            let text = FromArena::Setup(setup.clone()).to_string();
            assert!(text.len() <= DATAGRAM_MAX, "{} bytes", text.len());
            let Some(FromArena::Setup(reread)) = FromArena::parse(&text) else { panic!("{text}") };
            assert_eq!((reread.hz, reread.you, reread.names.len()), (HZ_MAX, 15, PLAYERS_MAX));
            assert!(reread.names.iter().all(|cut| name.starts_with(cut.as_str())));
        }
    }

    #[test]
    fn an_input_survives_formatting_and_its_datagram() {
        let input = Input::new(57, 120, Direction::ALL[..MOVES_MAX].to_vec()).unwrap();
        let text = input.to_string();
        assert_eq!(text, "INPUT 57 120 78945612");
        assert_eq!(Input::parse(&text), Some(input.clone()));
        assert_eq!(FromPlayer::parse(text.as_bytes()), Some(FromPlayer::Words(&text)));
        let numbers: Vec<u32> = input.moves().map(|(number, _)| number).collect();
        assert_eq!(numbers, [50, 51, 52, 53, 54, 55, 56, 57]);
        let last = Input::parse("INPUT 4294967295 0 55").unwrap();
        assert_eq!(last.moves().last(), Some((u32::MAX, Direction::Stand)));
    }

    #[test]
    fn malformed_messages_are_ignored() {
        for text in [
            "",
            "INPUT",
            "INPUT 1",
            "INPUT 1 0",
            "INPUT 1 0 55",
            "INPUT 0 0 5",
            "INPUT 9 0 555555555",
            "INPUT 1 0 0",
            "INPUT 1 0 é",
            "INPUT 1 0 5 5",
            "INPUT 4294967296 0 5",
            "INPUT -1 0 5",
            "input 1 0 5",
        ] {
            assert_eq!(Input::parse(text), None, "{text}");
        }
        for text in [
            "",
            "ARENA",
            "ARENA hz=30 points=30",
            "ARENA hz=0 points=30 you=0",
            "ARENA hz=30 points=30 you=16",
            "SNAP",
            "SNAP 2",
            "SNAP 2 1",
            "SNAP 2 1 in=0 left=1",
            "SNAP 2 1 in=0 left=1 is=over",
            "SNAP 2 1 in=0 left=1 is=playing winner=0",
            "SNAP 2 1 in=0 left=1 is=finished winner=16",
            "SNAP 2 2 in=0 left=1 is=playing",
            "SNAP 1 2 in=0 left=1 is=playing",
            "SNAP 0 0 in=0 left=1 is=playing",
            "SNAP 2 1 in=0 left=1 is=playing p0=1,2",
            "SNAP 2 1 in=0 left=1 is=playing p0=1,2,3,4",
            "SNAP 2 1 in=0 left=1 is=playing p0=1,2,65536",
            "SNAP 2 1 in=0 left=1 is=playing c0=0,0",
            "SNAP 2 1 in=0 left=1 is=playing c0=%f",
        ] {
            assert_eq!(FromArena::parse(text), None, "{text}");
        }
    }

    /// Texts made of valid parts in the wrong way: they never cause a panic or an impossible world.
    #[test]
    fn garbage_makes_no_impossible_world() {
        const PARTS: [&str; 16] = [
            "SNAP ",
            "ARENA ",
            "INPUT ",
            "9 ",
            "7 ",
            "0 ",
            "in=1 ",
            "left=5 ",
            "is=playing ",
            "p0=",
            "300,300,1 ",
            ",,",
            "- ",
            "c1=5,1 ",
            "65535,65535,1 ",
            "%00 ",
        ];
        let mut dice = Dice::new(2);
        let base = dice.snapshot(7);
        let mut read = 0;
        for _ in 0..50_000 {
            let usual = ["SNAP 9 7 in=1 left=5 is=playing ", ""][dice.below(2)];
            let parts = 1 + dice.below(6);
            let text: String =
                std::iter::once(usual).chain((0..parts).map(|_| PARTS[dice.below(16)])).collect();
            let _ = Input::parse(&text);
            if let Some(FromArena::Update(update)) = FromArena::parse(&text) {
                for snapshot in
                    [update.apply(Some(&base)), update.apply(None)].into_iter().flatten()
                {
                    read += 1;
                    assert!(snapshot.runners.iter().flatten().all(|it| it.at.cell().is_some()));
                }
            }
        }
        assert!(read > 1000, "only {read} could be read");
    }
}
