//! The writer of log lines, which never blocks the caller.
//!
//! The reader of the log may be stopped, be gone, or have a full disk; players must not notice. So lines go into a
//! bounded queue, and a thread writes them. Lines that find no room in the queue, or cannot be written, are lost; they
//! are counted, and a line in their place reports the number as soon as something can be written again.
//!
//! A process without the thread (the launcher, whose children share its memory until they execute a program; any
//! process before its signals are set up) writes as much as possible at once and keeps the rest for the next line. That
//! cannot be made exact on every kernel: see [`write_at_once`].

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use rustix::net::SendFlags;
use rustix::stdio::stderr;

/// The largest size of the queue in bytes. The thread can hold as much again.
const QUEUE_MAX: usize = 1024 * 1024;

/// Bytes that a pipe accepts without blocking when poll(2) reports that it is writable; pipe(7), `PIPE_BUF`.
const PIPE_BUF: usize = 4096;

/// How long the thread waits for a reader before it tries again, if the descriptor is non-blocking.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The capacity in bytes that is kept for the next lines.
const ROOM_KEPT: usize = 128 * 1024;

/// The size of the thread's stack in bytes.
const STACK_BYTES: usize = 128 * 1024;

static SINK: Sink = Sink {
    queue: Mutex::new(Queue::new()),
    has_arrived: Condvar::new(),
    was_written: Condvar::new(),
};

struct Sink {
    queue: Mutex<Queue>,
    has_arrived: Condvar,
    was_written: Condvar,
}

/// The lines that are not written yet.
struct Queue {
    lines: Vec<u8>,
    /// Lines that were lost after those in the queue.
    lost: u64,
    /// The number of lines that the thread has taken and is writing, including those that were lost.
    is_busy: bool,
    on_its_way: u64,
    has_thread: bool,
    /// The writer, if there is no thread.
    writer: Writer,
    /// Formats a line of the log itself.
    frame: fn(Level, &str) -> String,
}

/// Writes the lines that were taken from the queue.
struct Writer {
    /// The rest of these lines.
    rest: Vec<u8>,
    /// Lines that were lost after these.
    lost_after: u64,
    /// Lines that were lost before these and have not been reported.
    unreported: u64,
    /// The reason, if it was not a full queue.
    why: Option<io::Error>,
    /// Whether only a part of a line has been written.
    is_mid_line: bool,
}

fn lock() -> MutexGuard<'static, Queue> {
    SINK.queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the format of the log's own lines, and the number of lines that the program before this one in the same process
/// has lost.
pub(super) fn prepare(frame: fn(Level, &str) -> String, lost_before: u64) {
    let mut queue = lock();
    queue.frame = frame;
    queue.writer.unreported = lost_before;
}

/// Adds complete lines, which are written soon.
pub(super) fn push(lines: &[u8]) {
    let mut queue = lock();
    queue.push(lines);
    if queue.has_thread {
        SINK.has_arrived.notify_one();
    } else {
        queue.write_at_once();
    }
}

/// Starts the thread. It inherits the blocked signals.
pub(super) fn start_thread() -> io::Result<()> {
    let mut queue = lock();
    let frame = queue.frame;
    let mut writer = std::mem::replace(&mut queue.writer, Writer::new());
    // The lines that could not be written at once.
    queue.on_its_way = writer.lines();
    (queue.is_busy, queue.has_thread) = (true, true);
    drop(queue);
    let thread = thread::Builder::new().name("log".into()).stack_size(STACK_BYTES);
    let write = move || {
        loop {
            writer.write(&write_patiently, frame);
            writer.take(&SINK);
        }
    };
    let started = thread.spawn(write).map(drop);
    if started.is_err() {
        let mut queue = lock();
        (queue.is_busy, queue.has_thread) = (false, false);
    }
    started
}

/// Waits until everything is written, for at most `limit`. Returns how many lines are lost if the process ends now,
/// including those that were lost before and have not been reported.
pub(super) fn flush(limit: Duration) -> u64 {
    let due = Instant::now() + limit;
    let mut queue = lock();
    while queue.has_thread && !queue.is_done() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let waited = SINK.was_written.wait_timeout(queue, left);
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    if !queue.has_thread {
        queue.write_at_once();
    }
    let on_its_way = if queue.is_busy { queue.on_its_way } else { queue.writer.lines() };
    queue.lost + lines_in(&queue.lines) + on_its_way
}

impl Queue {
    const fn new() -> Self {
        Self {
            lines: Vec::new(),
            lost: 0,
            is_busy: false,
            on_its_way: 0,
            has_thread: false,
            writer: Writer::new(),
            frame: |_, message| format!("{message}\n"),
        }
    }

