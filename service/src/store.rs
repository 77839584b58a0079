//! Descriptors that outlive the process: they are passed to the service manager, and back by name when it starts the
//! process again.
//!
//! The other side is systemd's descriptor store (sd_pid_notify_with_fds(3), `FDSTORE=1`), or Muster's keeper with the
//! same protocol. Without either nothing is stored and nothing is returned.
//!
//! Returned descriptors are still in the store, and need not be stored again. They stay until they are
//! [removed](Store::remove), or the service is stopped for good. Descriptors that are stored under the same name
//! accumulate, and are returned in no particular order: systemd keeps a set.
//!
//! systemd stores as many descriptors as `FileDescriptorStoreMax=` says, and drops the rest **without a message**; its
//! default is none. So the unit must have room for the maximum: three for each port of the ring (a game's process, its
//! control channel and its output), and sixteen for everything else.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use sd_notify::NotifyState;

use crate::notify::outbox::{DESCRIPTORS_MAX, Outbox};

/// The longest name, in bytes, as in systemd.
pub const NAME_MAX: usize = 255;

/// The variables that describe the passed descriptors; sd_listen_fds(3). They are for this process only, and are
/// removed from the environment of programs that it starts or executes.
pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The number of the first passed descriptor.
pub const FIRST_GIVEN: i32 = 3;

/// The variable with the size of the store; systemd.exec(5), from version 254 on.
pub const ROOM_VARIABLE: &str = "FDSTORE";

/// The largest number of descriptors that are stored for each port of the ring, and for everything else.
const STORED_PER_PORT: usize = 3;
const STORED_BESIDES: usize = 16;

/// systemd's name of a descriptor that was passed without one.
const NAMELESS: &str = "unknown";

/// The connection to the descriptor store.
#[derive(Debug)]
pub struct Store {
    outbox: Outbox,
}

impl Store {
    /// Finds the store in the environment.
    pub fn open() -> Self {
        Self { outbox: Outbox::open() }
    }

    /// Whether there is a store.
    pub fn is_there(&self) -> bool {
        self.outbox.has_manager()
    }

    /// The size of the store, if it is known and too small for a ring of this many ports.
    pub fn is_short_for(&self, ports: usize) -> Option<usize> {
        let room: usize = process::variable(ROOM_VARIABLE)?.to_str()?.parse().ok()?;
        (self.is_there() && room < STORED_PER_PORT * ports + STORED_BESIDES).then_some(room)
    }

    /// Stores descriptors under a name. The caller may close its own copies. There is no answer, so it is unknown
    /// whether the store had room.
    ///
    /// # Errors
    /// When the name is empty, longer than [`NAME_MAX`], or not printable ASCII without `:`; or when the service manager
    /// is gone.
    pub fn put(&mut self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        check_name(name)?;
        let name = format!("FDNAME={name}");
        // Without `FDPOLL=0` systemd would drop a channel as soon as its other end is closed, including unread
        // messages.
        let states = ["FDSTORE=1", &name, "FDPOLL=0"].map(NotifyState::Custom);
        for part in descriptors.chunks(DESCRIPTORS_MAX) {
            self.outbox.send(&states, part)?;
        }
        Ok(())
    }

    /// Removes all descriptors with this name from the store.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let name = format!("FDNAME={name}");
        self.outbox.send(&["FDSTOREREMOVE=1", &name].map(NotifyState::Custom), &[])
    }

    /// Drops the unclaimed descriptors: another version of Muster stored them.
    pub fn discard(&mut self, given: Given) {
        let mut names: Vec<String> = given.descriptors.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        for name in names {
            log::warn!("dropping the stored descriptor {name}, which this version does not know");
            // If the name is not valid for the store, or there is no store, closing the descriptor suffices.
            let _ = self.remove(&name);
        }
    }

    /// Sends pending messages; the loop calls this in each iteration.
    ///
    /// # Errors
    /// When the service manager is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush()
    }

    /// Whether messages are pending; if so the loop runs again soon.
    pub fn has_unsent(&self) -> bool {
        self.outbox.has_unsent()
    }
}

/// Descriptors that this process received at its start, from the store or a socket unit, and that were not claimed yet.
#[derive(Debug, Default)]
pub struct Given {
    descriptors: Vec<(String, OwnedFd)>,
}

