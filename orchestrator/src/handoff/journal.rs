//! The journal: a snapshot of the daemon, and then each input of the brain, before the brain acts on it.
//!
//! The brain is pure and deterministic, so a snapshot and the inputs since are its state. They are in memory files that the
//! service manager (or the keeper) holds beside this process, with the games' descriptors; nothing is written to a disk.
//! There are two files, which alternate: while a thread writes a snapshot into one, the other continues; the records
//! written meanwhile are carried over, and a mark says that the new file is valid.
//!
//! A record is its length, a checksum and JSON, and one write. So a process that is killed leaves a last record that is
//! whole, or that its checksum gives away; its actions were not performed then. A record holds the difference alone: a
//! connect token is written once.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brain::{Brain, GameId, Input};
use mio::Waker;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::descriptors::{InheritedFds, StateError, take};
use super::snapshot::{Snapshot, SnapshotText};
use crate::clock::{Instant, NOT_YET};
use crate::config::Places;
use crate::games::keys::KeyChange;
use crate::lookup::Resolved;
use crate::worker::{Next, Worker};

/// The files' names in the store.
pub(crate) const NAMES: [&str; 2] = ["state-0", "state-1"];

/// A journal of fewer bytes is not compacted; a longer one is when it is twice as long as its snapshot.
const JOURNAL_MIN: u64 = 1024 * 1024;

/// The shortest time between two snapshots that were begun: one may have failed.
const REST: Duration = Duration::from_secs(1);

/// Length and checksum.
const HEAD_BYTES: usize = 8;

/// One record of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The first record: of two files the one with the higher number is the later one. The snapshot follows.
    Begin { sequence: u64 },
    /// The brain handles an input.
    Input { at: Duration, input: Input },
    /// The brain is called because time has passed.
    Time { at: Duration },
    /// A game's process exists, and its descriptors are in the store.
    Stored { game: GameId, pid: i32 },
    /// The keys of a game that speaks netcode have changed.
    Keys { game: GameId, change: KeyChange },
    /// A signal told the daemon to stop.
    StopAsked,
    /// The daemon has ended so that the next one continues.
    HandedOver,
    /// Modes and programs have these indexes from here on.
    Places(Box<Places>),
    /// The public name has these addresses.
    Resolved(Resolved),
    /// The records before this one are valid.
    Valid,
    /// A daemon tries to recover from this.
    Tried,
}

/// The journal's files, as a snapshot names them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedJournal {
    files: [RawFd; 2],
    current: usize,
    sequence: u64,
}

