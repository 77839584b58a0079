//! A player of tic-tac-toe: the machine that plays over an unreliable network, and strategies that choose moves.

mod player;
mod strategy;

pub use player::{CannotPlay, Event, Player, TicTacToe};
pub use strategy::{Bot, FirstFree, Perfect, Random, Strategy};
