//! The game of arena, for a person or a bot.

use std::fmt::Write;
use std::io;
use std::time::{Duration, Instant};

use client::arena::{Event, Player, Seeker};
use client::{Assignment, GameSocket};
use game_child::arena::{Direction, HEIGHT, Runner, Setup, Snapshot, Standing, WIDTH, is_wall};
use protocol::Visible;

use crate::args::Args;
use crate::console::Console;
use crate::view::View;

/// The pause between two pictures: short enough for the eye, and longer than a tick.
const PICTURE_PERIOD: Duration = Duration::from_millis(80);

/// The pause between two lines, where there is no screen.
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// Help for a person, under the picture.
const KEYS: &str =
    "move with w a s d or the arrow keys, diagonally with q e z c; space stops; Ctrl-C leaves";

/// A player of arena at the terminal.
pub(crate) struct ArenaView<'a> {
    console: &'a mut Console,
    game: GameSocket<Player>,
    match_id: String,
    bot: Option<Seeker>,
    keys: Keys,
    /// When to show the next picture, or line.
    show_at: Instant,
    end: Option<Snapshot>,
}

impl<'a> ArenaView<'a> {
    /// Reads keys and uses the whole screen, if there are any.
    pub(crate) fn new(
        console: &'a mut Console,
        args: &Args,
        assignment: &Assignment,
        game: GameSocket<Player>,
    ) -> io::Result<Self> {
        console.take_keys_and_screen()?;
        Ok(Self {
            console,
            game,
            match_id: Visible(&assignment.match_id).to_string(),
            bot: args.bot.then(|| Seeker::new(args.seed())),
            keys: Keys::default(),
            show_at: Instant::now(),
            end: None,
        })
    }

    fn handle_key(&mut self, byte: u8) {
        match self.keys.press(byte) {
            Some(Key::Go(direction)) => self.game.with(|player, _| player.steer(direction)),
            Some(Key::Leave) => self.console.want_out(),
            None => {}
        }
    }

    /// Shows the newest snapshot: a picture if there is a screen, otherwise a line.
    fn show(&self) {
        let machine = self.game.machine();
        let (Some(setup), Some(snapshot)) = (machine.setup(), machine.snapshot()) else { return };
        let (scores, clock) = (scores(setup, snapshot), clock(setup, snapshot));
        if self.console.has_screen() {
            let head = format!("match {}: {clock}", self.match_id);
            self.console.picture(&format!("{head}\n{}\n{scores}\n{KEYS}", draw(setup, snapshot)));
        } else {
            self.console.say(format_args!("{clock}: {}", scores.replace('\n', "  ")));
        }
    }
}

impl View for ArenaView<'_> {
    type Machine = Player;

    fn parts(&mut self) -> (&mut Console, &mut GameSocket<Player>) {
        (self.console, &mut self.game)
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            // Shown when joining.
            Event::Welcome { .. } => {}
            Event::Setup(setup) => {
                let names: Vec<String> =
                    setup.names.iter().map(|it| Visible(it).to_string()).collect();
                let (points, names) = (setup.points, names.join(", "));
                self.console.say(format_args!("arena: {points} coins win; players: {names}"));
            }
            Event::Snapshot(snapshot) => {
                self.end = Some(snapshot).filter(|it| it.standing.is_end());
                let slot = self.game.machine().setup().map(|setup| setup.you);
                if let (Some(bot), Some(slot)) = (&mut self.bot, slot) {
                    let direction = bot.choose(&snapshot, slot);
                    self.game.with(|player, _| player.steer(direction));
                }
            }
        }
    }

    fn handle_input(&mut self) {
        for byte in self.console.typed_bytes() {
            self.handle_key(byte);
        }
    }

    fn update(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if now >= self.show_at {
            let is_screen = self.console.has_screen();
            self.show_at = now + if is_screen { PICTURE_PERIOD } else { LINE_PERIOD };
            self.show();
        }
        Some(self.show_at)
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn show_end(&mut self) {
        let (Some(setup), Some(end)) = (self.game.machine().setup(), &self.end) else { return };
        self.console.say(scores(setup, end));
        let outcome = outcome(setup, end, self.bot.is_some());
        if self.bot.is_some() {
            self.console.say(format_args!("result: {outcome}"));
        } else {
            self.console.say(outcome);
        }
    }
}

