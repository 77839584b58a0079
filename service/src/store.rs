//! Descriptors that outlive the process: handed to whoever started it, given back by name when it is started again.
//!
//! The other side is systemd's descriptor store (sd_pid_notify_with_fds(3), `FDSTORE=1`) or Muster's own keeper
//! in the same words. Without either nothing is stored and nothing is given back.
//!
//! What is given back is still in the store: it need not be put there again. It stays until it is
//! [removed](Store::remove), or the service is stopped for good. Two puts of one name add up, and what was put under one
//! name comes back in no order: systemd keeps a set.
//!
//! systemd takes as many descriptors as `FileDescriptorStoreMax=` says, and drops the rest **without a word**; its
//! default is none. So the unit has to have room for all there can be: three for each port of the ring (a game's
//! process, its control channel and its output), and sixteen for everything else.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use sd_notify::NotifyState;

use crate::notify::outbox::{DESCRIPTORS_MAX, Outbox};

/// Bytes in a name, at most; systemd's own bound.
pub const NAME_MAX: usize = 255;

/// What tells a process of the descriptors that it was given; sd_listen_fds(3). It is for the first image of a process
/// alone: whoever starts another program, or executes a new one in its place, takes it out of the environment.
pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The first descriptor that is given.
pub const FIRST_GIVEN: i32 = 3;

/// Where the service manager says how many descriptors it stores; systemd.exec(5), from version 254 on.
pub const ROOM_VARIABLE: &str = "FDSTORE";

/// What is stored for each port of the ring at most, and for everything else.
const STORED_PER_PORT: usize = 3;
const STORED_BESIDES: usize = 16;

/// The name of a descriptor that was given without one, as systemd has it.
const NAMELESS: &str = "unknown";

/// The way to the store.
#[derive(Debug)]
pub struct Store {
    outbox: Outbox,
}

impl Store {
    /// Finds the store by the environment.
    pub fn open() -> Self {
        Self { outbox: Outbox::open() }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.outbox.has_manager()
    }

    /// How many descriptors it has room for, if it says so and that is too few for a ring of so many ports.
    pub fn is_short_for(&self, ports: usize) -> Option<usize> {
        let room: usize = process::variable(ROOM_VARIABLE)?.to_str()?.parse().ok()?;
        (self.is_there() && room < STORED_PER_PORT * ports + STORED_BESIDES).then_some(room)
    }

    /// Puts descriptors into the store under one name. The caller's own may be closed then. Nobody says whether there
    /// was room for them.
    ///
    /// # Errors
    /// When the name is empty, longer than [`NAME_MAX`], or not printable ASCII without `:`; or when the service manager
    /// is gone.
    pub fn put(&mut self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        check_name(name)?;
        let name = format!("FDNAME={name}");
        // Without the last word systemd would drop a channel as soon as its other end is closed, unread words included.
        let states = ["FDSTORE=1", &name, "FDPOLL=0"].map(NotifyState::Custom);
        for part in descriptors.chunks(DESCRIPTORS_MAX) {
            self.outbox.send(&states, part)?;
        }
        Ok(())
    }

    /// Removes everything of this name from the store.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let name = format!("FDNAME={name}");
        self.outbox.send(&["FDSTOREREMOVE=1", &name].map(NotifyState::Custom), &[])
    }

    /// Gives up what nobody has claimed: another version of Muster stored it.
    pub fn discard(&mut self, given: Given) {
        let mut names: Vec<String> = given.descriptors.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        for name in names {
            log::warn!("nobody knows what the descriptor {name} is for; it is given up");
            // Where the name is none of the store's, or there is no store, closing it has to do.
            let _ = self.remove(&name);
        }
    }

    /// Sends what there was no room for until now; the loop calls this in each turn.
    ///
    /// # Errors
    /// When the service manager is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush()
    }

    /// Whether something waits to be sent; if so the loop comes back soon.
    pub fn has_unsent(&self) -> bool {
        self.outbox.has_unsent()
    }
}

/// What this process was given at its start, by the store or by a socket unit, and nobody has claimed yet.
#[derive(Debug, Default)]
pub struct Given {
    descriptors: Vec<(String, OwnedFd)>,
}

/// Why nothing can be made of what the environment says.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A variable of sd_listen_fds(3) is not a number.
    #[error(
        "cannot take the descriptors that were given: {variable}={value} is not what sd_listen_fds(3) says; unset it"
    )]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// There are more or fewer names than descriptors.
    #[error(
        "cannot take the descriptors that were given: {names} names (LISTEN_FDNAMES) for {count} descriptors (LISTEN_FDS)"
    )]
    Names {
        /// Names in `LISTEN_FDNAMES`.
        names: usize,
        /// Descriptors by `LISTEN_FDS`.
        count: usize,
    },
    /// A descriptor that the environment announces is not open.
    #[error(
        "cannot take descriptor {number}, which was given according to LISTEN_FDS={count}: {source}"
    )]
    Descriptor {
        /// The descriptor.
        number: i32,
        /// Descriptors by `LISTEN_FDS`.
        count: usize,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Takes what this process was given. They are marked to be closed at an exec. Comes before anything else is opened, and
/// once.
///
/// # Errors
/// When the environment and the descriptors do not agree.
pub fn take() -> Result<Given, TakeError> {
    let Some(pid) = number_in("LISTEN_PID")? else { return Ok(Given::default()) };
    let Some(count) = number_in("LISTEN_FDS")? else { return Ok(Given::default()) };
    // They are another process's, of which this one inherited the environment alone.
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

/// The numbers of the descriptors that this process was given, by its environment alone. `None`: it was given none, or
/// says so in a way that [`take`] refuses.
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
    /// Gives all descriptors of a name, in the order in which they were given.
    pub fn claim(&mut self, name: &str) -> Vec<OwnedFd> {
        self.claim_if(|it| it == name).into_iter().map(|(_, descriptor)| descriptor).collect()
    }

    /// Gives all descriptors whose name is wanted, each with its name.
    pub fn claim_if(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, OwnedFd)> {
        self.descriptors.extract_if(.., |(name, _)| is_wanted(name)).collect()
    }
}

/// Whether a name can be one in the store; sd_pid_notify_with_fds(3), `FDNAME=`.
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
    fn what_is_claimed_is_given_once_and_in_order() {
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
