//! The reference games: the rules, messages and server of each.

pub mod arena;
pub mod echo;
pub mod tictactoe;
