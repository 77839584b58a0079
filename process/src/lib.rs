//! Making processes, and hearing of their end: the few system calls of Linux that Muster lives on and that no
//! well-kept crate offers safely.
//!
//! [`fork_sibling`] copies this process for a game of a template; [`reap`] takes in a child that has died,
//! with what it used. A sibling is a child of this process's own parent (clone(2), `CLONE_PARENT`): so games
//! are children of the daemon, whoever made them, and the kernel tells the daemon of their end.
//!
//! This is where Muster's `unsafe` code lives: small functions, safe to call, each with the reason why.

#![allow(unsafe_code)]

mod fork;
mod reap;

pub use fork::{Forked, fork_sibling};
pub use reap::{Ended, reap};
