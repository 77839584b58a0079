//! The reference game tic-tac-toe: its board, and the words with which its players and its server speak.
//!
//! The board knows the rules and nothing else. The words are the payloads of datagrams, so any of them can be
//! lost, come twice, or come late. That is why each one stands for itself: the server tells its whole state, with
//! a number that grows with every change, and a player's move names the state that it answers. Saying something
//! twice changes nothing; whoever needs an answer says it again until the answer arrives.
//!
//! The machines that do so are elsewhere: the server's in `game-child`, the player's in `client`.

mod board;
mod server;
mod words;

pub use board::{BadBoard, Board, Cell, IllegalMove, Mark};
pub use server::{END_MAX, TicTacToe};
pub use words::{FromServer, FromSide, Refusal, Standing, State};
