//! The step between the daemon and a game: this binary, run as `muster-launch PROGRAM [ARGUMENT …]`.
//!
//! The daemon starts it with `posix_spawn`, whose cost does not depend on the daemon's size, and which can do
//! little else. What a game must find at birth is arranged here, in a process that has one thread and may
//! take its time: descriptors 0 to 4 and no other, default signals, its own id in `LISTEN_PID`. Then the
//! game's program takes its place.
//!
//! This is the only file with `unsafe` code: the descriptor table and the signal table of a whole process
//! have no owner that a type could name.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::ptr;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use protocol::{GAME_CONTROL_FD, GAME_SOCKET_FD};

/// The name by which the binary knows that it is the launch step. `ps` shows it.
pub(crate) const NAME: &str = "muster-launch";

/// Where the daemon leaves the game's UDP socket.
const SOCKET_AT: i32 = libc::STDIN_FILENO;
/// Where the daemon leaves the control channel.
const CONTROL_AT: i32 = libc::STDOUT_FILENO;
/// Where the daemon leaves the pipe to its log.
const OUTPUT_AT: i32 = libc::STDERR_FILENO;

/// Open files as most programs expect them: `select` cannot take a descriptor of 1024 or more.
const OPEN_FILES: u64 = 1024;

/// What a shell says when it cannot run a program.
const CANNOT_RUN: u8 = 127;

/// Prepares the process and becomes the game. Returns only when that fails; the daemon reads why in the
/// game's output.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = arguments.next() else {
        say(&format!("{NAME} is a part of muster serve; it is not run by hand"));
        return ExitCode::from(2);
    };
    let result = reset_signals().and_then(|()| arrange_descriptors()).and_then(|()| limit_files());
    let error = match result {
        Ok(()) => Command::new(&program)
            .args(arguments)
            .env("LISTEN_PID", std::process::id().to_string())
            .exec(),
        Err(error) => error,
    };
    say(&format!("cannot run {}: {error}", program.display()));
    ExitCode::from(CANNOT_RUN)
}

fn say(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Gives every signal its default action and blocks none. That includes the two that the C library keeps for
/// itself: its `sigaction` does not touch them, and its `posix_spawn` leaves them ignored. Hence the system call.
fn reset_signals() -> io::Result<()> {
    // The kernel's `struct sigaction`, in whatever order its fields are: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: sigaction(2): "If act is non-NULL, the new action for signal signum is installed from act", and
        // `default` is as large as the kernel's structure. SIG_DFL names no code of ours. SIGKILL and SIGSTOP
        // are answered with EINVAL; they have their defaults anyway.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    Ok(SigSet::empty().thread_set_mask()?)
}

/// From what the daemon could pass (0, 1, 2) to what the contract promises: 0 is /dev/null, 1 and 2 are the
/// log, 3 is the socket, 4 is the control channel, and nothing else is open.
fn arrange_descriptors() -> io::Result<()> {
    let free_from = GAME_CONTROL_FD + 1;
    let socket = duplicate_above(SOCKET_AT, free_from)?;
    let control = duplicate_above(CONTROL_AT, free_from)?;
    let null = open_above(c"/dev/null", free_from)?;
    place(socket, GAME_SOCKET_FD)?;
    place(control, GAME_CONTROL_FD)?;
    place(null, libc::STDIN_FILENO)?;
    place(OUTPUT_AT, libc::STDOUT_FILENO)?;
    // SAFETY: close_range(2): "closes all open file descriptors from first to last (included)". No object of
    // this process owns a descriptor from here on up: the three above are plain numbers, and the standard
    // library keeps none open across `main`.
    check(unsafe { libc::close_range(free_from.unsigned_abs(), u32::MAX, 0) }).map(drop)
}

fn duplicate_above(descriptor: i32, from: i32) -> io::Result<i32> {
    // SAFETY: fcntl(2), F_DUPFD: "Duplicate the file descriptor fd using the lowest-numbered available file
    // descriptor greater than or equal to arg". It touches no descriptor that exists.
    check(unsafe { libc::fcntl(descriptor, libc::F_DUPFD, from) })
}

fn open_above(path: &CStr, from: i32) -> io::Result<i32> {
    // SAFETY: open(2) reads `path`, which is a C string, and gives a new descriptor that nobody else knows.
    let opened = check(unsafe { libc::open(path.as_ptr(), libc::O_RDWR) })?;
    duplicate_above(opened, from)
}

fn place(descriptor: i32, at: i32) -> io::Result<()> {
    // SAFETY: dup2(2): "If the file descriptor newfd was previously open, it is closed before being reused".
    // Only 0 to 4 are replaced: 0 to 2 are used by no more than `say`, which finds the log at 2 before and
    // after; 3 and 4 belong to nobody in this process. The copy is not close-on-exec: the game gets it.
    check(unsafe { libc::dup2(descriptor, at) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The daemon raised its own limit; a game gets the usual one.
fn limit_files() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard)?)
}
