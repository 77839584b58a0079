//! The map, and positions and directions on it.

use std::fmt;
use std::str::FromStr;

/// The map's width, in cells.
pub const WIDTH: usize = 64;

/// The map's height, in cells.
pub const HEIGHT: usize = 20;

/// The width and height of a cell in units, in which positions are counted.
pub const UNIT: u16 = 256;

/// The map: `#` is a wall, everything else is free. All free cells are connected, and the map is surrounded by walls.
const ROWS: [&str; HEIGHT] = [
    "################################################################",
    "#.............................####.............................#",
    "#.............................####.............................#",
    "#.......#########.............####.............#########.......#",
    "#.......#.............#..................#.............#.......#",
    "#.......#.............#..................#.............#.......#",
    "#.......#.............######........######.............#.......#",
    "#.............#..................................#.............#",
    "#.............#..................................#.............#",
    "#.............#...........#..........#...........#.............#",
    "#.............#...........#..........#...........#.............#",
    "#.............#..................................#.............#",
    "#.............#..................................#.............#",
    "#.......#.............######........######.............#.......#",
    "#.......#.............#..................#.............#.......#",
    "#.......#.............#..................#.............#.......#",
    "#.......#########.............####.............#########.......#",
    "#.............................####.............................#",
    "#.............................####.............................#",
    "################################################################",
];

// A row of another length would leave a gap in the wall.
const _: () = {
    let mut row = 0;
    while row < HEIGHT {
        assert!(ROWS[row].len() == WIDTH);
        row += 1;
    }
};

/// Whether a cell is wall. Everything outside of the map is.
pub fn is_wall(column: usize, row: usize) -> bool {
    let sign = ROWS.get(row).and_then(|signs| signs.as_bytes().get(column));
    sign.is_none_or(|sign| *sign == b'#')
}

/// The cells that are not wall, row by row from the top left.
pub fn free_cells() -> impl Iterator<Item = Cell> {
    let cells = (0..HEIGHT).flat_map(|row| (0..WIDTH).map(move |column| (column, row)));
    cells.filter_map(|(column, row)| Cell::new(column, row))
}

/// A cell that is not wall. Its text is its column and its row from the top left, both from 0: `12,5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    column: u8,
    row: u8,
}

impl Cell {
    /// The cell of a column and a row, unless it is wall.
    pub fn new(column: usize, row: usize) -> Option<Self> {
        if is_wall(column, row) {
            return None;
        }
        Some(Self { column: u8::try_from(column).ok()?, row: u8::try_from(row).ok()? })
    }

    /// The column, from 0 at the left.
    pub fn column(self) -> usize {
        self.column.into()
    }

    /// The row, from 0 at the top.
    pub fn row(self) -> usize {
        self.row.into()
    }

    /// The position in the middle of the cell.
    pub fn centre(self) -> Point {
        let middle = |index: u8| u16::from(index) * UNIT + UNIT / 2;
        Point { x: middle(self.column), y: middle(self.row) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.column, self.row)
    }
}

impl FromStr for Cell {
    type Err = NotOfTheArena;

    fn from_str(text: &str) -> Result<Self, NotOfTheArena> {
        let (column, row) = text.split_once(',').ok_or(NotOfTheArena)?;
        let number = |text: &str| text.parse().map_err(|_| NotOfTheArena);
        Self::new(number(column)?, number(row)?).ok_or(NotOfTheArena)
    }
}

/// A text that is not a cell or direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cell or direction of arena")]
pub struct NotOfTheArena;

/// A position on the map, in [units](UNIT) from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    /// From the left.
    pub x: u16,
    /// From the top.
    pub y: u16,
}

impl Point {
    /// The cell of the position; `None` inside a wall, where no player can be.
    pub fn cell(self) -> Option<Cell> {
        Cell::new((self.x / UNIT).into(), (self.y / UNIT).into())
    }
}

/// A direction of movement. Its text is a digit, as on a numeric keypad: 8 is up, 9 up and right, 5 is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// 7
    UpLeft,
    /// 8
    Up,
    /// 9
    UpRight,
    /// 4
    Left,
    /// 5
    #[default]
    Stand,
    /// 6
    Right,
    /// 1
    DownLeft,
    /// 2
    Down,
    /// 3
    DownRight,
}

impl Direction {
    /// All directions, in the order of reading a keypad.
    pub const ALL: [Self; 9] = [
        Self::UpLeft,
        Self::Up,
        Self::UpRight,
        Self::Left,
        Self::Stand,
        Self::Right,
        Self::DownLeft,
        Self::Down,
        Self::DownRight,
    ];

    /// Its components to the right and down, each -1, 0 or 1.
    pub const fn steps(self) -> (i32, i32) {
        match self {
            Self::UpLeft => (-1, -1),
            Self::Up => (0, -1),
            Self::UpRight => (1, -1),
            Self::Left => (-1, 0),
            Self::Stand => (0, 0),
            Self::Right => (1, 0),
            Self::DownLeft => (-1, 1),
            Self::Down => (0, 1),
            Self::DownRight => (1, 1),
        }
    }

    /// The direction of a vector, by the signs of its components.
    pub fn towards(right: i32, down: i32) -> Self {
        let steps = (right.signum(), down.signum());
        Self::ALL.into_iter().find(|direction| direction.steps() == steps).unwrap_or_default()
    }

    /// The direction of a key.
    pub fn of_digit(digit: char) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.digit() == digit)
    }

    /// The key of the direction.
    pub const fn digit(self) -> char {
        match self {
            Self::UpLeft => '7',
            Self::Up => '8',
            Self::UpRight => '9',
            Self::Left => '4',
            Self::Stand => '5',
            Self::Right => '6',
            Self::DownLeft => '1',
            Self::Down => '2',
            Self::DownRight => '3',
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_free_cell_can_be_reached_from_every_other() {
        let free: BTreeSet<Cell> = free_cells().collect();
        let (mut reached, mut open) = (BTreeSet::new(), vec![*free.first().unwrap()]);
        while let Some(cell) = open.pop() {
            if !reached.insert(cell) {
                continue;
            }
            let (column, row) = (cell.column(), cell.row());
            let around =
                [(column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)];
            open.extend(around.into_iter().filter_map(|(column, row)| Cell::new(column, row)));
        }
        assert_eq!(reached, free);
    }

    #[test]
    fn the_map_is_surrounded_by_walls() {
        let top_and_bottom =
            (0..WIDTH).all(|column| is_wall(column, 0) && is_wall(column, HEIGHT - 1));
        let sides = (0..HEIGHT).all(|row| is_wall(0, row) && is_wall(WIDTH - 1, row));
        assert!(top_and_bottom && sides && is_wall(WIDTH, 1) && is_wall(1, usize::MAX));
    }

    #[test]
    fn cells_and_directions_survive_formatting_and_parsing() {
        for cell in free_cells() {
            assert_eq!(cell.to_string().parse(), Ok(cell));
            assert_eq!(cell.centre().cell(), Some(cell));
        }
        for text in ["", "1", "1,", ",1", "0,0", "64,1", "1,20", "1,1,1", "-1,1", "1,99999999"] {
            assert_eq!(text.parse::<Cell>(), Err(NotOfTheArena), "{text}");
        }
        for direction in Direction::ALL {
            let (right, down) = direction.steps();
            assert_eq!(Direction::of_digit(direction.digit()), Some(direction));
            assert_eq!(Direction::towards(right * 300, down * 7), direction);
        }
        assert_eq!(Direction::of_digit('0'), None);
    }
}