/// [`Record::Input`] of an input that is still needed.
#[derive(Serialize)]
enum InputRecord<'a> {
    Input { at: Duration, input: &'a Input },
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is damaged at byte {0}")]
    Checksum(usize),
    #[error("its records are out of order")]
    Order,
    #[error("it holds no whole snapshot")]
    Empty,
    #[error("{0}")]
    State(#[from] StateError),
    #[error("it ends at {NOT_YET}, or goes back in time")]
    Time,
    #[error("the replayed state is inconsistent: {0}")]
    Diverged(String),
    #[error("the daemon died when it last tried to recover from it")]
    Tried,
}

/// What a journal holds.
pub(crate) struct Contents {
    sequence: u64,
    pub(crate) snapshot: Snapshot,
    pub(crate) brain: Brain,
    pub(crate) records: Vec<Record>,
}

/// The journal of a running daemon.
pub(crate) struct Journal {
    files: [File; 2],
    /// The index of the one that is valid.
    current: usize,
    end: u64,
    sequence: u64,
    snapshot_bytes: u64,
    /// A snapshot that is being written into the other file.
    pending: Option<PendingSnapshot>,
    /// Whether a record is missing in the file: nothing more is written before the next snapshot is valid.
    is_broken: bool,
    /// No snapshot is begun before.
    rests_until: Option<Instant>,
    scratch: Vec<u8>,
}

struct PendingSnapshot {
    writer: Worker<io::Result<u64>>,
    /// The records since it was begun.
    carried: Vec<u8>,
}

impl Journal {
    /// Makes two empty files.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub(crate) fn create() -> io::Result<Self> {
        let file = |name| Ok::<_, io::Error>(memfd_create(name, MemfdFlags::CLOEXEC)?.into());
        Ok(Self::on([file("muster-state-0")?, file("muster-state-1")?], 0, 0))
    }

    /// Continues with files of which one may be valid; the next snapshot goes into the other.
    fn on(files: [File; 2], current: usize, sequence: u64) -> Self {
        Self {
            files,
            current,
            end: 0,
            sequence,
            snapshot_bytes: 0,
            pending: None,
            is_broken: false,
            rests_until: None,
            scratch: Vec::new(),
        }
    }

    /// Its files, for the program that takes over.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedJournal {
        let files = self.files.each_ref().map(|file| kept.keep(file));
        SavedJournal { files, current: self.current, sequence: self.sequence }
    }

    /// Takes over the files of the program before this one. A snapshot has to come first.
    ///
    /// # Errors
    /// When a file is missing.
    pub(crate) fn restore(saved: &SavedJournal) -> Result<Self, StateError> {
        let [first, second] = saved.files.map(|number| take(number, "the journal"));
        let files = [first?.into(), second?.into()];
        Ok(Self::on(files, saved.current.min(1), saved.sequence))
    }

    pub(crate) fn files(&self) -> &[File; 2] {
        &self.files
    }

    /// Writes a snapshot in place of all before it.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn begin_with(&mut self, snapshot: &Snapshot, brain: &Brain) -> io::Result<()> {
        let other = 1 - self.current;
        let bytes = write_snapshot(&self.files[other], self.sequence + 1, snapshot, brain)?;
        self.switch(bytes, Vec::new())
    }

    /// Writes that the brain is about to handle an input.
    pub(crate) fn note_input(&mut self, at: Duration, input: &Input) {
        self.write(&InputRecord::Input { at, input });
    }

    /// Writes another record.
    pub(crate) fn note(&mut self, record: &Record) {
        self.write(record);
    }

    /// Whether it is time for another snapshot.
    pub(crate) fn is_long(&self) -> bool {
        let length = self.end - self.snapshot_bytes;
        let is_due = self.is_broken || length > JOURNAL_MIN.max(2 * self.snapshot_bytes);
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        is_due && self.pending.is_none() && !rests
    }

    /// Has a thread write a snapshot, which wakes the loop when it is done.
    ///
    /// # Errors
    /// When there is no thread, or no descriptor. [`is_long`](Self::is_long) is false until [`REST`] is over.
    pub(crate) fn begin_snapshot(
        &mut self,
        snapshot: Snapshot,
        brain: Brain,
        waker: Arc<Waker>,
    ) -> io::Result<()> {
        self.rests_until = Some(Instant::now() + REST);
        let file = self.files[1 - self.current].try_clone()?;
        let sequence = self.sequence + 1;
        let writer = Worker::spawn("snapshot", Some(waker), move |reporter| {
            reporter.send(write_snapshot(&file, sequence, &snapshot, &brain));
        })?;
        self.pending = Some(PendingSnapshot { writer, carried: Vec::new() });
        Ok(())
    }

    /// Switches to a snapshot that a thread has written, if there is one.
    ///
    /// # Errors
    /// When it could not be written; the journal continues as it was.
    pub(crate) fn poll_snapshot(&mut self) -> io::Result<()> {
        let written = match self.pending.as_ref().map(|pending| pending.writer.next()) {
            None | Some(Next::Pending) => return Ok(()),
            Some(Next::Report(written)) => written,
            Some(Next::Ended) => Err(io::Error::other("the thread that writes it has ended")),
        };
        let carried = self.pending.take().map(|pending| pending.carried).unwrap_or_default();
        self.switch(written?, carried)
    }

    fn switch(&mut self, snapshot_bytes: u64, mut carried: Vec<u8>) -> io::Result<()> {
        let other = 1 - self.current;
        encode(&Record::Valid, &mut carried)?;
        self.files[other].write_all_at(&carried, snapshot_bytes)?;
        (self.current, self.snapshot_bytes, self.is_broken) = (other, snapshot_bytes, false);
        self.end = snapshot_bytes + carried.len() as u64;
        self.sequence += 1;
        // The older file must not be used any more, whatever becomes of this one.
        self.files[1 - other].set_len(0)
    }

    fn write(&mut self, record: &impl Serialize) {
        self.scratch.clear();
        let encoded = encode(record, &mut self.scratch);
        // The pending snapshot was taken before, whatever becomes of the current file.
        if let Some(pending) = self.pending.as_mut().filter(|_| encoded.is_ok()) {
            pending.carried.extend_from_slice(&self.scratch);
        }
        if self.is_broken {
            return;
        }
        let file = &self.files[self.current];
        let written = encoded.and_then(|()| file.write_all_at(&self.scratch, self.end));
        match written {
            Ok(()) => self.end += self.scratch.len() as u64,
            Err(error) => {
                // Without memory for it the daemon can still serve, but not recover from a crash.
                log::error!("cannot write the journal: {error}");
                self.is_broken = true;
            }
        }
    }
}

fn write_snapshot(
    file: &File,
    sequence: u64,
    snapshot: &Snapshot,
    brain: &Brain,
) -> io::Result<u64> {
    let mut bytes = Vec::new();
    encode(&Record::Begin { sequence }, &mut bytes)?;
    encode_with(&mut bytes, |bytes| snapshot.write(brain, bytes))?;
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)?;
    Ok(bytes.len() as u64)
}

