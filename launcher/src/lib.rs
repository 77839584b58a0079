//! The process that makes games: small, started before the daemon has anything, and asked for each game over
//! a socket, so that neither the daemon's size nor what a launch takes ever holds up its loop.
//!
//! Games are nevertheless the daemon's own children (clone(2), `CLONE_PARENT`): the kernel tells the daemon of
//! their end, whatever becomes of the launcher. If the launcher dies, the daemon starts another, tells it
//! which games live, and has made again what was on order; no game notices.
//!
//! A request becomes a game in `birth`: `executable`, socket, channel, directory, environment, then the `launch_step`,
//! with the walls that `confine` prepared and `trial` tried. Modes with a template have their games forked by `templates`
//! instead. What a dead game left is found and ended by `leftovers`, and its files go with
//! `directories`; how many they are while it runs is measured by `meter`. `wire` is what daemon and launcher say to each other, `program` what a mode asks for.
//!
//! The launcher has one thread and does one thing after another. So it never mistakes a process that is just
//! being made for one that was left behind.

mod adrift;
mod birth;
mod confine;
mod directories;
mod executable;
mod grace;
mod launch_step;
mod leftovers;
mod meter;
pub mod placeholders;
mod program;
mod run;
mod templates;
mod trial;
mod wire;

pub use confine::{DEFAULT_FIRST_USER, USERS};
pub use executable::check as check_program;
pub use leftovers::children;
pub use program::{Confinement, Contract, Limits, Profile, Program, User};
pub use run::{NAME, run_as};
pub use wire::{Answer, Channel, Fault, Guests, INSTANCE, Living, Order, Setup, instance};
