//! Strategies for tic-tac-toe.

use game_child::tictactoe::{Board, Cell};

/// Chooses moves.
pub trait Strategy {
    /// A free cell for the side that moves next; `None` if there is none.
    fn choose(&mut self, board: &Board) -> Option<Cell>;
}

/// Plays the first free cell. Two of these always play the same game; X wins it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstFree;

impl Strategy for FirstFree {
    fn choose(&mut self, board: &Board) -> Option<Cell> {
        board.turn().and_then(|_| board.free_cells().next())
    }
}

/// Plays random free cells, the same ones for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A player with random choices from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64: small, and the same on every machine and in every version.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Strategy for Random {
    fn choose(&mut self, board: &Board) -> Option<Cell> {
        board.turn()?;
        let free: Vec<Cell> = board.free_cells().collect();
        let count = u64::try_from(free.len()).ok()?;
        let at = usize::try_from(self.next().checked_rem(count)?).ok()?;
        free.get(at).copied()
    }
}

/// Never loses, and wins if the other side allows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Perfect;

impl Strategy for Perfect {
    fn choose(&mut self, board: &Board) -> Option<Cell> {
        board.turn()?;
        if board.moves() == 0 {
            // The centre is optimal, and computing that takes longest.
            return Some(Cell::ALL[4]);
        }
        board.free_cells().max_by_key(|cell| value_of(board, *cell))
    }
}

/// The strategies by name.
#[derive(Debug, Clone)]
pub enum Bot {
    /// [`FirstFree`].
    FirstFree(FirstFree),
    /// [`Random`].
    Random(Random),
    /// [`Perfect`].
    Perfect(Perfect),
}

impl Strategy for Bot {
    fn choose(&mut self, board: &Board) -> Option<Cell> {
        match self {
            Self::FirstFree(bot) => bot.choose(board),
            Self::Random(bot) => bot.choose(board),
            Self::Perfect(bot) => bot.choose(board),
        }
    }
}

/// The value of having played `cell`, for the side that did: higher the sooner it wins.
fn value_of(board: &Board, cell: Cell) -> i32 {
    let mut next = *board;
    if next.play(cell).is_err() {
        return i32::MIN;
    }
    if next.winner().is_some() {
        return 10 - i32::try_from(next.moves()).unwrap_or(0);
    }
    // The best reply of the other side is the value for that side; a full board is worth nothing.
    -next.free_cells().map(|reply| value_of(&next, reply)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use game_child::tictactoe::Mark;

    use super::*;

    fn play(x: &mut dyn Strategy, o: &mut dyn Strategy) -> Board {
        let mut board = Board::default();
        while let Some(mark) = board.turn() {
            let strategy: &mut dyn Strategy = if mark == Mark::X { x } else { o };
            let cell = strategy.choose(&board).unwrap();
            board.play(cell).unwrap();
        }
        board
    }

    #[test]
    fn the_perfect_player_never_loses_and_draws_with_itself() {
        assert_eq!(play(&mut Perfect, &mut Perfect).winner(), None);
        for seed in 0..8 {
            assert_ne!(play(&mut Perfect, &mut Random::new(seed)).winner(), Some(Mark::O));
            assert_ne!(play(&mut Random::new(seed), &mut Perfect).winner(), Some(Mark::X));
        }
    }

    #[test]
    fn the_perfect_player_wins_at_once_and_blocks() {
        let board: Board = "XX.OO....".parse().unwrap();
        assert_eq!(Perfect.choose(&board), Some(Cell::ALL[2]));
        let board: Board = "XX..O....".parse().unwrap();
        assert_eq!(Perfect.choose(&board), Some(Cell::ALL[2]));
    }

    #[test]
    fn the_same_seed_plays_the_same_game() {
        let game = |seed| play(&mut Random::new(seed), &mut Random::new(seed + 1));
        assert_eq!(game(7), game(7));
        assert!((0..20).any(|seed| game(seed) != game(7)));
        assert_eq!(play(&mut FirstFree, &mut FirstFree).to_string(), "XOXOXOX..");
    }

    #[test]
    fn no_strategy_plays_on_a_finished_board() {
        let board: Board = "XXXOO....".parse().unwrap();
        assert_eq!(Perfect.choose(&board), None);
        assert_eq!(Random::new(1).choose(&board), None);
        assert_eq!(FirstFree.choose(&board), None);
    }
}