    /// After a loss all further lines are lost, until the writer has taken the queue: lines stay in order.
    fn push(&mut self, lines: &[u8]) {
        if self.lost > 0 || self.lines.len() + lines.len() > QUEUE_MAX {
            self.lost += lines_in(lines);
        } else {
            self.lines.extend_from_slice(lines);
        }
    }

    fn is_done(&self) -> bool {
        !self.is_busy && self.lines.is_empty() && self.lost == 0
    }

    /// Writes as much as possible now, without the thread.
    fn write_at_once(&mut self) {
        loop {
            self.writer.write(&write_at_once, self.frame);
            if !self.writer.rest.is_empty() || self.is_done() {
                return;
            }
            self.writer.rest = std::mem::take(&mut self.lines);
            self.writer.lost_after = std::mem::take(&mut self.lost);
        }
    }
}

impl Writer {
    const fn new() -> Self {
        Self { rest: Vec::new(), lost_after: 0, unreported: 0, why: None, is_mid_line: false }
    }

    /// Waits for lines.
    fn take(&mut self, sink: &Sink) {
        let mut queue = sink.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_busy = false;
        sink.was_written.notify_all();
        while queue.is_done() {
            queue = sink.has_arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.is_busy = true;
        // The buffer is used again.
        self.rest.shrink_to(ROOM_KEPT);
        std::mem::swap(&mut self.rest, &mut queue.lines);
        self.lost_after = std::mem::take(&mut queue.lost);
        queue.on_its_way = self.lines();
    }

    /// The lines that are neither written nor reported as lost.
    fn lines(&self) -> u64 {
        lines_in(&self.rest) + self.lost_after + self.unreported
    }

    /// Writes the taken lines, and reports lost ones: all of it, unless nothing can be written now.
    fn write(
        &mut self,
        write: &impl Fn(&[u8]) -> io::Result<usize>,
        frame: fn(Level, &str) -> String,
    ) {
        if !self.report(write, frame) {
            return;
        }
        match self.write_rest(write) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                self.unreported += lines_in(&self.rest);
                self.why = Some(error);
                self.rest.clear();
            }
        }
        self.unreported += std::mem::take(&mut self.lost_after);
        self.report(write, frame);
    }

    /// Reports the lines that were lost before the next ones. `false` if that cannot be written now. If the next lines
    /// cannot be written either, they are lost, too.
    fn report(
        &mut self,
        write: &impl Fn(&[u8]) -> io::Result<usize>,
        frame: fn(Level, &str) -> String,
    ) -> bool {
        if self.unreported == 0 {
            return true;
        }
        let why = match &self.why {
            Some(error) => format!("they could not be written: {error}"),
            None => "the log is not being read".to_owned(),
        };
        let lost = format!("{} log lines were lost: {why}", self.unreported);
        // A truncated line is ended first.
        let start = if self.is_mid_line { "\n" } else { "" };
        let line = format!("{start}{}", frame(Level::Warn, &lost));
        let rest = std::mem::replace(&mut self.rest, line.into_bytes());
        let written = self.write_rest(write);
        let left = std::mem::replace(&mut self.rest, rest);
        match written {
            Ok(()) => {
                (self.unreported, self.why) = (0, None);
                true
            }
            // The beginning has been written, so the rest must come first.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_mid_line => {
                self.rest.splice(..0, left);
                (self.unreported, self.why) = (0, None);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.unreported += lines_in(&self.rest) + std::mem::take(&mut self.lost_after);
                self.why = Some(error);
                self.rest.clear();
                false
            }
        }
    }

    fn write_rest(&mut self, write: &impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            let rest = &self.rest[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match write(&rest[..part(rest)]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.is_mid_line = rest[length - 1] != b'\n';
                    written += length;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.rest.drain(..written);
        result
    }
}

/// The length of the next write: complete lines, if they fit into what pipe(7) writes atomically.
fn part(bytes: &[u8]) -> usize {
    let first = &bytes[..bytes.len().min(PIPE_BUF)];
    memchr::memrchr(b'\n', first).map_or(first.len(), |end| end + 1)
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// For the thread: waits as long as necessary.
fn write_patiently(bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(stderr(), bytes) {
            // Another process that shares the open file has made it non-blocking.
            Err(Errno::AGAIN) => wait_for_room(stderr(), &LOOK_AGAIN)?,
            written => return Ok(written?),
        };
    }
}

/// Writes as much as possible without blocking.
///
/// A socket supports that for each call, and a pipe from Linux 6.5 on; the open file itself cannot be made
/// non-blocking, as other processes share it. On an older kernel poll(2) reports room for [`PIPE_BUF`] bytes, unless
/// another process is faster; then this blocks after all, and the daemon, which monitors the launcher, starts another
/// one.
fn write_at_once(bytes: &[u8]) -> io::Result<usize> {
    let log = stderr();
    let kind = FileType::from_raw_mode(fstat(log)?.st_mode);
    if kind == FileType::Socket {
        return Ok(rustix::net::send(log, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?);
    }
    if kind == FileType::RegularFile {
        return Ok(rustix::io::write(log, bytes)?);
    }
    match pwritev2(log, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {}
        written => return Ok(written?),
    }
    if !wait_for_room(log, &Timespec::default())? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::write(log, bytes)?)
}

/// Whether there is room within `limit`.
fn wait_for_room(log: BorrowedFd<'_>, limit: &Timespec) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(log, PollFlags::OUT)];
    match poll(&mut fds, Some(limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const FRAME: fn(Level, &str) -> String = |_, message| format!("{message}\n");

    /// A reader that reads a limited number of bytes, and the rest.
    struct Reader {
        text: RefCell<String>,
        room: Cell<usize>,
        otherwise: io::ErrorKind,
    }

    impl Reader {
        fn new(room: usize, otherwise: io::ErrorKind) -> Self {
            Self { text: RefCell::default(), room: Cell::new(room), otherwise }
        }

        fn take(&self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room.get());
            if length == 0 {
                return Err(self.otherwise.into());
            }
            self.room.set(self.room.get() - length);
            self.text.borrow_mut().push_str(str::from_utf8(&bytes[..length]).unwrap());
            Ok(length)
        }

        fn read(&self) -> String {
            std::mem::take(&mut *self.text.borrow_mut())
        }
    }

    #[test]
    fn lost_lines_are_counted_and_reported_in_their_place() {
        let mut queue = Queue::new();
        let line = format!("{}\n", "x".repeat(QUEUE_MAX / 2 - 1));
        queue.push(line.as_bytes());
        queue.push(line.as_bytes());
        queue.push(b"lost\nlost, too\n");
        assert_eq!((queue.lines.len(), queue.lost), (QUEUE_MAX, 2));
        let mut writer = Writer::new();
        let take = |writer: &mut Writer, queue: &mut Queue| {
            writer.rest = std::mem::take(&mut queue.lines);
            writer.lost_after = std::mem::take(&mut queue.lost);
        };
        take(&mut writer, &mut queue);
        queue.push(b"after\n");
        let reader = Reader::new(usize::MAX, io::ErrorKind::WouldBlock);
        writer.write(&|bytes| reader.take(bytes), FRAME);
        take(&mut writer, &mut queue);
        writer.write(&|bytes| reader.take(bytes), FRAME);
        let text = reader.read();
        let end = "2 log lines were lost: the log is not being read\nafter\n";
        assert_eq!(text.strip_prefix(&line.repeat(2)), Some(end));
    }

    #[test]
    fn a_reader_that_returns_continues_where_it_stopped() {
        let mut writer = Writer { rest: b"first\nsecond\n".into(), lost_after: 3, ..Writer::new() };
        let reader = Reader::new(8, io::ErrorKind::WouldBlock);
        let write = |bytes: &[u8]| reader.take(bytes);
        writer.write(&write, FRAME);
        assert_eq!(reader.read(), "first\nse");
        reader.room.set(10);
        writer.write(&write, FRAME);
        assert_eq!(reader.read(), "cond\n3 log");
        reader.room.set(usize::MAX);
        writer.write(&write, FRAME);
        assert_eq!(reader.read(), " lines were lost: the log is not being read\n");
        assert!(writer.rest.is_empty() && writer.unreported == 0);
    }

    #[test]
    fn unwritable_lines_are_counted_until_writing_succeeds() {
        let mut writer = Writer { rest: b"first\nsecond\n".into(), ..Writer::new() };
        let reader = Reader::new(6, io::ErrorKind::StorageFull);
        let write = |bytes: &[u8]| reader.take(bytes);
        writer.write(&write, FRAME);
        assert_eq!((reader.read().as_str(), writer.unreported), ("first\n", 1));
        writer.rest = b"third\n".into();
        writer.write(&write, FRAME);
        assert_eq!(writer.unreported, 2);
        reader.room.set(usize::MAX);
        writer.rest = b"fourth\n".into();
        writer.write(&write, FRAME);
        let shown = reader.read();
        assert!(shown.starts_with("2 log lines were lost: they could not be written:"), "{shown}");
        assert!(shown.ends_with("\nfourth\n"), "{shown}");
    }
}
