//! Limits of the configuration itself.

use std::time::Duration;

/// Modes in a file: as many as the greeting can name in one line.
pub(super) const MODES_MAX: usize = 200;
const _: () = assert!(MODES_MAX * (MODE_NAME_MAX + 1) + 64 < protocol::SERVER_LINE_MAX);

/// The longest name of a mode, in bytes.
pub(super) const MODE_NAME_MAX: usize = 32;

/// Warm games of a mode: one on each port.
pub(super) const WARM_MAX: i64 = 65_535;

/// Modes and programs since the daemon's start, removed ones included: the launcher has users for that many.
pub(super) const INDICES_MAX: usize = 1_000;

/// The longest duration, so that no sum of durations overflows.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Mistakes of a file that are reported.
pub(super) const MISTAKES_MAX: usize = 100;

/// Clients that are kept only to be refused, if there are enough descriptors.
pub(super) const REFUSED_MAX: usize = 256;

/// Addresses of one game: as many as a connect token holds.
pub(super) const PUBLIC_ADDRESSES_MAX: usize = 32;

/// Bytes of pending output for one client.
pub(super) const WRITE_BUFFER_MAX: i64 = 16 * 1024 * 1024;
