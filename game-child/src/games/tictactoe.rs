//! The reference game tic-tac-toe: its board, and the messages between its players and its server.
//!
//! The board knows only the rules. The messages are the payloads of datagrams, so any of them can be lost, duplicated
//! or delayed. That is why each one is self-contained: the server sends its whole state, with a number that grows with
//! every change, and a player's move names the state that it answers. Repeating a message changes nothing; a side that
//! needs an answer repeats it until the answer arrives.
//!
//! The player's machine is in `client`.

mod board;
mod limits;
mod server;
mod words;

pub use board::{BadBoard, Board, Cell, IllegalMove, Mark};
pub use limits::END_MAX;
pub use server::TicTacToe;
pub use words::{FromServer, FromSide, Refusal, Standing, State};
