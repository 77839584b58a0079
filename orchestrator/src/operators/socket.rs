//! The daemon's end of the admin socket.
//!
//! Few operators are connected at a time, and each has at most one request served per iteration of the loop, and none
//! before the last answer is sent, so an operator who floods or does not read costs players nothing. A silent operator
//! blocks no other: when all slots are in use, a new connection replaces the one that has been silent for longest.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry};
use protocol::LineBuffer;
use rustix::fs::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::handoff::descriptors::{InheritedFds, StateError, take};
use crate::handoff::text::Text;
use crate::tokens;
use protocol::admin::REQUEST_MAX;

/// The largest number of connected operators.
pub(crate) const CONVERSATIONS_MAX: usize = 8;

/// The events of a connection that are polled.
const OPERATOR_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The backlog of the listening socket.
const BACKLOG: i32 = 16;

/// How long another Muster may take to set up its socket in the same directory.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("cannot use the directory {} for listen.admin: {source}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error("another process listens at {}, listen.admin; is another Muster running?", .0.display())]
    InUse(PathBuf),
    #[error("{}, listen.admin, exists and is not a socket; it is left alone", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot listen at {}, listen.admin: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot poll the admin socket: {0}")]
    Watch(io::Error),
}

impl BindError {
    /// Whether a retry may succeed: a directory may be created or mounted later, a full table may have room.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Directory { .. } | Self::Watch(_) => true,
            Self::InUse(_) | Self::NoSocket(_) => false,
            Self::Listen { source, .. } => source.kind() != io::ErrorKind::InvalidInput,
        }
    }
}

/// The listening socket and its connections.
pub(crate) struct AdminSocket {
    listener: UnixListener,
    /// Connections may be pending.
    has_more: bool,
    /// The last accept failed for lack of resources; it is retried in each iteration, but the loop is not woken for it.
    is_stuck: bool,
    conversations: [Option<Conversation>; CONVERSATIONS_MAX],
    /// Counts requests and connections, to find the connection that has been silent for longest.
    words: u64,
    file: SocketFile,
}

/// A connection of an operator.
struct Conversation {
    socket: UnixStream,
    lines: LineBuffer,
    unsent: BytesMut,
    /// There may be input, or a request was read and not served.
    has_more: bool,
    /// Closed as soon as everything is sent.
    is_over: bool,
    /// The answer to the last request is deferred.
    is_awaited: bool,
    last_word: u64,
}

/// A deferred answer to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingReply {
    place: usize,
    word: u64,
}

/// The saved state of the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    listener: RawFd,
    path: PathBuf,
    file: (u64, u64),
    words: u64,
    conversations: Vec<SavedConversation>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedConversation {
    place: usize,
    socket: RawFd,
    lines: Text,
    unsent: Text,
    is_over: bool,
    is_awaited: bool,
    last_word: u64,
}

/// The socket's file, removed when the daemon exits.
struct SocketFile {
    path: PathBuf,
    /// Its device and inode, as the name may be used by another file later.
    id: (u64, u64),
}

impl AdminSocket {
    /// Listens, with mode 0600. A socket that a dead daemon left is replaced, one of a running daemon is not. Waits for
    /// at most `patience` for another process that has locked the directory.
    ///
    /// # Errors
    /// [`BindError`], which names the path.
    pub(crate) fn bind(path: &Path, patience: Duration) -> Result<Self, BindError> {
        let listen = |source| BindError::Listen { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(listen)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        // Held until this socket listens: of two daemons that start at once, neither may remove the other's socket as
        // stale.
        let _lock = lock(&path, patience)
            .map_err(|source| BindError::Directory { directory: directory.to_owned(), source })?;
        remove_stale(&path)?;
        let (listener, file) = listen_at(&path).map_err(listen)?;
        Ok(Self {
            listener: UnixListener::from_std(listener),
            has_more: false,
            is_stuck: false,
            conversations: Default::default(),
            words: 0,
            file,
        })
    }

    /// The state for the program that takes over the connections.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> Saved {
        let listener = kept.keep(&self.listener);
        let all = self.conversations.iter().enumerate();
        let save = |(place, it): (usize, &Conversation)| SavedConversation {
            place,
            socket: kept.keep(&it.socket),
            lines: it.lines.as_bytes().into(),
            unsent: it.unsent[..].into(),
            is_over: it.is_over,
            is_awaited: it.is_awaited,
            last_word: it.last_word,
        };
        let there = all.filter_map(|(place, it)| Some((place, it.as_ref()?)));
        let conversations = there.map(save).collect();
        let SocketFile { path, id } = &self.file;
        Saved { listener, path: path.clone(), file: *id, words: self.words, conversations }
    }

