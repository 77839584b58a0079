//! Making processes, and hearing of their end: the few system calls of Linux that Muster lives on and that no
//! well-kept crate offers safely.
//!
//! [`spawn_sibling`] starts a program as cheaply as the kernel can, [`fork_sibling`] copies this process for a
//! game of a template, [`Pidfd`] signals a process and no other that gets its number, and [`reap()`] takes in a child that
//! has died, with what it used. A sibling is a child of this process's own parent (clone(2), `CLONE_PARENT`): so games
//! are children of the daemon, whoever made them, and the kernel tells the daemon of their end.
//!
//! [`start`] puts in order what a process has inherited from whoever started it.
//!
//! This is where Muster's `unsafe` code lives: small functions, safe to call, each with the reason why.

#![allow(unsafe_code)]

mod environment;
mod exit;
mod fork;
mod inherited;
mod mounts;
mod pidfd;
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
