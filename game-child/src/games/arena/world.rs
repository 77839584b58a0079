//! The rules of movement and of coins. Integers only, so that they are the same on every machine.

use super::{COINS, Cell, Direction, PLAYERS_MAX, Point, Runner, Snapshot, Standing, free_cells};

/// The speed along an axis in units per second: eight cells.
const STRAIGHT_PER_SECOND: u16 = 2040;
const SLANTED_PER_SECOND: u16 = 1440;

/// A world of players and coins. The same seed and the same directions make the same one.
#[derive(Debug, Clone)]
pub(super) struct World {
    straight: u16,
    slanted: u16,
    points_max: u16,
    ticks: u32,
    ticks_max: u32,
    standing: Standing,
    free: Vec<Cell>,
    dice: u64,
    scores: Vec<u16>,
    places: Vec<Option<Point>>,
    coins: [Cell; COINS],
}

impl World {
    /// A world for `players` that ends after `ticks_max` ticks, or when a player has `points_max`.
    pub(super) fn new(hz: u16, players: usize, ticks_max: u32, points_max: u16, seed: u64) -> Self {
        debug_assert!(
            STRAIGHT_PER_SECOND.is_multiple_of(hz) && SLANTED_PER_SECOND.is_multiple_of(hz)
        );
        debug_assert!((1..=PLAYERS_MAX).contains(&players));
        let free: Vec<Cell> = free_cells().collect();
        let mut world = Self {
            straight: STRAIGHT_PER_SECOND / hz,
            slanted: SLANTED_PER_SECOND / hz,
            points_max,
            ticks: 0,
            ticks_max,
            standing: Standing::Waiting,
            coins: [free[0]; COINS],
            free,
            dice: seed,
            scores: vec![0; players],
            places: vec![None; players],
        };
        for at in 0..COINS {
            world.coins[at] = world.place_for_coin();
        }
        world
    }

    /// Adds a player, at a free position.
    pub(super) fn enter(&mut self, slot: usize) {
        let at = (2 * slot + 1) * self.free.len() / (2 * PLAYERS_MAX);
        self.places[slot] = Some(self.free[at].centre());
    }

    /// Removes a player, who keeps the points.
    pub(super) fn leave(&mut self, slot: usize) {
        self.places[slot] = None;
    }

    /// Starts the game: players move and time passes.
    pub(super) fn begin(&mut self) {
        if self.standing == Standing::Waiting {
            self.standing = Standing::Playing;
        }
    }

    /// Ends the game: no player moves any more.
    pub(super) fn stop(&mut self) {
        if !self.standing.is_end() {
            self.standing = Standing::Stopped;
        }
    }

