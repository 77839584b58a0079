//! A player of arena: the machine that plays over a bad network, and a bot that knows where to go.

mod player;
mod seeker;

pub use player::{Event, Player};
pub use seeker::Seeker;
