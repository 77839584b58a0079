//! The board and its rules.

use std::fmt;
use std::str::FromStr;

/// A side: X is the player of slot 0 and begins, O is the player of slot 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Begins.
    X,
    /// Answers.
    O,
}

impl Mark {
    /// Both sides, by slot.
    pub const BOTH: [Self; 2] = [Self::X, Self::O];

    /// The side of a slot; there is none beyond 1.
    pub fn of_slot(slot: usize) -> Option<Self> {
        Self::BOTH.get(slot).copied()
    }

    /// The slot of this side.
    pub const fn slot(self) -> usize {
        match self {
            Self::X => 0,
            Self::O => 1,
        }
    }

    /// The opponent.
    pub const fn other(self) -> Self {
        match self {
            Self::X => Self::O,
            Self::O => Self::X,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X => "X",
            Self::O => "O",
        })
    }
}

impl FromStr for Mark {
    type Err = BadBoard;

    fn from_str(text: &str) -> Result<Self, BadBoard> {
        match text {
            "X" => Ok(Self::X),
            "O" => Ok(Self::O),
            _ => Err(BadBoard),
        }
    }
}

/// One of the nine cells. Its text is 1 to 9, row by row from the top left, as on a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(u8);

impl Cell {
    /// All cells, from 1 to 9.
    pub const ALL: [Self; 9] =
        [Self(0), Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7), Self(8)];

    /// The cell's number, 1 to 9, for people and on the wire.
    pub const fn number(self) -> u8 {
        self.0 + 1
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl FromStr for Cell {
    type Err = BadBoard;

    fn from_str(text: &str) -> Result<Self, BadBoard> {
        Self::ALL.into_iter().find(|cell| cell.to_string() == text).ok_or(BadBoard)
    }
}

/// A text that is not a side, a cell, or a reachable board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a side, cell or board of tic-tac-toe")]
pub struct BadBoard;

/// Why a cell cannot be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IllegalMove {
    /// The cell has a mark.
    #[error("the cell is taken")]
    Taken,
    /// A side has won, or the board is full.
    #[error("the game is over")]
    Over,
}

/// A reachable board: the sides alternate, X first, until one has three in a line.
///
/// Its text is nine characters, row by row: `X`, `O`, or `.` for a free cell.
///
/// ```
/// use game_child::tictactoe::{Board, Cell, Mark};
/// let mut board = Board::default();
/// board.play("5".parse::<Cell>().unwrap()).unwrap();
/// assert_eq!(board.to_string(), "....X....");
/// assert_eq!(board.turn(), Some(Mark::O));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Board([Option<Mark>; 9]);

/// The rows, the columns, the diagonals.
const LINES: [[usize; 3]; 8] =
    [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];

impl Board {
    /// The mark in a cell.
    pub const fn at(&self, cell: Cell) -> Option<Mark> {
        self.0[cell.index()]
    }

    /// The number of moves, 0 to 9.
    pub fn moves(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// The free cells, from 1 to 9.
    pub fn free_cells(&self) -> impl Iterator<Item = Cell> + '_ {
        Cell::ALL.into_iter().filter(|cell| self.at(*cell).is_none())
    }

    /// The side with three in a line.
    pub fn winner(&self) -> Option<Mark> {
        LINES.iter().find_map(|&[a, b, c]| {
            self.0[a].filter(|_| self.0[a] == self.0[b] && self.0[b] == self.0[c])
        })
    }

    /// Whether no move is possible: a side has won, or the board is full.
    pub fn is_over(&self) -> bool {
        self.winner().is_some() || self.moves() == Cell::ALL.len()
    }

    /// The side that moves next; `None` once the game is over.
    pub fn turn(&self) -> Option<Mark> {
        (!self.is_over()).then(|| Mark::BOTH[self.moves() % 2])
    }