    /// A tick: each player takes a step. Nothing happens before the start and after the end.
    pub(super) fn step(&mut self, directions: &[Direction]) {
        debug_assert_eq!(directions.len(), self.places.len());
        if self.standing != Standing::Playing {
            return;
        }
        // The order changes with each tick, so that no slot gets every coin that two players reach.
        let players = self.places.len();
        let first = self.ticks as usize % players;
        for slot in (0..players).map(|after| (first + after) % players) {
            if let Some(from) = self.places[slot] {
                let to = self.moved(from, directions[slot]);
                self.places[slot] = Some(to);
                self.collect(slot, to);
            }
        }
        self.ticks += 1;
        let has_enough = self.scores.iter().any(|score| *score >= self.points_max);
        if has_enough || self.ticks >= self.ticks_max {
            self.standing = Standing::Finished { winner: self.leader() };
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// The players' points by slot, including players who left.
    pub(super) fn scores(&self) -> &[u16] {
        &self.scores
    }

    /// The state of the world, with a number.
    pub(super) fn snapshot(&self, number: u32) -> Snapshot {
        let runner = |slot: usize| {
            let at = (*self.places.get(slot)?)?;
            Some(Runner { at, score: self.scores[slot] })
        };
        Snapshot {
            number,
            left: self.ticks_max - self.ticks,
            standing: self.standing,
            runners: std::array::from_fn(runner),
            coins: self.coins,
        }
    }

    /// One step. Each axis is tried separately, so that players slide along walls.
    fn moved(&self, from: Point, direction: Direction) -> Point {
        let (right, down) = direction.steps();
        let length = if right != 0 && down != 0 { self.slanted } else { self.straight };
        let along = |from: u16, step: i32| match step {
            // The map is surrounded by walls, so saturation is never reached.
            1 => from.saturating_add(length),
            -1 => from.saturating_sub(length),
            _ => from,
        };
        let is_free = |at: &Point| at.cell().is_some();
        let at = Some(Point { x: along(from.x, right), y: from.y }).filter(is_free).unwrap_or(from);
        Some(Point { x: at.x, y: along(from.y, down) }).filter(is_free).unwrap_or(at)
    }

    fn collect(&mut self, slot: usize, at: Point) {
        if let Some(coin) = self.coins.iter().position(|coin| at.cell() == Some(*coin)) {
            self.scores[slot] = self.scores[slot].saturating_add(1);
            self.coins[coin] = self.place_for_coin();
        }
    }

    /// A free cell without coin and player: a random one, or the next one from there.
    fn place_for_coin(&mut self) -> Cell {
        let count = self.free.len();
        let from = usize::try_from(self.next_random() % count as u64).unwrap_or(0);
        let is_taken = |cell: Cell| {
            let is_here = |at: &Point| at.cell() == Some(cell);
            self.coins.contains(&cell) || self.places.iter().flatten().any(is_here)
        };
        let mut cells = (0..count).map(|after| self.free[(from + after) % count]);
        cells.find(|cell| !is_taken(*cell)).unwrap_or(self.free[from])
    }

    /// The present player with the most points, if there is exactly one.
    fn leader(&self) -> Option<usize> {
        let here = |slot: &usize| self.places[*slot].is_some();
        let best = (0..self.scores.len()).filter(here).map(|slot| self.scores[slot]).max()?;
        let mut leaders = (0..self.scores.len()).filter(here).filter(|it| self.scores[*it] == best);
        let leader = leaders.next()?;
        leaders.next().is_none().then_some(leader)
    }

    /// SplitMix64: small, and the same on every machine and in every version.
    fn next_random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A seed from a text: FNV-1a.
pub(super) fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{UNIT, Update};

    use super::*;

    const HZ: u16 = 30;

    fn world(players: usize, seed: u64) -> World {
        let mut world = World::new(HZ, players, 900, 1000, seed);
        (0..players).for_each(|slot| world.enter(slot));
        world.begin();
        world
    }

    /// A world after a number of random ticks.
    fn wandered(hz: u16, ticks: u32, seed: u64) -> World {
        let mut world = World::new(hz, PLAYERS_MAX, 10_000, 1000, seed);
        (0..PLAYERS_MAX).for_each(|slot| world.enter(slot));
        world.begin();
        let mut dice = World::new(hz, 1, 1, 1, seed + 1);
        let mut directions = [Direction::Stand; PLAYERS_MAX];
        for _ in 0..ticks {
            for direction in &mut directions {
                let roll = usize::try_from(dice.next_random() % 60).unwrap();
                *direction = Direction::ALL.get(roll).copied().unwrap_or(*direction);
            }
            world.step(&directions);
        }
        world
    }

    fn hash_of(world: &World) -> u64 {
        seed_of(&Update::new(&world.snapshot(1), None, 0).to_string())
    }

    /// The numbers were computed once. A machine, compiler or version with other results would play another game.
    #[test]
    fn the_same_inputs_make_the_same_world_everywhere() {
        let hashes = [hash_of(&wandered(30, 2000, 1)), hash_of(&wandered(60, 2000, 2))];
        assert_eq!(hashes, [16_396_930_730_240_923_899, 13_348_078_463_014_942_173]);
    }

    #[test]
    fn no_player_is_ever_in_a_wall_and_there_are_always_eight_coins() {
        for seed in 0..20 {
            let world = wandered(HZ, 500, seed);
            assert!(world.places.iter().flatten().all(|at| at.cell().is_some()));
            let distinct: std::collections::BTreeSet<Cell> = world.coins.into_iter().collect();
            assert_eq!(distinct.len(), COINS);
            assert!(world.scores.iter().any(|score| *score > 0));
        }
    }

    #[test]
    fn players_start_apart_and_outside_of_walls() {
        let world = world(PLAYERS_MAX, 1);
        let cells: std::collections::BTreeSet<Option<Cell>> =
            world.places.iter().flatten().map(|at| at.cell()).collect();
        assert_eq!(cells.len(), PLAYERS_MAX);
    }

    #[test]
    fn all_directions_have_the_same_speed_at_both_rates() {
        let centre = Cell::new(20, 10).unwrap().centre();
        let after_half_a_second = |hz: u16, direction| {
            let mut world = World::new(hz, 1, 900, 1000, 1);
            world.places[0] = Some(centre);
            world.begin();
            (0..hz / 2).for_each(|_| world.step(&[direction]));
            world.places[0].unwrap()
        };
        for direction in Direction::ALL {
            assert_eq!(after_half_a_second(30, direction), after_half_a_second(60, direction));
        }
        let right = after_half_a_second(30, Direction::Right);
        assert_eq!((right.x - centre.x, right.y), (STRAIGHT_PER_SECOND / 2, centre.y));
        let up_left = after_half_a_second(30, Direction::UpLeft);
        let (left, up) = (centre.x - up_left.x, centre.y - up_left.y);
        assert_eq!((left, up), (SLANTED_PER_SECOND / 2, SLANTED_PER_SECOND / 2));
    }

    #[test]
    fn a_wall_stops_one_axis_of_a_step_and_not_the_other() {
        let mut world = world(1, 1);
        world.places[0] = Cell::new(1, 10).map(Cell::centre);
        (0..HZ).for_each(|_| world.step(&[Direction::UpLeft]));
        let at = world.places[0].unwrap();
        assert!(at.x / UNIT == 1 && at.y < Cell::new(1, 10).unwrap().centre().y - 4 * UNIT);
    }

    #[test]
    fn a_coin_is_a_point_and_reappears_elsewhere() {
        let mut world = world(2, 1);
        let coin = world.coins[3];
        world.places[1] = Some(coin.centre());
        world.step(&[Direction::Stand; 2]);
        assert_eq!(world.scores(), [0, 1]);
        assert_ne!(world.coins[3], coin);
    }

    #[test]
    fn two_players_on_a_coin_take_turns() {
        let mut firsts = [0, 0];
        for ticks in 0..10 {
            let mut world = world(2, 1);
            world.ticks = ticks;
            world.places = vec![Some(world.coins[0].centre()); 2];
            world.step(&[Direction::Stand; 2]);
            (0..2).for_each(|slot| firsts[slot] += world.scores[slot]);
        }
        assert_eq!(firsts, [5, 5]);
    }

    #[test]
    fn the_game_ends_by_points_or_by_time() {
        let mut world = world(2, 1);
        world.scores = vec![999, 3];
        world.places[0] = Some(world.coins[0].centre());
        world.step(&[Direction::Stand; 2]);
        assert_eq!(world.standing(), Standing::Finished { winner: Some(0) });
        let end = world.snapshot(1);
        world.step(&[Direction::Left; 2]);
        world.stop();
        assert_eq!(world.snapshot(1), end, "after the end nothing happens");

        for (scores, gone, winner) in
            [([2, 1], None, Some(0)), ([1, 1], None, None), ([2, 1], Some(0), Some(1))]
        {
            let mut world = self::world(2, 1);
            (world.scores, world.ticks) = (scores.to_vec(), 899);
            gone.into_iter().for_each(|slot| world.leave(slot));
            world.coins = [Cell::new(1, 1).unwrap(); COINS];
            world.step(&[Direction::Stand; 2]);
            assert_eq!(world.standing(), Standing::Finished { winner });
            assert_eq!(world.snapshot(1).left, 0);
        }
    }

    #[test]
    fn nothing_moves_before_the_start() {
        let mut world = World::new(HZ, 2, 900, 1000, 1);
        world.enter(0);
        let before = world.snapshot(1);
        world.step(&[Direction::Left; 2]);
        assert_eq!(world.snapshot(1), before);
        world.begin();
        world.step(&[Direction::Left; 2]);
        assert_ne!(world.snapshot(1), before);
    }
}
