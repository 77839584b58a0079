//! Creating, signalling and reaping processes: the system calls of Linux that Muster needs and that no
//! well-maintained crate offers safely.
//!
//! [`spawn_sibling`] starts a program as cheaply as the kernel can, [`fork_sibling`] copies this process for a game
//! of a template, [`Pidfd`] signals a process and never another one that got its number, and [`reap()`] reaps a
//! child with its resource usage. A sibling is a child of this process's own parent (clone(2), `CLONE_PARENT`): so
//! games are children of the daemon, whichever process creates them, and the kernel tells the daemon when they end.
//!
//! [`proc`] reads what the kernel reports about processes, [`start`] resets what a process has inherited from its
//! parent.
//!
//! Muster's `unsafe` code is here: small functions, safe to call, each with the reason why.

#![allow(unsafe_code)]

mod environment;
mod exit;
mod fork;
mod inherited;
mod limits;
mod mounts;
mod pidfd;
pub mod proc;
mod reap;
mod spawn;
pub mod start;

pub use environment::{first_directory, temporary_directory, variable};
pub use exit::exit_of;
pub use fork::{Forked, can_fork_sibling, fork_sibling};
pub use inherited::{set_inherited, take_inherited};
pub use mounts::{seal_mounts, unseal_mount};
pub use pidfd::{Pidfd, is_gone};
pub use reap::{Ended, reap};
pub use spawn::{Stack, spawn_and_wait, spawn_sibling};
