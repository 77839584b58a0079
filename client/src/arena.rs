//! A player of arena: the machine that plays over an unreliable network, and a bot that chooses directions.

mod player;
mod seeker;

pub use player::{Arena, Event, Player};
pub use seeker::Seeker;