/// The meaning of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Go(Direction),
    Leave,
}

/// Decodes keys from a terminal's bytes: an arrow key is three, `ESC [ A` or `ESC O A`.
#[derive(Debug, Default)]
struct Keys {
    /// The number of bytes of an arrow key so far.
    escape: usize,
}

impl Keys {
    fn press(&mut self, byte: u8) -> Option<Key> {
        let escape = std::mem::take(&mut self.escape);
        let direction = match (escape, byte) {
            (_, 0x1b) => {
                self.escape = 1;
                return None;
            }
            (1, b'[' | b'O') => {
                self.escape = 2;
                return None;
            }
            (2, b'A') => Direction::Up,
            (2, b'B') => Direction::Down,
            (2, b'C') => Direction::Right,
            (2, b'D') => Direction::Left,
            (_, b'w' | b'W') => Direction::Up,
            (_, b's' | b'S') => Direction::Down,
            (_, b'd' | b'D') => Direction::Right,
            (_, b'a' | b'A') => Direction::Left,
            (_, b'q' | b'Q') => Direction::UpLeft,
            (_, b'e' | b'E') => Direction::UpRight,
            (_, b'z' | b'Z') => Direction::DownLeft,
            (_, b'c' | b'C') => Direction::DownRight,
            (_, b' ') => Direction::Stand,
            // Ctrl-C if the terminal does not turn it into a signal, and Ctrl-D.
            (_, 0x03 | 0x04) => return Some(Key::Leave),
            (_, digit) => Direction::of_digit(digit.into())?,
        };
        Some(Key::Go(direction))
    }
}

/// The symbol of a player: `@` for the person, a letter by slot for the others.
fn sign(setup: &Setup, slot: usize) -> char {
    match u8::try_from(slot) {
        _ if slot == setup.you => '@',
        Ok(slot @ 0..26) => char::from(b'A' + slot),
        Ok(_) | Err(_) => '?',
    }
}

/// A player's name, escaped; `player` and the slot if there is none.
fn name(setup: &Setup, slot: usize) -> String {
    match setup.names.get(slot).map(String::as_str) {
        None | Some("") => format!("player {slot}"),
        Some(name) => Visible(name).to_string(),
    }
}

fn clock(setup: &Setup, snapshot: &Snapshot) -> String {
    match snapshot.standing {
        Standing::Waiting => "waiting for the others".to_owned(),
        Standing::Playing => format!("{} s left", snapshot.left.div_ceil(setup.hz.max(1))),
        Standing::Finished { .. } | Standing::Stopped => "over".to_owned(),
    }
}

