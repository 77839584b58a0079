//! The reference games: for each its rules, the words that its server and its players exchange, and the server.

pub mod arena;
pub mod echo;
pub mod tictactoe;
