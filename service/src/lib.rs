//! Services that the daemon and the keeper share.
//!
//! [`start`] cleans up the state that a process inherited, [`signals`] turns signals into input of a loop, and
//! [`logging`] writes the log without ever blocking. [`notify`] and [`store`] implement the service manager's protocol
//! (sd_notify(3), sd_listen_fds(3)); the keeper uses the same protocol without systemd. [`endpoint`] knows the default
//! locations of optional listeners. [`clock`] has the time that survives an upgrade, [`units`] formats durations for
//! people.
//!
//! Nothing here depends on the daemon.

#![forbid(unsafe_code)]

pub mod clock;
pub mod endpoint;
pub mod logging;
pub mod notify;
pub mod signals;
pub mod start;
pub mod store;
pub mod units;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The exit code of a daemon that handed over to the next one, which the keeper or the service manager starts:
/// `EX_TEMPFAIL` of sysexits.h.
pub const HANDED_OVER: i32 = 75;

/// Raises the limit on open descriptors to the highest value that the system allows; getrlimit(2).
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // An unprivileged process may raise its soft limit up to the hard one; setrlimit(2).
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
