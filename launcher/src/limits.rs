//! The limits of this crate.

use std::time::Duration;

use protocol::CONTROL_LINE_MAX;

// ---- The loop ----

/// Orders handled together, at most.
pub(crate) const BATCH_MAX: usize = 256;

/// Descriptors attached to one packet, at most.
pub(crate) const DESCRIPTORS_MAX: usize = 4;

/// Bytes in a packet, at most: a launch with its players is as large as a line of the control channel, and little
/// more.
pub(crate) const PACKET_BYTES_MAX: usize = CONTROL_LINE_MAX + 16 * 1024;

// ---- LeftoverReaper and orphans ----

/// The largest number of scans of processes until two agree. If that many processes start and end, another one ends
/// soon, which causes the next scan.
pub(crate) const SCANS_MAX: usize = 8;

/// How long one scan may stop processes while launches wait. The next scan continues.
pub(crate) const SCAN_MAX: Duration = Duration::from_millis(20);

/// Processes of one game that are examined.
pub(crate) const MEMBERS_MAX: usize = 4096;

/// Ancestors of a process that are examined: no process descends from a game at a greater distance.
pub(crate) const ANCESTORS_MAX: usize = 64;

// ---- Templates ----

/// How long a template may take to fork, which takes a tenth of a millisecond. The launcher waits meanwhile.
pub(crate) const FORK_TIMEOUT: Duration = Duration::from_secs(1);

/// Characters of a template's reason that are logged.
pub(crate) const REASON_MAX: usize = 256;

/// The process limit of a template and all its games, which count as one user's, in limits of one game; and the
/// least it can be.
pub(crate) const TEMPLATE_SHARES: u64 = 64;
pub(crate) const TEMPLATE_PROCESSES_MIN: u64 = 4096;

// ---- Confinement ----

/// The highest port whose game has a user in a namespace of 65,536 users.
pub(crate) const LOW_PORT_MAX: u16 = 35_000;

/// The highest number of a capability: a set has 64 bits.
pub(crate) const CAPABILITY_MAX: u32 = 63;

/// Trials at the start, at most: each but the last one leaves out a layer.
pub(crate) const TRIALS_MAX: usize = 16;

// ---- Executables ----

/// The longest first line of a script that the kernel reads; execve(2).
pub(crate) const SHEBANG_BYTES_MAX: usize = 256;

/// Bytes at the beginning of a program that are read.
pub(crate) const HEAD_BYTES: usize = 4096;

/// Scripts that may be each other's interpreters; execve(2).
pub(crate) const INTERPRETERS_MAX: usize = 5;

// ---- Working directories ----

/// Entries removed at a time.
pub(crate) const REMOVED_ENTRIES_PER_TURN: usize = 256;

/// Entries measured in one turn: a few milliseconds.
pub(crate) const MEASURED_ENTRIES_PER_TURN: usize = 2048;

/// Entries measured when a game has ended, before its directory is removed.
pub(crate) const ENTRIES_AT_END: usize = 16 * 1024;

/// Files and directories that any game may have.
pub(crate) const DIRECTORY_ENTRIES_MIN: u64 = 1024;

/// The depth of a directory tree, and the bytes of the names of its unread directories, at most. A game with more
/// exceeds its bound: a walk through it might not end.
pub(crate) const DEPTH_MAX: usize = 64;
pub(crate) const NAME_BYTES_MAX: usize = 4 << 20;

/// The longest pause between two turns that follows from the duration of the last turn.
pub(crate) const MEASURE_PAUSE_MAX: Duration = Duration::from_secs(1);