    /// Takes over the listening socket and its connections.
    ///
    /// # Errors
    /// When a descriptor is missing, or cannot be polled.
    pub(crate) fn restore(saved: Saved, registry: &Registry) -> Result<Self, StateError> {
        let listener = StdUnixListener::from(take(saved.listener, "the admin socket")?);
        let mut this = Self {
            listener: UnixListener::from_std(listener),
            has_more: true,
            is_stuck: false,
            conversations: Default::default(),
            words: saved.words,
            file: SocketFile { path: saved.path, id: saved.file },
        };
        this.register(registry)?;
        for it in saved.conversations {
            let socket = StdUnixStream::from(take(it.socket, "an operator's socket")?);
            let mut socket = UnixStream::from_std(socket);
            registry.register(&mut socket, tokens::operator(it.place), OPERATOR_INTEREST)?;
            let mut lines = LineBuffer::new(REQUEST_MAX);
            lines.extend(&it.lines.0);
            let Some(place) = this.conversations.get_mut(it.place) else { continue };
            *place = Some(Conversation {
                socket,
                lines,
                unsent: it.unsent.into(),
                has_more: true,
                is_over: it.is_over,
                is_awaited: it.is_awaited,
                last_word: it.last_word,
            });
        }
        Ok(this)
    }

    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.listener, tokens::ADMIN, Interest::READABLE)
    }

    /// Handles an event of the listening socket.
    pub(crate) fn set_has_more(&mut self) {
        self.has_more = true;
    }

    /// Handles an event of a connection. It may be about an earlier connection with this number: checking the current
    /// one is harmless.
    pub(crate) fn set_ready(&mut self, place: usize) {
        if let Some(Some(conversation)) = self.conversations.get_mut(place) {
            conversation.has_more = true;
        }
    }

    /// Whether there is work for the next iteration.
    pub(crate) fn is_ready(&self) -> bool {
        let may_speak = |it: &Conversation| it.has_more && it.unsent.is_empty() && !it.is_awaited;
        self.has_more && !self.is_stuck || self.conversations.iter().flatten().any(may_speak)
    }

    /// Accepts pending connections.
    pub(crate) fn accept(&mut self, registry: &Registry) {
        while self.has_more {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.is_stuck = false;
                    self.admit(socket, registry);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.has_more = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.is_stuck, true) {
                        log::warn!(
                            "cannot accept a connection at the admin socket: {error}; retrying"
                        );
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut socket: UnixStream, registry: &Registry) {
        let silence = |place: &usize| self.conversations[*place].as_ref().map(|it| it.last_word);
        let Some(place) = (0..CONVERSATIONS_MAX).min_by_key(silence) else { return };
        let token = tokens::operator(place);
        if let Err(error) = registry.register(&mut socket, token, OPERATOR_INTEREST) {
            log::error!("cannot poll a connection of the admin socket: {error}");
            return;
        }
        self.words += 1;
        self.conversations[place] = Some(Conversation {
            socket,
            lines: LineBuffer::new(REQUEST_MAX),
            unsent: BytesMut::new(),
            has_more: true,
            is_over: false,
            is_awaited: false,
            last_word: self.words,
        });
    }

    /// The next request of a connection, if there is one and the last answer was sent. `Err` if it is not a valid
    /// request.
    pub(crate) fn next_request(
        &mut self,
        place: usize,
        chunk: &mut [u8],
    ) -> Option<Result<Bytes, String>> {
        let conversation =
            self.conversations[place].as_mut().filter(|it| it.has_more && !it.is_awaited)?;
        if !conversation.flush() || conversation.is_over && conversation.unsent.is_empty() {
            self.conversations[place] = None;
            return None;
        }
        let request = conversation.next_request(chunk);
        if request.is_some() {
            self.words += 1;
            conversation.last_word = self.words;
        }
        request
    }

    /// Defers the answer to a connection's request. Its next request waits for the answer.
    pub(crate) fn defer_reply(&mut self, place: usize) -> Option<PendingReply> {
        let conversation = self.conversations[place].as_mut()?;
        conversation.is_awaited = true;
        Some(PendingReply { place, word: conversation.last_word })
    }

    /// Sends a deferred answer, unless the connection is gone.
    pub(crate) fn send_deferred(&mut self, asker: PendingReply, line: &str) {
        let conversation = self.conversations.get_mut(asker.place).and_then(Option::as_mut);
        let asked = |it: &&mut Conversation| it.is_awaited && it.last_word == asker.word;
        if let Some(conversation) = conversation.filter(asked) {
            conversation.has_more = true;
            self.answer(asker.place, line);
        }
    }

    /// Sends an answer.
    pub(crate) fn answer(&mut self, place: usize, line: &str) {
        if let Some(conversation) = self.conversations[place].as_mut() {
            conversation.is_awaited = false;
            conversation.unsent.extend_from_slice(line.as_bytes());
            conversation.unsent.extend_from_slice(b"\n");
            let is_there = conversation.flush();
            if !is_there || conversation.is_over && conversation.unsent.is_empty() {
                self.conversations[place] = None;
            }
        }
    }
}