/// The present players, the best first, four in a line.
fn scores(setup: &Setup, snapshot: &Snapshot) -> String {
    let here = |(slot, runner): (usize, &Option<Runner>)| Some((slot, (*runner)?.score));
    let mut players: Vec<(usize, u16)> =
        snapshot.runners.iter().enumerate().filter_map(here).collect();
    players.sort_by_key(|(slot, score)| (std::cmp::Reverse(*score), *slot));
    let label = |(slot, score): &(usize, u16)| {
        format!("{} {} {score}", sign(setup, *slot), name(setup, *slot))
    };
    let lines = players.chunks(4).map(|four| four.iter().map(label).collect::<Vec<_>>().join("  "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The map with coins and players.
fn draw(setup: &Setup, snapshot: &Snapshot) -> String {
    let mut rows = [[' '; WIDTH]; HEIGHT];
    for (row, signs) in rows.iter_mut().enumerate() {
        for (column, sign) in signs.iter_mut().enumerate() {
            *sign = if is_wall(column, row) { '#' } else { ' ' };
        }
    }
    for coin in snapshot.coins {
        rows[coin.row()][coin.column()] = 'o';
    }
    // The person's own player is drawn last, on top of others.
    let mut slots: Vec<usize> = (0..snapshot.runners.len()).collect();
    slots.sort_by_key(|slot| *slot == setup.you);
    for slot in slots {
        if let Some(cell) = snapshot.runners[slot].and_then(|runner| runner.at.cell()) {
            rows[cell.row()][cell.column()] = sign(setup, slot);
        }
    }
    let mut picture = String::new();
    for (row, signs) in rows.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(picture, "{}{}", if row > 0 { "\n" } else { "" }, String::from_iter(signs));
    }
    picture
}

fn outcome(setup: &Setup, end: &Snapshot, is_bot: bool) -> String {
    match end.standing {
        Standing::Finished { winner: Some(slot) } if slot == setup.you && !is_bot => {
            "you have won!".to_owned()
        }
        Standing::Finished { winner: Some(slot) } => format!("{} has won", name(setup, slot)),
        Standing::Finished { winner: None } => "a draw".to_owned(),
        Standing::Stopped | Standing::Waiting | Standing::Playing => {
            "the match was stopped without a winner".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use game_child::arena::{COINS, Cell, PLAYERS_MAX};

    use super::*;

    fn setup() -> Setup {
        let names = vec!["ada\u{1b}[2J".into(), "bob".into(), String::new()];
        Setup { hz: 30, points: 30, you: 1, names }
    }

    fn snapshot(standing: Standing) -> Snapshot {
        let mut runners = [None; PLAYERS_MAX];
        for (slot, score) in [(0, 2), (1, 1), (2, 2)] {
            let at = Cell::new(4 + slot, 2).unwrap().centre();
            runners[slot] = Some(Runner { at, score });
        }
        let coins = [Cell::new(2, 1).unwrap(); COINS];
        Snapshot { number: 1, left: 31, standing, runners, coins }
    }

    #[test]
    fn the_picture_shows_walls_coins_and_players() {
        let picture = draw(&setup(), &snapshot(Standing::Playing));
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!((lines.len(), lines[0]), (HEIGHT, "#".repeat(WIDTH).as_str()));
        assert!(lines[1].starts_with("# o   ") && lines[2].starts_with("#   A@C "), "{picture}");
        assert!(lines.iter().all(|line| line.chars().count() == WIDTH));
    }

    #[test]
    fn the_best_is_listed_first_and_hostile_names_are_escaped() {
        let snapshot = snapshot(Standing::Playing);
        let shown = scores(&setup(), &snapshot);
        assert_eq!(shown, "A ada\\u{1b}[2J 2  C player 2 2  @ bob 1");
        assert_eq!(clock(&setup(), &snapshot), "2 s left");
    }

    #[test]
    fn the_winner_is_shown() {
        let outcome = |winner| outcome(&setup(), &snapshot(Standing::Finished { winner }), false);
        assert_eq!(outcome(Some(1)), "you have won!");
        assert_eq!(outcome(Some(2)), "player 2 has won");
        assert_eq!(outcome(None), "a draw");
    }

    #[test]
    fn keys_and_arrows_are_directions_and_others_are_ignored() {
        let press = |bytes: &[u8]| {
            let mut keys = Keys::default();
            bytes.iter().filter_map(|byte| keys.press(*byte)).collect::<Vec<_>>()
        };
        let key = |direction| Key::Go(direction);
        let arrows = [Direction::Up, Direction::Down, Direction::Right, Direction::Left].map(key);
        assert_eq!(press(b"\x1b[A\x1b[B\x1b[C\x1b[D"), arrows);
        assert_eq!(press(b"\x1bOA\x1bOB\x1bOC\x1bOD"), arrows);
        assert_eq!(press(b"wsda"), arrows);
        assert_eq!(press(b"q\n "), [key(Direction::UpLeft), key(Direction::Stand)]);
        assert_eq!(press(b"9\x04"), [key(Direction::UpRight), Key::Leave]);
        assert_eq!(press(b"\x1b\x1b[A\x1bd"), [key(Direction::Up), key(Direction::Right)]);
        assert_eq!(press(b"\xff\0?0"), []);
    }
}
