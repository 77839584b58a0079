//! The launcher: the process that creates games. It is small and starts before the daemon has allocated much; the
//! daemon orders each game over a socket, so that neither the daemon's size nor the duration of a launch ever
//! blocks its loop.
//!
//! Games are nevertheless the daemon's own children (clone(2), `CLONE_PARENT`): the kernel notifies the daemon of
//! their end, whatever happens to the launcher. If the launcher dies, the daemon starts another, passes it the list
//! of living games, and repeats the orders that were pending; no game notices.
//!
//! `spawner` turns a request into a game: `executable`, socket, channel, directory, environment, then the
//! `launch_step`, with the layers that `confine` prepared and `trial` tried. Modes with a template have their games
//! forked by `templates` instead. `leftovers` finds and kills the processes that an ended game left, `orphans`
//! those of a daemon that crashed; `directories` removes a game's files, `meter` measures them while the game runs.
//! `wire` is the protocol between daemon and launcher, `program` describes the program of a mode.
//!
//! The launcher has one thread and handles one order after another. So it never takes a process that is just being
//! created for a leftover.

mod confine;
mod directories;
mod executable;
mod grace;
mod launch_step;
mod leftovers;
mod limits;
mod meter;
mod orphans;
pub mod placeholders;
mod program;
mod run;
mod spawner;
mod templates;
mod trial;
mod wire;

pub use confine::{DEFAULT_FIRST_USER, USERS};
pub use executable::check as check_program;
pub use program::{Confinement, Contract, Limits, Profile, Program, User};
pub use run::{NAME, run_as};
pub use wire::{
    Answer, Channel, Fault, INSTANCE, InitialPlayers, LivingGame, Order, Setup, instance,
};