    /// Places the mark of the side that moves next.
    ///
    /// # Errors
    /// [`IllegalMove`]; the board is then unchanged.
    pub fn play(&mut self, cell: Cell) -> Result<Mark, IllegalMove> {
        let mark = self.turn().ok_or(IllegalMove::Over)?;
        if self.at(cell).is_some() {
            return Err(IllegalMove::Taken);
        }
        self.0[cell.index()] = Some(mark);
        Ok(mark)
    }

    /// Whether the board is reachable: X is level or one ahead, and the winner made the last move.
    fn is_reachable(&self) -> bool {
        let count = |mark| self.0.iter().filter(|cell| **cell == Some(mark)).count();
        let (x, o) = (count(Mark::X), count(Mark::O));
        let has_line =
            |mark| LINES.iter().any(|line| line.iter().all(|&i| self.0[i] == Some(mark)));
        let x_is_fine = !has_line(Mark::X) || x == o + 1;
        let o_is_fine = !has_line(Mark::O) || x == o;
        (x == o || x == o + 1) && x_is_fine && o_is_fine
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|cell| match cell {
            Some(mark) => write!(f, "{mark}"),
            None => f.write_str("."),
        })
    }
}

impl FromStr for Board {
    type Err = BadBoard;

    fn from_str(text: &str) -> Result<Self, BadBoard> {
        let signs: &[u8; 9] = text.as_bytes().try_into().map_err(|_| BadBoard)?;
        let mut board = Self::default();
        for (cell, sign) in board.0.iter_mut().zip(signs) {
            *cell = match sign {
                b'X' => Some(Mark::X),
                b'O' => Some(Mark::O),
                b'.' => None,
                _ => return Err(BadBoard),
            };
        }
        if board.is_reachable() { Ok(board) } else { Err(BadBoard) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn play(cells: &str) -> Board {
        let mut board = Board::default();
        for cell in cells.chars() {
            board.play(cell.to_string().parse().unwrap()).unwrap();
        }
        board
    }

    #[test]
    fn a_line_wins_and_ends_the_game() {
        let mut board = play("14253");
        assert_eq!((board.winner(), board.turn()), (Some(Mark::X), None));
        assert_eq!(board.play(Cell::ALL[8]), Err(IllegalMove::Over));
        assert_eq!(play("12437").winner(), Some(Mark::X));
        assert_eq!(play("152397").winner(), Some(Mark::O));
        assert_eq!(play("15239").winner(), None);
    }

    #[test]
    fn a_full_board_without_a_line_is_a_draw() {
        let board = play("123546879");
        assert!(board.is_over());
        assert_eq!((board.winner(), board.turn(), board.moves()), (None, None, 9));
    }

    #[test]
    fn a_taken_cell_changes_nothing() {
        let mut board = play("5");
        assert_eq!(board.play(Cell::ALL[4]), Err(IllegalMove::Taken));
        assert_eq!(board, play("5"));
    }

    /// Plays all possible games; the number of boards is well known.
    #[test]
    fn exactly_the_reachable_boards_can_be_read() {
        let (mut reached, mut open) = (HashSet::new(), vec![Board::default()]);
        while let Some(board) = open.pop() {
            if !reached.insert(board) {
                continue;
            }
            for cell in Cell::ALL {
                let mut next = board;
                if next.play(cell).is_ok() {
                    open.push(next);
                }
            }
        }
        assert_eq!(reached.len(), 5478);
        let mut read = 0;
        for code in 0..3_usize.pow(9) {
            let text: String = (0..9).map(|i| ['.', 'X', 'O'][code / 3_usize.pow(i) % 3]).collect();
            if let Ok(board) = text.parse::<Board>() {
                assert!(reached.contains(&board), "{text}");
                assert_eq!(board.to_string(), text);
                read += 1;
            }
        }
        assert_eq!(read, reached.len());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", ".", "X.O", "xxxxxxxxx", "XX.......", "..........", "é.......", "XXXOOO..."]
        {
            assert_eq!(text.parse::<Board>(), Err(BadBoard), "{text}");
        }
        for text in ["0", "10", "05", "+5", "", " 5"] {
            assert_eq!(text.parse::<Cell>(), Err(BadBoard), "{text}");
        }
    }
}