/// Why the passed descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A variable of sd_listen_fds(3) is not a number.
    #[error(
        "cannot use the passed descriptors: {variable}={value} does not follow sd_listen_fds(3); unset it"
    )]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// There are more or fewer names than descriptors.
    #[error(
        "cannot use the passed descriptors: {names} names (LISTEN_FDNAMES) for {count} descriptors (LISTEN_FDS)"
    )]
    Names {
        /// Names in `LISTEN_FDNAMES`.
        names: usize,
        /// Descriptors according to `LISTEN_FDS`.
        count: usize,
    },
    /// A descriptor that the environment announces is not open.
    #[error("cannot use descriptor {number}, which LISTEN_FDS={count} announces: {source}")]
    Descriptor {
        /// The descriptor.
        number: i32,
        /// Descriptors according to `LISTEN_FDS`.
        count: usize,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Takes the passed descriptors. They are marked to be closed at an exec. Must be called once, before anything else is
/// opened.
///
/// # Errors
/// When the environment and the descriptors do not agree.
pub fn take() -> Result<Given, TakeError> {
    let Some(pid) = number_in("LISTEN_PID")? else { return Ok(Given::default()) };
    let Some(count) = number_in("LISTEN_FDS")? else { return Ok(Given::default()) };
    // The variables are inherited, and meant for another process.
    if u32::try_from(pid) != Ok(std::process::id()) {
        return Ok(Given::default());
    }
    let names: Vec<String> = match process::variable("LISTEN_FDNAMES").map(OsString::into_string) {
        Some(Ok(names)) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec![NAMELESS.to_owned(); count],
    };
    if names.len() != count {
        return Err(TakeError::Names { names: names.len(), count });
    }
    let take = |(name, number)| {
        let taken = process::take_inherited(number);
        let descriptor = taken.map_err(|source| TakeError::Descriptor { number, count, source })?;
        Ok((name, descriptor))
    };
    let descriptors = names.into_iter().zip(FIRST_GIVEN..).map(take).collect::<Result<_, _>>()?;
    Ok(Given { descriptors })
}

/// The numbers of the passed descriptors, by the environment alone. `None` if there are none, or if [`take`] would
/// refuse them.
pub fn given_numbers() -> Option<RangeInclusive<RawFd>> {
    let pid = number_in("LISTEN_PID").ok()??;
    let count = number_in("LISTEN_FDS").ok()??;
    let is_own = u32::try_from(pid) == Ok(std::process::id()) && count > 0;
    let last = FIRST_GIVEN.checked_add(i32::try_from(count).ok()?)? - 1;
    is_own.then_some(FIRST_GIVEN..=last)
}

fn number_in(variable: &'static str) -> Result<Option<usize>, TakeError> {
    let Some(value) = process::variable(variable) else { return Ok(None) };
    let number = value.to_str().and_then(|value| value.parse().ok());
    let value = value.to_string_lossy().into_owned();
    number.map(Some).ok_or(TakeError::Variable { variable, value })
}

impl Given {
    /// Takes all descriptors with this name, in the order in which they were passed.
    pub fn claim(&mut self, name: &str) -> Vec<OwnedFd> {
        self.claim_if(|it| it == name).into_iter().map(|(_, descriptor)| descriptor).collect()
    }

    /// Takes all descriptors whose name is wanted, each with its name.
    pub fn claim_if(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, OwnedFd)> {
        self.descriptors.extract_if(.., |(name, _)| is_wanted(name)).collect()
    }
}

/// Whether a name is valid in the store; sd_pid_notify_with_fds(3), `FDNAME=`.
pub fn is_name(name: &str) -> bool {
    let is_printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| is_printable(byte) && byte != b':')
}

fn check_name(name: &str) -> io::Result<()> {
    let error = || {
        let name = name.escape_debug();
        let what = format!(
            "cannot store descriptors under the name \"{name}\": 1 to {NAME_MAX} printable ASCII characters but \":\""
        );
        io::Error::new(ErrorKind::InvalidInput, what)
    };
    is_name(name).then_some(()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_systemd() {
        let longest = "x".repeat(NAME_MAX);
        for name in ["state", "game 17", "game-17-control", &longest] {
            assert!(is_name(name), "{name}");
        }
        let too_long = "x".repeat(NAME_MAX + 1);
        for name in ["", "a:b", "a\nb", "naïve", "\x7f", &too_long] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn descriptors_are_claimed_once_and_in_order() {
        let mut given = Given::default();
        let mut expected = Vec::new();
        for name in ["state", "game", "game"] {
            let descriptor: OwnedFd = io::pipe().unwrap().0.into();
            expected.push(format!("{descriptor:?}"));
            given.descriptors.push((name.to_owned(), descriptor));
        }
        let games = given.claim("game");
        assert_eq!(games.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>(), expected[1..]);
        assert!(given.claim("game").is_empty());
        assert_eq!(given.claim_if(|_| true).len(), 1);
    }
}
