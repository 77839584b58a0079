//! A bot for arena.

use std::collections::VecDeque;

use game_child::arena::{Cell, Direction, HEIGHT, Snapshot, UNIT, WIDTH};

/// The number of snapshots between two decisions, as a person needs a moment, too.
const DECISION_EVERY: u32 = 3;

/// A bot wanders one time in this many decisions.
const WANDERS_ONE_IN: u64 = 12;

/// A bot that moves to the nearest coin, around walls, and now and then elsewhere. The same seed and the same snapshots
/// result in the same path.
#[derive(Debug, Clone)]
pub struct Seeker {
    dice: u64,
    direction: Direction,
    decided_at: u32,
}

impl Seeker {
    /// A bot with random choices from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { dice: seed, direction: Direction::Stand, decided_at: 0 }
    }

    /// The direction for the player in a slot.
    pub fn choose(&mut self, snapshot: &Snapshot, slot: usize) -> Direction {
        let here = snapshot.runners.get(slot).copied().flatten().map(|runner| runner.at);
        let Some((at, cell)) = here.and_then(|at| Some((at, at.cell()?))) else {
            return Direction::Stand;
        };
        if self.decided_at != 0 && snapshot.number < self.decided_at.saturating_add(DECISION_EVERY)
        {
            return self.direction;
        }
        self.decided_at = snapshot.number;
        if self.next_random().is_multiple_of(WANDERS_ONE_IN) {
            let index = usize::try_from(self.next_random() % 9).unwrap_or(0);
            self.direction = Direction::ALL[index];
        } else if let Some(next) = first_step(cell, &snapshot.coins) {
            let to = next.centre();
            let away = |to: u16, from: u16| match i32::from(to) - i32::from(from) {
                // Near enough: a position cannot be reached more exactly than the length of a step.
                near if near.abs() < i32::from(UNIT / 4) => 0,
                far => far,
            };
            self.direction = Direction::towards(away(to.x, at.x), away(to.y, at.y));
        }
        self.direction
    }

    /// SplitMix64: small, and the same on every machine and in every version.
    fn next_random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The first cell on a shortest path to any of the coins: a breadth-first search from all coins until it reaches
/// `from`; the neighbouring cell from which it was reached leads there.
fn first_step(from: Cell, coins: &[Cell]) -> Option<Cell> {
    let mut circles = [[None; WIDTH]; HEIGHT];
    let mut open: VecDeque<Cell> = VecDeque::new();
    for coin in coins.iter().filter(|coin| **coin != from) {
        circles[coin.row()][coin.column()] = Some(0_u16);
        open.push_back(*coin);
    }
    while let Some(cell) = open.pop_front() {
        let circle = circles[cell.row()][cell.column()]?;
        for next in neighbours(cell) {
            if next == from {
                let leads = |cell: &Cell| circles[cell.row()][cell.column()] == Some(circle);
                return neighbours(from).find(leads);
            }
            let next_circle = &mut circles[next.row()][next.column()];
            if next_circle.is_none() {
                *next_circle = Some(circle + 1);
                open.push_back(next);
            }
        }
    }
    None
}

/// The neighbouring cells that can be reached in a straight line, not through the corner of a wall.
fn neighbours(cell: Cell) -> impl Iterator<Item = Cell> {
    let at = move |right: i32, down: i32| {
        let column = cell.column().checked_add_signed(right.try_into().ok()?)?;
        Cell::new(column, cell.row().checked_add_signed(down.try_into().ok()?)?)
    };
    // Straight directions first: a diagonal one that is no shorter has no advantage.
    let order = [1, 3, 5, 7, 0, 2, 6, 8].map(|index| Direction::ALL[index].steps());
    order.into_iter().filter_map(move |(right, down)| {
        let is_open = at(right, 0).is_some() && at(0, down).is_some();
        at(right, down).filter(|_| is_open)
    })
}

#[cfg(test)]
mod tests {
    use game_child::arena::{COINS, PLAYERS_MAX, Point, Runner, Standing, free_cells};

    use super::*;

    fn snapshot(number: u32, at: Point, coin: Cell) -> Snapshot {
        let mut runners = [None; PLAYERS_MAX];
        runners[2] = Some(Runner { at, score: 0 });
        Snapshot { number, left: 9, standing: Standing::Playing, runners, coins: [coin; COINS] }
    }

    #[test]
    fn every_coin_can_be_reached_by_walking_from_cell_to_cell() {
        let coin = Cell::new(20, 5).unwrap();
        for start in free_cells().step_by(23).filter(|cell| *cell != coin) {
            let (mut cell, mut steps) = (start, 0);
            while cell != coin {
                cell = first_step(cell, &[coin]).unwrap();
                steps += 1;
                assert!(steps < 200, "from {start}");
            }
        }
        assert_eq!(first_step(coin, &[coin]), None);
    }

    #[test]
    fn the_bot_reaches_the_coin_and_the_same_seed_takes_the_same_path() {
        let coin = Cell::new(40, 12).unwrap();
        let way = |seed| {
            let mut bot = Seeker::new(seed);
            let at = Cell::new(28, 12).unwrap().centre();
            (1..100).map(|number| bot.choose(&snapshot(number, at, coin), 2)).collect::<Vec<_>>()
        };
        assert_eq!(way(1), way(1));
        assert!((2..20).any(|seed| way(seed) != way(1)));
        let right = way(1).iter().filter(|direction| **direction == Direction::Right).count();
        assert!(right > 60, "only {right} of 99");
    }

    #[test]
    fn an_absent_player_stands() {
        let coin = Cell::new(40, 10).unwrap();
        let snapshot = snapshot(1, coin.centre(), coin);
        for slot in [0, 15, 16] {
            assert_eq!(Seeker::new(1).choose(&snapshot, slot), Direction::Stand);
        }
    }
}
