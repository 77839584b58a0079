//! A player of tic-tac-toe: the machine that plays over a bad network, and strategies that know what to play.

mod player;
mod strategy;

pub use player::{CannotPlay, Event, Player};
pub use strategy::{Bot, FirstFree, Perfect, Random, Strategy};
