//! Shared parts of tests and benchmarks: a daemon under test with its own ports, its log, and waiting for facts.
//!
//! A test starts a [`Muster`], speaks to it through the `client` library or a bare socket, and waits for facts
//! with [`wait_until`] or [`Log::wait_for`]; nothing sleeps and nothing has a fixed port. Dropping the value stops
//! the daemon and all its games.

#![forbid(unsafe_code)]

mod attack_targets;
mod binaries;
mod browser;
mod chaos_monkey;
mod cpu_comparison;
mod dice;
mod fault_toggle;
pub mod game;
pub mod http;
mod log;
mod manager;
mod muster;
mod ports;
mod probe_game;
pub mod proc;
mod scrape;
mod setup;
mod wire;

use std::time::{Duration, Instant};

pub use attack_targets::{AttackTargets, set_mode};
pub use binaries::{benchmark, binary, example, hostile_game};
pub use browser::Browser;
pub use chaos_monkey::ChaosMonkey;
pub use cpu_comparison::CpuComparison;
pub use dice::Dice;
pub use fault_toggle::FaultToggle;
pub use log::Log;
pub use manager::{Manager, Message};
pub use muster::{Muster, StartError};
pub use ports::PortBlock;
pub use probe_game::{ConfinementFixture, ProbeGame, ProbeResult};
pub use scrape::Scrape;
pub use setup::Setup;
pub use wire::Wire;

/// How long a test waits for a fact that is due at once. Far longer than it ever takes: a busy machine must
/// not fail a test.
pub const SOON: Duration = Duration::from_secs(30);

/// Polls until something holds.
///
/// # Panics
/// When it does not hold in time; `what` names it.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Polls until there is a value, and gives it.
///
/// # Panics
/// When there is none in time; `what` names it.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {SOON:?} without success for {what}");
        // Not a wait for time to pass: it leaves the processor to the daemon.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Waits until a queued player is evicted, and gives the reason.
///
/// # Panics
/// When another reply arrives.
pub fn evicted_because(lobby: &mut client::Lobby) -> String {
    loop {
        match lobby.next_reply(SOON).unwrap() {
            protocol::Reply::Evicted { reason } => return reason.into_owned(),
            protocol::Reply::Queued { .. } => {}
            other => panic!("received {other}"),
        }
    }
}

/// Waits until a player receives WAITING with this reason; WAITING with other reasons may come before.
pub fn wait_for_reason(lobby: &mut client::Lobby, wanted: protocol::WaitReason) {
    use protocol::Reply;
    loop {
        match lobby.next_reply(SOON).unwrap() {
            Reply::Waiting { reason, .. } if reason == wanted => return,
            Reply::Waiting { .. } | Reply::Queued { .. } => {}
            other => panic!("received {other} instead of WAITING"),
        }
    }
}