impl Conversation {
    fn next_request(&mut self, chunk: &mut [u8]) -> Option<Result<Bytes, String>> {
        if !self.unsent.is_empty() {
            return None;
        }
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) if line.is_empty() => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => break,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error.to_string()));
                }
            }
        }
        let share = chunk.len().min(REQUEST_MAX);
        match self.socket.read(&mut chunk[..share]) {
            // The last line counts even without a line end.
            Ok(0) => {
                self.is_over = true;
                let rest = self.lines.take_rest();
                (!rest.is_empty()).then_some(Ok(rest))
            }
            Ok(read) => {
                self.lines.extend(&chunk[..read]);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.has_more = false;
                None
            }
            Err(_) => {
                self.is_over = true;
                None
            }
        }
    }

    /// Writes as much as possible. `false` if the connection is gone.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // Another process may have removed it already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The exclusive right to set up a socket at a path, among daemons. Dropping it removes the lock file.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked: a waiting daemon finds another file, or none, and starts again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks a path by a file beside it that other users cannot open. A lock on a file that others can read, such as the
/// directory, could be held by any of them.
fn lock(socket: &Path, patience: Duration) -> io::Result<Lock> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let deadline = Instant::now() + patience;
    loop {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
        if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
            // It was created by another user who may write to the directory, and may do so again.
            if Instant::now() >= deadline {
                let text = format!("{} belongs to another user", path.display());
                return Err(io::Error::other(text));
            }
            std::fs::remove_file(&path)?;
            continue;
        }
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok(Lock { path, _file: file }),
            // It was removed meanwhile.
            Ok(()) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let text = format!("another Muster has locked {}", path.display());
                return Err(io::Error::other(text));
            }
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let is_it = |id| file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == id);
    file_id(path).is_ok_and(is_it)
}

/// Removes a stale socket, or returns why the name cannot be used.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let listen = |source| BindError::Listen { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(listen(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(listen)?;
    // A socket that listens and does not accept would block connect(2).
    probe.set_nonblocking(true).map_err(listen)?;
    match probe.connect(&SockAddr::unix(path).map_err(listen)?) {
        // connect(2): "A connect() on a stream socket found no one listening on the remote address."
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("replacing the stale socket {}", path.display());
            std::fs::remove_file(path).map_err(listen)
        }
        Ok(()) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse(path.to_owned()))
        }
        Err(error) => Err(listen(error)),
    }
}

fn listen_at(path: &Path) -> io::Result<(StdUnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // On Linux the file gets the mode of the socket that is bound to it, less the umask: so no other user can ever
    // connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), id: file_id(path)? };
    socket.listen(BACKLOG)?;
    Ok((StdUnixListener::from(std::os::fd::OwnedFd::from(socket)), file))
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every user who can read a directory can lock it.
    #[test]
    fn a_lock_on_the_directory_does_not_prevent_listening() {
        let directory = tempfile::tempdir().unwrap();
        let held = File::open(directory.path()).unwrap();
        held.lock().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = AdminSocket::bind(&path, Duration::ZERO).unwrap();
        let entries = std::fs::read_dir(directory.path()).unwrap().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["admin.sock"], "the lock file was removed");
        drop(socket);
        // Two that start at once: the second waits for the first, for at most its time limit.
        let _first = lock(&path, Duration::ZERO).unwrap();
        assert!(lock(&path, LOCK_RETRY).is_err());
    }
}
