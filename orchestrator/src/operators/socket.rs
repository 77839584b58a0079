//! The daemon's end of the admin socket.
//!
//! Few may speak at a time, each has one request served per turn of the loop and none before its last answer is on its
//! way, so an operator who floods or does not read costs players nothing. Nobody waits for a silent one, either: who
//! comes when all places are taken gets the place of the one who was silent for longest.

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

/// Operators who can be connected at a time.
pub(crate) const CONVERSATIONS_MAX: usize = 8;

/// What is heard of an operator.
const OPERATOR_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Connections that wait in the kernel.
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
    #[error("{}, listen.admin, is there and is no socket; it is left alone", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot listen at {}, listen.admin: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot watch the admin socket: {0}")]
    Watch(io::Error),
}

impl BindError {
    /// Whether the same may work in a while: a directory that is still to be made or mounted, a table that is full.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Directory { .. } | Self::Watch(_) => true,
            Self::InUse(_) | Self::NoSocket(_) => false,
            Self::Listen { source, .. } => source.kind() != io::ErrorKind::InvalidInput,
        }
    }
}

/// The socket, and who speaks there.
pub(crate) struct AdminSocket {
    listener: UnixListener,
    /// Somebody may be at the door.
    has_more: bool,
    /// Nobody could be let in the last time; tried again in each turn, but no turn is made for it.
    is_stuck: bool,
    conversations: [Option<Conversation>; CONVERSATIONS_MAX],
    /// Counts requests and connections, to know who was silent for longest.
    words: u64,
    file: SocketFile,
}

/// One operator.
struct Conversation {
    socket: UnixStream,
    lines: LineBuffer,
    unsent: BytesMut,
    /// There may be something to read, or a request was read and not served.
    has_more: bool,
    /// Closed as soon as everything is sent.
    is_over: bool,
    /// The answer to the last request takes its time.
    is_awaited: bool,
    last_word: u64,
}

/// An operator who was promised an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingReply {
    place: usize,
    word: u64,
}

/// The socket as it is written down.
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

/// The socket's name in the file system, removed when the daemon ends.
struct SocketFile {
    path: PathBuf,
    /// The file itself, whoever has its name later.
    id: (u64, u64),
}

impl AdminSocket {
    /// Listens, with mode 0600. A file that a dead daemon left behind is replaced, a living one's is not. Waits so long
    /// for another process that holds the directory locked, at most.
    ///
    /// # Errors
    /// [`BindError`], which names the path.
    pub(crate) fn bind(path: &Path, patience: Duration) -> Result<Self, BindError> {
        let listen = |source| BindError::Listen { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(listen)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        // Held until this one listens: two that start at once must not both take the other's file for a dead one's.
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

    /// What is to be known of it, for the program that goes on with its conversations.
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

    /// Goes on listening, and with whoever speaks there.
    ///
    /// # Errors
    /// When a socket is not there, or cannot be watched.
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

    /// The poll said that somebody is at the door.
    pub(crate) fn set_has_more(&mut self) {
        self.has_more = true;
    }

    /// The poll said something of an operator. It may be of an earlier one in that place: whoever is there now is
    /// looked at, which harms nobody.
    pub(crate) fn set_ready(&mut self, place: usize) {
        if let Some(Some(conversation)) = self.conversations.get_mut(place) {
            conversation.has_more = true;
        }
    }

    /// Whether there is work left for the next turn.
    pub(crate) fn is_ready(&self) -> bool {
        let may_speak = |it: &Conversation| it.has_more && it.unsent.is_empty() && !it.is_awaited;
        self.has_more && !self.is_stuck || self.conversations.iter().flatten().any(may_speak)
    }

    /// Lets in who is at the door.
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
                        log::warn!("cannot accept an operator: {error}; trying again");
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
            log::error!("cannot watch an operator: {error}");
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

    /// The next request of who has this place, if there is one and its last answer was sent. `Err`: not a request.
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

    /// Promises an answer to who has this place, whose next request waits for it.
    pub(crate) fn defer_reply(&mut self, place: usize) -> Option<PendingReply> {
        let conversation = self.conversations[place].as_mut()?;
        conversation.is_awaited = true;
        Some(PendingReply { place, word: conversation.last_word })
    }

    /// Answers whom it was promised; nobody, if another has the place by now.
    pub(crate) fn send_deferred(&mut self, asker: PendingReply, line: &str) {
        let conversation = self.conversations.get_mut(asker.place).and_then(Option::as_mut);
        let asked = |it: &&mut Conversation| it.is_awaited && it.last_word == asker.word;
        if let Some(conversation) = conversation.filter(asked) {
            conversation.has_more = true;
            self.answer(asker.place, line);
        }
    }

    /// Answers who has this place.
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
            // What was said before is a request, even without its line's end.
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

    /// Writes what the socket takes. `false`: nobody is there any more.
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
            // Somebody else may have been faster.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The right to set up a socket at a path, among Musters. Its file is gone when it is given back.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: whoever waits for it finds another file, or none, and begins anew.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the right to set up a socket at a path, by a file beside it that nobody else may even open. A lock on something
/// that others may read, the directory for one, could be held by any of them.
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
            // Left there by somebody who may write to the directory, too, and may go on doing so.
            if Instant::now() >= deadline {
                let text = format!("{} belongs to somebody else", path.display());
                return Err(io::Error::other(text));
            }
            std::fs::remove_file(&path)?;
            continue;
        }
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok(Lock { path, _file: file }),
            // It was given back meanwhile.
            Ok(()) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let text = format!("another Muster holds {} locked", path.display());
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

/// Makes sure that nothing has the name, or says who does.
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
    // One that listens and does not accept would keep a blocking connect(2) waiting.
    probe.set_nonblocking(true).map_err(listen)?;
    match probe.connect(&SockAddr::unix(path).map_err(listen)?) {
        // connect(2): "A connect() on a stream socket found no one listening on the remote address."
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("replacing {}, which nobody listens at", path.display());
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
    // On Linux the file gets the mode of the socket that is bound to it, less the umask: at no time may others connect.
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

    /// Whoever may read a directory can lock it.
    #[test]
    fn a_lock_on_the_directory_keeps_nobody_from_listening() {
        let directory = tempfile::tempdir().unwrap();
        let held = File::open(directory.path()).unwrap();
        held.lock().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = AdminSocket::bind(&path, Duration::ZERO).unwrap();
        let entries = std::fs::read_dir(directory.path()).unwrap().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["admin.sock"], "its own lock is gone");
        drop(socket);
        // Two who begin at once: the second waits for the first, and no longer than it may.
        let _first = lock(&path, Duration::ZERO).unwrap();
        assert!(lock(&path, LOCK_RETRY).is_err());
    }
}
