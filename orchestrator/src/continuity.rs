//! Restart without a gap: what the daemon is, written down so that another process can go on in its place.
//!
//! The brain is pure, so what it is can be written down whole; the body adds the descriptors that it holds and
//! what it has half read or not sent yet. At an upgrade in place the same process executes another program: its
//! pid, its children and its descriptors stay, and the [`State`] tells the new program what they are. Before that
//! the new program reads a copy of the state as a child, and says whether it can go on with it: [`preflight`].
//! Then [`exec`] is the point of no return.
//!
//! The state is JSON: a version may leave out what it does not know, and has defaults for what it does not find.

pub(crate) mod exec;
pub(crate) mod journal;
pub(crate) mod preflight;
mod text;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use matchmaker::Matchmaker;
use serde::{Deserialize, Serialize};

pub(crate) use text::Text;

use crate::admin::socket;
use crate::clock::Instant;
use crate::config::Config;
use crate::{clients, games, launches, netcode, reports, templates};

/// The version of the state. Another one is only needed where fields come to mean something else.
pub(crate) const FORMAT: u32 = 1;

/// All that another process needs to go on.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// Who wrote it, for the log.
    pub(crate) version: String,
    /// When it was written: the gap begins.
    pub(crate) written: Instant,
    /// The brain's time zero.
    pub(crate) started: Instant,
    pub(crate) brain: Matchmaker,
    pub(crate) listener: RawFd,
    pub(crate) admin: Option<socket::Saved>,
    pub(crate) clients: clients::Saved,
    pub(crate) games: Vec<games::Saved>,
    pub(crate) doors: netcode::Saved,
    pub(crate) launcher: launches::Saved,
    pub(crate) templates: templates::Saved,
    pub(crate) reports: reports::Saved,
    #[serde(default)]
    pub(crate) stop_was_asked: bool,
    /// Upgrades before this one.
    #[serde(default)]
    pub(crate) upgrades: u64,
    #[serde(default)]
    pub(crate) journal: Option<journal::Saved>,
    /// The operator who asked for this upgrade.
    #[serde(default)]
    pub(crate) asked_by: Option<socket::Asker>,
}

/// Why a state cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot read the state: {0}")]
    Read(#[from] io::Error),
    #[error("the state is not understood: {0}")]
    Parse(#[from] serde_json::Error),
    #[error("the state has format {0}, and this version reads {FORMAT}")]
    Format(u32),
    #[error("the configuration changes {0}, which takes a restart")]
    Config(&'static str),
    #[error("descriptor {number}, {what}, was not handed over: {source}")]
    Descriptor { number: RawFd, what: &'static str, source: io::Error },
}

/// Just enough of a state to see whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl State {
    /// Reads a state, and fits it to the configuration.
    ///
    /// # Errors
    /// [`StateError`] when it is none, of a later format, or of modes or ports that the configuration does not have.
    pub(crate) fn read(text: &[u8], config: &Config) -> Result<Self, StateError> {
        let head: Head = serde_json::from_slice(text)?;
        if head.format > FORMAT {
            return Err(StateError::Format(head.format));
        }
        let mut state: Self = serde_json::from_slice(text)?;
        let fitted = state.brain.reconfigure(config.for_brain());
        fitted.map_err(|unchangeable| StateError::Config(unchangeable.0))?;
        Ok(state)
    }

    /// Lets a brain that is thrown away take its next step: what it trips over, it trips over here.
    pub(crate) fn try_out(mut self) {
        let now = Instant::now().saturating_duration_since(self.started);
        self.brain.handle_timeout(now);
        while self.brain.poll_action().is_some() {}
    }
}

/// The descriptors that a state names, collected when it is written.
#[derive(Default)]
pub(crate) struct Kept(Vec<RawFd>);

impl Kept {
    /// Keeps a descriptor; its number, which it has in the next program, too.
    pub(crate) fn keep(&mut self, descriptor: &impl AsRawFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.0.push(number);
        number
    }

    pub(crate) fn numbers(&self) -> &[RawFd] {
        &self.0
    }
}

/// Takes a descriptor that the program before this one has kept.
///
/// # Errors
/// [`StateError::Descriptor`] when there is none, or it was taken already.
pub(crate) fn take(number: RawFd, what: &'static str) -> Result<OwnedFd, StateError> {
    process::take_inherited(number).map_err(|source| StateError::Descriptor {
        number,
        what,
        source,
    })
}
