//! The game of tic-tac-toe, for a person or a bot.

use std::fmt::Write;
use std::time::Instant;

use client::tictactoe::{Bot, Event, Player, Strategy};
use client::{Assignment, GameSocket};
use game_child::tictactoe::{Board, Cell, Mark, Standing, State};
use protocol::Visible;

use crate::args::Args;
use crate::console::Console;
use crate::view::View;

/// A player of tic-tac-toe at the terminal.
pub(crate) struct TicTacToeView<'a> {
    console: &'a mut Console,
    game: GameSocket<Player>,
    match_id: String,
    strategy: Option<Bot>,
    last_move: String,
    is_over: bool,
}

impl<'a> TicTacToeView<'a> {
    pub(crate) fn new(
        console: &'a mut Console,
        args: &Args,
        assignment: &Assignment,
        game: GameSocket<Player>,
    ) -> Self {
        Self {
            console,
            game,
            match_id: Visible(&assignment.match_id).to_string(),
            strategy: args.strategy(),
            last_move: String::new(),
            is_over: false,
        }
    }

    fn is_bot(&self) -> bool {
        self.strategy.is_some()
    }

    /// For a log: only what is new.
    fn show_to_reader(&self, state: &State) {
        if state.standing.is_end() {
            self.console.say(draw(&state.board));
            self.console.say(format_args!("result: {}", self.outcome(state)));
        }
    }

    /// For a terminal: the whole picture.
    fn show_to_person(&self, state: &State) {
        self.console.clear();
        let (you, they) = (state.you, state.you.other());
        self.console.say(format_args!(
            "match {}: you are {}, against {}\n",
            self.match_id,
            label(state, you),
            label(state, they)
        ));
        self.console.say(draw(&state.board));
        self.console.say(format_args!("\n{}", self.last_move));
        match state.standing {
            Standing::Turn(mark) if mark == you => self.ask(),
            Standing::Turn(mark) => {
                self.console.say(format_args!("{} is thinking …", label(state, mark)));
            }
            Standing::Won(_) | Standing::Draw | Standing::Forfeit(_) | Standing::Abandoned => {
                self.console.say(self.outcome(state));
            }
        }
    }

    fn ask(&self) {
        if !self.is_bot() {
            self.console.prompt("your turn, a free cell from 1 to 9: ");
        }
    }

    fn play_as_bot(&mut self) {
        let Some(strategy) = self.strategy.as_mut().filter(|_| self.game.machine().is_my_turn())
        else {
            return;
        };
        let cell = self.game.machine().state().and_then(|state| strategy.choose(&state.board));
        if let Some(cell) = cell {
            // The cell is free and it is this side's turn, so the move is legal.
            let played = self.game.with(|player, now| player.play(now, cell));
            debug_assert_eq!(played, Ok(()));
        }
    }

    fn handle_typed(&mut self, line: &str) {
        if self.is_over {
            return;
        }
        let played = match line.trim().parse::<Cell>() {
            Ok(cell) => self.game.with(|player, now| player.play(now, cell)),
            Err(_) => {
                self.console.say("type the number of a cell, 1 to 9; Ctrl-C leaves");
                return self.ask_in_turn();
            }
        };
        if let Err(error) = played {
            self.console.say(format_args!("not possible: {error}"));
            self.ask_in_turn();
        }
    }

    fn ask_in_turn(&self) {
        if self.game.machine().is_my_turn() {
            self.ask();
        }
    }

    /// A side and its player, from the newest state.
    fn who(&self, mark: Mark) -> String {
        match self.game.machine().state() {
            Some(state) => label(state, mark),
            None => mark.to_string(),
        }
    }

    fn outcome(&self, state: &State) -> String {
        let is_you = |mark| mark == state.you && !self.is_bot();
        match state.standing {
            Standing::Won(mark) if is_you(mark) => "you have won!".to_owned(),
            Standing::Won(mark) => format!("{} has won", label(state, mark)),
            Standing::Draw => "a draw".to_owned(),
            Standing::Forfeit(mark) if is_you(mark) => {
                format!("you have won: {} left", label(state, mark.other()))
            }
            Standing::Forfeit(mark) => {
                format!("{} has won: the other side left", label(state, mark))
            }
            Standing::Abandoned => "the match was stopped without a winner".to_owned(),
            Standing::Turn(mark) => format!("{} moves", label(state, mark)),
        }
    }
}

impl View for TicTacToeView<'_> {
    type Machine = Player;

    fn parts(&mut self) -> (&mut Console, &mut GameSocket<Player>) {
        (self.console, &mut self.game)
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            // Handled when the game was joined.
            Event::Welcome { .. } => {}
            Event::Moved { number, mark, cell } => {
                self.last_move = format!("move {number}: {} takes {cell}", self.who(mark));
                if self.is_bot() {
                    self.console.say(&self.last_move);
                }
            }
            Event::State(state) => {
                self.is_over = state.standing.is_end();
                if self.is_bot() {
                    self.show_to_reader(&state);
                } else {
                    self.show_to_person(&state);
                }
            }
            Event::Refused { cell, reason } => {
                self.console.say(format_args!("the game refused {cell}: {reason}"));
                self.ask();
            }
        }
    }

    fn handle_input(&mut self) {
        while let Some(line) = self.console.next_line() {
            self.handle_typed(&line);
        }
    }

    fn update(&mut self) -> Option<Instant> {
        self.play_as_bot();
        None
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    /// The last state has shown it.
    fn show_end(&mut self) {}
}

/// `X (ada)`, with the name escaped, or `X` alone.
fn label(state: &State, mark: Mark) -> String {
    match state.names[mark.slot()].as_str() {
        "" => mark.to_string(),
        name => format!("{mark} ({})", Visible(name)),
    }
}

/// The board, with the numbers of its free cells.
fn draw(board: &Board) -> String {
    let mut picture = String::new();
    for (row, cells) in Cell::ALL.chunks_exact(3).enumerate() {
        if row > 0 {
            picture.push_str("\n---+---+---\n");
        }
        for (column, cell) in cells.iter().enumerate() {
            if column > 0 {
                picture.push('|');
            }
            // Writing to a string cannot fail.
            let _ = match board.at(*cell) {
                Some(mark) => write!(picture, " {mark} "),
                None => write!(picture, " {cell} "),
            };
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_shows_marks_and_the_numbers_of_free_cells() {
        let board: Board = "X.O.X....".parse().unwrap();
        let picture = " X | 2 | O \n---+---+---\n 4 | X | 6 \n---+---+---\n 7 | 8 | 9 ";
        assert_eq!(draw(&board), picture);
    }

    #[test]
    fn hostile_names_are_escaped() {
        let state = State {
            number: 1,
            board: Board::default(),
            you: Mark::X,
            standing: Standing::Turn(Mark::X),
            last: None,
            names: ["\u{1b}[2J".into(), String::new()],
        };
        assert_eq!(label(&state, Mark::X), "X (\\u{1b}[2J)");
        assert_eq!(label(&state, Mark::O), "O");
    }
}