fn encode(record: &impl Serialize, into: &mut Vec<u8>) -> io::Result<()> {
    encode_with(into, |body| Ok(serde_json::to_writer(body, record)?))
}

/// Appends a record whose body `write` writes.
fn encode_with(
    into: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let head = into.len();
    into.extend_from_slice(&[0; HEAD_BYTES]);
    write(into)?;
    let body = &into[head + HEAD_BYTES..];
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let checksum = crc32fast::hash(body);
    into[head..head + 4].copy_from_slice(&length.to_le_bytes());
    into[head + 4..head + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Copies a journal that cannot be used into a file, for the search for the defect: into the service manager's state
/// directory, if there is one. It holds keys and tokens.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn set_aside(file: OwnedFd) -> io::Result<PathBuf> {
    let mut file = File::from(file);
    file.rewind()?;
    let directory =
        process::first_directory("STATE_DIRECTORY").unwrap_or_else(process::temporary_directory);
    let mut copy = tempfile::Builder::new().prefix("muster-state-").tempfile_in(directory)?;
    io::copy(&mut file, &mut copy)?;
    Ok(copy.keep()?.1)
}

// ---- Reading ----

/// Reads what two files hold. With it comes the journal to continue, in which [`Record::Tried`] has to be noted before
/// anything is made of it.
///
/// # Errors
/// [`JournalError`] when neither can be used, and what is wrong with the later one.
pub(crate) fn read(files: [OwnedFd; 2]) -> Result<(Contents, Journal), JournalError> {
    let files = files.map(File::from);
    let [first, second] = [&files[0], &files[1]].map(read_file);
    let sequence =
        |of: &Result<(Contents, u64), JournalError>| of.as_ref().map_or(0, |it| it.0.sequence);
    let current = usize::from(sequence(&second) > sequence(&first));
    let (contents, end) = match (first, second) {
        (Err(JournalError::Empty), second) => second?,
        (first, Err(JournalError::Empty)) => first?,
        (first, second) => {
            if current == 0 {
                first?
            } else {
                second?
            }
        }
    };
    let mut journal = Journal::on(files, current, contents.sequence);
    journal.end = end;
    Ok((contents, journal))
}

fn read_file(file: &File) -> Result<(Contents, u64), JournalError> {
    let mut file = file;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// What a file holds, and where it ends.
fn parse(bytes: &[u8]) -> Result<(Contents, u64), JournalError> {
    let mut at = 0;
    let begin = next_body(bytes, &mut at)?.ok_or(JournalError::Empty)?;
    let text = next_body(bytes, &mut at)?.ok_or(JournalError::Empty)?;
    let Record::Begin { sequence } = parse_record(begin)? else { return Err(JournalError::Order) };
    let text = SnapshotText::of(text)?;
    let (snapshot, brain) = (text.snapshot()?, text.brain()?);
    let (mut records, mut is_valid) = (Vec::new(), false);
    while let Some(body) = next_body(bytes, &mut at)? {
        match parse_record(body)? {
            Record::Tried => return Err(JournalError::Tried),
            Record::Valid => is_valid = true,
            Record::Begin { .. } => return Err(JournalError::Order),
            record => records.push(record),
        }
    }
    let contents = Contents { sequence, snapshot, brain, records };
    if is_valid { Ok((contents, at as u64)) } else { Err(JournalError::Empty) }
}

fn parse_record(body: &[u8]) -> Result<Record, JournalError> {
    Ok(serde_json::from_slice(body).map_err(StateError::Parse)?)
}

/// The next record's body. `None`: there is none that is whole. Only the last one can be incomplete.
fn next_body<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, JournalError> {
    let rest = &bytes[*at..];
    let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    let number =
        |part: &[u8]| part.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let Some(body) = rest.get(..number(&head[..4]) as usize) else { return Ok(None) };
    if crc32fast::hash(body) != number(&head[4..]) {
        let is_last = rest.len() == body.len();
        return if is_last { Ok(None) } else { Err(JournalError::Checksum(*at)) };
    }
    *at += HEAD_BYTES + body.len();
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    fn begin(journal: &mut Journal) -> io::Result<()> {
        let (snapshot, brain) = snapshot();
        journal.begin_with(&snapshot, &brain)
    }

    fn record(number: u64) -> Record {
        Record::Stored { game: GameId(number), pid: 1 }
    }

    /// A journal with a snapshot and some records, and its files as the next daemon gets them.
    fn journal(records: u64) -> (Journal, [OwnedFd; 2]) {
        let mut journal = Journal::create().unwrap();
        begin(&mut journal).unwrap();
        (0..records).for_each(|number| journal.note(&record(number)));
        let copies = journal.files().each_ref().map(|file| file.try_clone().unwrap().into());
        (journal, copies)
    }

    fn numbers(contents: &Contents) -> Vec<u64> {
        let number = |record: &Record| match record {
            Record::Stored { game, .. } => game.0,
            other => panic!("unexpected {other:?}"),
        };
        contents.records.iter().map(number).collect()
    }

    #[test]
    fn a_journal_is_read_and_tried_once() {
        let (_, files) = journal(3);
        let again = files.each_ref().map(|file| file.try_clone().unwrap());
        let once_more = files.each_ref().map(|file| file.try_clone().unwrap());
        read(files).unwrap();
        let (contents, mut journal) = read(again).unwrap();
        assert_eq!((contents.sequence, numbers(&contents)), (1, vec![0, 1, 2]));
        journal.note(&Record::Tried);
        assert!(matches!(read(once_more), Err(JournalError::Tried)));
    }

    #[test]
    fn a_recovered_daemon_may_crash_again() {
        let (_, files) = journal(3);
        let again = files.each_ref().map(|file| file.try_clone().unwrap());
        let (_, mut journal) = read(files).unwrap();
        journal.note(&Record::Tried);
        begin(&mut journal).unwrap();
        journal.note(&record(9));
        let (contents, _) = read(again).unwrap();
        assert_eq!((contents.sequence, numbers(&contents)), (2, vec![9]));
    }

    #[test]
    fn a_snapshot_takes_over_with_the_records_written_meanwhile() {
        let (mut journal, files) = journal(3);
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (snapshot, brain) = snapshot();
        journal.begin_snapshot(snapshot, brain, waker).unwrap();
        journal.note(&record(7));
        while journal.pending.is_some() {
            journal.poll_snapshot().unwrap();
            std::thread::yield_now();
        }
        journal.note(&record(8));
        let (contents, _) = read(files).unwrap();
        assert_eq!((contents.sequence, numbers(&contents)), (2, vec![7, 8]));
    }

    /// A journal with a gap would be worse than one that ends.
    #[test]
    fn nothing_is_written_after_a_lost_record_until_there_is_a_snapshot() {
        let (whole, _) = journal(0);
        let [_, other] = whole.files;
        let full = File::open("/dev/null").unwrap();
        let copies = || [&full, &other].map(|file| file.try_clone().unwrap());
        let mut journal = Journal::on(copies(), 0, 5);
        assert!(!journal.is_long());
        journal.note(&record(1));
        assert!(journal.is_broken && journal.is_long());
        journal.rests_until = Some(Instant::now() + REST);
        assert!(!journal.is_long(), "it failed a moment ago");
        // It switches, and the old file cannot be emptied.
        begin(&mut journal).unwrap_err();
        journal.note(&record(2));
        let (contents, _) = read(copies().map(OwnedFd::from)).unwrap();
        assert_eq!((contents.sequence, numbers(&contents)), (6, vec![2]));
    }

    #[test]
    fn an_incomplete_last_record_is_ignored() {
        let (journal, _) = journal(3);
        let mut bytes = Vec::new();
        (&journal.files[journal.current]).rewind().unwrap();
        (&journal.files[journal.current]).read_to_end(&mut bytes).unwrap();
        let whole = bytes.len();
        for cut in 0..whole {
            match parse(&bytes[..cut]) {
                Ok((contents, end)) => {
                    assert!(numbers(&contents).len() < 3 && end <= cut as u64);
                }
                Err(JournalError::Empty) => {}
                Err(other) => panic!("cut at {cut}: {other}"),
            }
        }
        assert_eq!(parse(&bytes).unwrap().1, whole as u64);
    }

    /// Faults row 38: whatever is done to the bytes, nothing panics, and nothing that was not written is believed.
    #[test]
    fn damage_is_found() {
        let (journal, _) = journal(20);
        let mut bytes = Vec::new();
        (&journal.files[journal.current]).rewind().unwrap();
        (&journal.files[journal.current]).read_to_end(&mut bytes).unwrap();
        let mut state = 1_u64;
        let mut draw = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        };
        for _ in 0..2000 {
            let mut damaged = bytes.clone();
            for _ in 0..=draw(4) {
                let at = draw(damaged.len());
                damaged[at] = damaged[at].wrapping_add(1 + draw(255) as u8);
            }
            damaged.truncate(damaged.len() - draw(2) * draw(100));
            if let Ok((contents, _)) = parse(&damaged) {
                let numbers = numbers(&contents);
                assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?}");
            }
        }
        assert!(matches!(parse(b""), Err(JournalError::Empty)));
        assert!(matches!(parse(&[0; 4096]), Err(JournalError::State(StateError::Parse(_)))));
        assert!(parse(&[255; 4096]).is_err());
    }
}
