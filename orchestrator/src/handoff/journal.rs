//! What outlives a crash: a snapshot of the daemon, and then everything that the brain is told, before it acts on it.
//!
//! The brain is pure and deterministic, so a snapshot and the inputs since are its state. They stand in memory files
//! that the service manager (or the keeper) holds beside this process, with the games' descriptors; nothing is written to
//! a disk. There are two files, and they take turns: while a snapshot is written into one, by a thread of its own,
//! the other goes on; what came meanwhile is carried over, and a mark says that from here on the one is right.
//!
//! A record is its length, a checksum and JSON. One write makes one record, so a process that is killed leaves a last
//! record that is whole, or that its checksum gives away; its actions were not performed then.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use matchmaker::{GameId, Input, MatchId, Matchmaker, ModeId};
use mio::Waker;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::descriptors::{FORMAT, InheritedFds, StateError, take, without_values};
use super::snapshot::Head;
use crate::clock::{Instant, NOT_YET};
use crate::config::Places;
use crate::games::{keys, reports};
use crate::lookup::Resolved;

/// The files' names in the store.
pub(crate) const NAMES: [&str; 2] = ["state-0", "state-1"];

/// A journal is not cut off before it has so many bytes; else when it is twice as long as the snapshot.
const JOURNAL_MIN: u64 = 1024 * 1024;

/// The shortest time between two snapshots that were begun: one may have failed.
const REST: Duration = Duration::from_secs(1);

/// Length and checksum.
const HEAD_BYTES: usize = 8;

/// The daemon as it is written down against a crash.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) format: u32,
    pub(crate) version: String,
    /// Of two snapshots the later one has the higher number.
    pub(crate) sequence: u64,
    pub(crate) started: Instant,
    pub(crate) brain: Matchmaker,
    /// `None`: those of the configuration.
    #[serde(default)]
    pub(crate) places: Option<Places>,
    /// Whether a signal told the daemon to stop.
    #[serde(default)]
    pub(crate) stop_was_asked: bool,
    pub(crate) games: Vec<Played>,
    pub(crate) doors: keys::Saved,
    /// Where the games work.
    pub(crate) place: PathBuf,
    pub(crate) reports: reports::Saved,
    /// The addresses of the public name.
    #[serde(default)]
    pub(crate) resolved: Option<Resolved>,
}

/// A game's process whose descriptors are in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Played {
    pub(crate) game: GameId,
    pub(crate) pid: i32,
    pub(crate) mode: ModeId,
    /// The place of what it runs; `None`: that of its mode.
    #[serde(default)]
    pub(crate) program: Option<usize>,
    pub(crate) port: u16,
    pub(crate) match_id: Option<MatchId>,
}

/// Something that happened since the snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The brain is told something.
    Told { at: Duration, input: Input },
    /// The brain is told that time has passed.
    Passed { at: Duration },
    /// A game's descriptors went into the store.
    Stored(Played),
    /// Nothing of a game is left.
    Gone { game: GameId },
    /// A game that speaks netcode got its key, or gave a token.
    Door { game: GameId, door: keys::Door },
    /// A signal told the daemon to stop.
    StopAsked,
    /// The daemon has ended for the next one to go on.
    HandedOver,
    /// Modes and programs have these places from here on.
    Places(Box<Places>),
    /// The public name has these addresses.
    Resolved(Resolved),
    /// What stands above is to be gone by from here on.
    Valid,
    /// Somebody tries to go on with this.
    Tried,
}

/// The files as they are written down for an upgrade in place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    files: [RawFd; 2],
    current: usize,
    sequence: u64,
}

/// [`Record::Told`], of an input that is still needed.
#[derive(Serialize)]
enum Telling<'a> {
    Told { at: Duration, input: &'a Input },
}

/// Why there is nothing to go on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is damaged at byte {0}")]
    Checksum(usize),
    #[error("it is not understood: {}", without_values(.0))]
    Parse(#[from] serde_json::Error),
    #[error("it has format {0}, and this version reads {FORMAT}")]
    Format(u32),
    #[error("it holds no whole snapshot")]
    Empty,
    #[error("it goes on to {NOT_YET}, or goes back in time")]
    Time,
    #[error("the configuration has {0}")]
    Places(String),
    #[error("the configuration has changed {0}")]
    Config(&'static str),
    #[error("what was replayed of it does not hold together: {0}")]
    Diverged(String),
    #[error("the daemon died when it last tried to go on with it")]
    Tried,
}

/// What is left of a daemon that crashed.
pub(crate) struct Found {
    pub(crate) snapshot: Snapshot,
    pub(crate) records: Vec<Record>,
}

/// Where it is written.
pub(crate) struct Journal {
    files: [File; 2],
    /// Which of them is right.
    current: usize,
    end: u64,
    sequence: u64,
    snapshot_bytes: u64,
    /// A snapshot is being written into the other file.
    coming: Option<Coming>,
    /// Whether something is missing in the file: nothing more is written until a snapshot took over.
    is_broken: bool,
    /// No snapshot is begun before.
    rests_until: Option<Instant>,
    scratch: Vec<u8>,
}

struct Coming {
    written: Receiver<io::Result<u64>>,
    carried: Vec<u8>,
}

impl Journal {
    /// Two new files, without anything in them.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub(crate) fn create() -> io::Result<Self> {
        let file = |name| Ok::<_, io::Error>(memfd_create(name, MemfdFlags::CLOEXEC)?.into());
        Ok(Self::on([file("muster-state-0")?, file("muster-state-1")?], 0, 0))
    }

    /// Goes on with files of which one may be right; the next snapshot goes into the other.
    pub(crate) fn on(files: [File; 2], current: usize, sequence: u64) -> Self {
        Self {
            files,
            current,
            end: 0,
            sequence,
            snapshot_bytes: 0,
            coming: None,
            is_broken: false,
            rests_until: None,
            scratch: Vec::new(),
        }
    }

    /// What is to be known of it, for the program that goes on with it.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> Saved {
        let files = self.files.each_ref().map(|file| kept.keep(file));
        Saved { files, current: self.current, sequence: self.sequence }
    }

    /// Goes on with the files of the program before this one; a snapshot is to come first.
    ///
    /// # Errors
    /// When a file is not there.
    pub(crate) fn restore(saved: &Saved) -> Result<Self, StateError> {
        let [first, second] = saved.files.map(|number| take(number, "the journal"));
        let files = [first?.into(), second?.into()];
        Ok(Self::on(files, saved.current.min(1), saved.sequence))
    }

    pub(crate) fn files(&self) -> &[File; 2] {
        &self.files
    }

    /// The number of the next snapshot.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// Writes a snapshot, and is right from here on.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn begin_with(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let other = 1 - self.current;
        let bytes = write_snapshot(&self.files[other], snapshot)?;
        self.switch(bytes, Vec::new())
    }

    /// Writes down that the brain is about to be told something.
    pub(crate) fn note_input(&mut self, at: Duration, input: &Input) {
        self.write(&Telling::Told { at, input });
    }

    /// Writes down something else.
    pub(crate) fn note(&mut self, record: &Record) {
        self.write(record);
    }

    /// Whether it is time for another snapshot.
    pub(crate) fn is_long(&self) -> bool {
        let length = self.end - self.snapshot_bytes;
        let is_due = self.is_broken || length > JOURNAL_MIN.max(2 * self.snapshot_bytes);
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        is_due && self.coming.is_none() && !rests
    }

    /// Has a snapshot written by a thread, which wakes the loop when it is done.
    ///
    /// # Errors
    /// When there is no thread, or no descriptor. It is not time for another try before [`REST`] is over.
    pub(crate) fn begin_snapshot(
        &mut self,
        snapshot: Snapshot,
        waker: Arc<Waker>,
    ) -> io::Result<()> {
        self.rests_until = Some(Instant::now() + REST);
        let file = self.files[1 - self.current].try_clone()?;
        let (tell, written) = mpsc::channel();
        std::thread::Builder::new().name("snapshot".into()).spawn(move || {
            // The loop is there for as long as the process is.
            let _ = tell.send(write_snapshot(&file, &snapshot));
            let _ = waker.wake();
        })?;
        self.coming = Some(Coming { written, carried: Vec::new() });
        Ok(())
    }

    /// Goes by a snapshot that is written, if there is one.
    ///
    /// # Errors
    /// When it could not be written; the journal goes on as it was.
    pub(crate) fn look_after(&mut self) -> io::Result<()> {
        let Some(coming) = &self.coming else { return Ok(()) };
        let Ok(written) = coming.written.try_recv() else { return Ok(()) };
        let carried = self.coming.take().map(|coming| coming.carried).unwrap_or_default();
        self.switch(written?, carried)
    }

    fn switch(&mut self, snapshot_bytes: u64, mut carried: Vec<u8>) -> io::Result<()> {
        let other = 1 - self.current;
        encode(&Record::Valid, &mut carried)?;
        self.files[other].write_all_at(&carried, snapshot_bytes)?;
        (self.current, self.snapshot_bytes, self.is_broken) = (other, snapshot_bytes, false);
        self.end = snapshot_bytes + carried.len() as u64;
        self.sequence += 1;
        // What is older is not to be gone by any more, whatever befalls this.
        self.files[1 - other].set_len(0)
    }

    fn write(&mut self, record: &impl Serialize) {
        self.scratch.clear();
        let encoded = encode(record, &mut self.scratch);
        // What comes takes over from before, whatever becomes of the file.
        if let Some(coming) = self.coming.as_mut().filter(|_| encoded.is_ok()) {
            coming.carried.extend_from_slice(&self.scratch);
        }
        if self.is_broken {
            return;
        }
        let file = &self.files[self.current];
        let written = encoded.and_then(|()| file.write_all_at(&self.scratch, self.end));
        match written {
            Ok(()) => self.end += self.scratch.len() as u64,
            Err(error) => {
                // Without memory for it the daemon can still serve; what it cannot is crash.
                log::error!("cannot write down what happens: {error}");
                self.is_broken = true;
            }
        }
    }
}

fn write_snapshot(file: &File, snapshot: &Snapshot) -> io::Result<u64> {
    let mut bytes = Vec::new();
    encode(snapshot, &mut bytes)?;
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)?;
    Ok(bytes.len() as u64)
}

fn encode(record: &impl Serialize, into: &mut Vec<u8>) -> io::Result<()> {
    let head = into.len();
    into.extend_from_slice(&[0; HEAD_BYTES]);
    serde_json::to_writer(&mut *into, record)?;
    let body = &into[head + HEAD_BYTES..];
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let checksum = crc32fast::hash(body);
    into[head..head + 4].copy_from_slice(&length.to_le_bytes());
    into[head + 4..head + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Copies what is of no use into a file, for whoever looks for the defect: where the service manager keeps the daemon's
/// state, if it does. It holds keys and tokens.
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

// ---- Coming back ----

/// Reads what is left in two files. With it comes the journal to go on with, in which [`Record::Tried`] is to be noted
/// before anything is made of it.
///
/// # Errors
/// [`Damage`] when there is nothing to go on with, and what was wrong with the better one.
pub(crate) fn read(files: [OwnedFd; 2]) -> Result<(Found, Journal), Damage> {
    let files = files.map(File::from);
    let [first, second] = [&files[0], &files[1]].map(read_file);
    let sequence =
        |of: &Result<(Found, u64), Damage>| of.as_ref().map_or(0, |it| it.0.snapshot.sequence);
    let current = usize::from(sequence(&second) > sequence(&first));
    let (found, end) = match (first, second) {
        (Err(Damage::Empty), second) => second?,
        (first, Err(Damage::Empty)) => first?,
        (first, second) => {
            if current == 0 {
                first?
            } else {
                second?
            }
        }
    };
    let mut journal = Journal::on(files, current, found.snapshot.sequence);
    journal.end = end;
    Ok((found, journal))
}

fn read_file(file: &File) -> Result<(Found, u64), Damage> {
    let mut file = file;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// What a file holds, and where it ends.
fn parse(bytes: &[u8]) -> Result<(Found, u64), Damage> {
    let mut at = 0;
    let snapshot = next_body(bytes, &mut at)?.ok_or(Damage::Empty)?;
    let head: Head = serde_json::from_slice(snapshot)?;
    if head.format > FORMAT {
        return Err(Damage::Format(head.format));
    }
    let snapshot = serde_json::from_slice(snapshot)?;
    let (mut records, mut is_valid) = (Vec::new(), false);
    while let Some(body) = next_body(bytes, &mut at)? {
        match serde_json::from_slice(body)? {
            Record::Tried => return Err(Damage::Tried),
            Record::Valid => is_valid = true,
            record => records.push(record),
        }
    }
    if is_valid { Ok((Found { snapshot, records }, at as u64)) } else { Err(Damage::Empty) }
}

/// The next record's body. `None`: there is none that is whole. Only the last one can be broken off.
fn next_body<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Damage> {
    let rest = &bytes[*at..];
    let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    let number =
        |part: &[u8]| part.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let Some(body) = rest.get(..number(&head[..4]) as usize) else { return Ok(None) };
    if crc32fast::hash(body) != number(&head[4..]) {
        let is_last = rest.len() == body.len();
        return if is_last { Ok(None) } else { Err(Damage::Checksum(*at)) };
    }
    *at += HEAD_BYTES + body.len();
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn snapshot(sequence: u64) -> Snapshot {
        Snapshot {
            format: FORMAT,
            version: "test".to_owned(),
            sequence,
            started: Instant::now(),
            brain: Matchmaker::new(Config::default_config().for_brain()),
            places: None,
            stop_was_asked: false,
            games: Vec::new(),
            doors: keys::Saved::new(),
            place: "/nowhere".into(),
            reports: reports::Saved::default(),
            resolved: None,
        }
    }

    /// A journal with a snapshot and some records, and the same files as whoever comes next has them.
    fn journal(records: u64) -> (Journal, [OwnedFd; 2]) {
        let mut journal = Journal::create().unwrap();
        journal.begin_with(&snapshot(journal.next_sequence())).unwrap();
        for game in 0..records {
            journal.note(&Record::Gone { game: GameId(game) });
        }
        let copies = journal.files().each_ref().map(|file| file.try_clone().unwrap().into());
        (journal, copies)
    }

    fn games(found: &Found) -> Vec<u64> {
        let game = |record: &Record| match record {
            Record::Gone { game } => game.0,
            other => panic!("nobody wrote {other:?}"),
        };
        found.records.iter().map(game).collect()
    }

    #[test]
    fn what_was_written_is_found_and_tried_once() {
        let (_, files) = journal(3);
        let again = files.each_ref().map(|file| file.try_clone().unwrap());
        let once_more = files.each_ref().map(|file| file.try_clone().unwrap());
        read(files).unwrap();
        let (found, mut journal) = read(again).unwrap();
        assert_eq!((found.snapshot.sequence, games(&found)), (1, vec![0, 1, 2]));
        journal.note(&Record::Tried);
        assert!(matches!(read(once_more), Err(Damage::Tried)));
    }

    #[test]
    fn who_went_on_may_crash_again() {
        let (_, files) = journal(3);
        let again = files.each_ref().map(|file| file.try_clone().unwrap());
        let (_, mut journal) = read(files).unwrap();
        journal.note(&Record::Tried);
        journal.begin_with(&snapshot(journal.next_sequence())).unwrap();
        journal.note(&Record::Gone { game: GameId(9) });
        let (found, _) = read(again).unwrap();
        assert_eq!((found.snapshot.sequence, games(&found)), (2, vec![9]));
    }

    #[test]
    fn a_snapshot_takes_over_with_what_came_meanwhile() {
        let (mut journal, files) = journal(3);
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        journal.begin_snapshot(snapshot(journal.next_sequence()), waker).unwrap();
        journal.note(&Record::Gone { game: GameId(7) });
        while journal.coming.is_some() {
            journal.look_after().unwrap();
            std::thread::yield_now();
        }
        journal.note(&Record::Gone { game: GameId(8) });
        let (found, _) = read(files).unwrap();
        assert_eq!((found.snapshot.sequence, games(&found)), (2, vec![7, 8]));
    }

    /// A gap would be worse than an end.
    #[test]
    fn after_a_record_that_could_not_be_written_none_is_until_there_is_a_snapshot() {
        let (whole, _) = journal(0);
        let [_, other] = whole.files;
        let full = File::open("/dev/null").unwrap();
        let copies = || [&full, &other].map(|file| file.try_clone().unwrap());
        let mut journal = Journal::on(copies(), 0, 5);
        assert!(!journal.is_long());
        journal.note(&Record::Gone { game: GameId(1) });
        assert!(journal.is_broken && journal.is_long());
        journal.rests_until = Some(Instant::now() + REST);
        assert!(!journal.is_long(), "it rests");
        // It switches, and says that this one cannot be emptied.
        journal.begin_with(&snapshot(journal.next_sequence())).unwrap_err();
        journal.note(&Record::Gone { game: GameId(2) });
        let (found, _) = read(copies().map(OwnedFd::from)).unwrap();
        assert_eq!((found.snapshot.sequence, games(&found)), (6, vec![2]));
    }

    #[test]
    fn a_record_that_was_broken_off_never_was() {
        let (journal, _) = journal(3);
        let mut bytes = Vec::new();
        (&journal.files[journal.current]).rewind().unwrap();
        (&journal.files[journal.current]).read_to_end(&mut bytes).unwrap();
        let whole = bytes.len();
        for cut in 0..whole {
            match parse(&bytes[..cut]) {
                Ok((found, end)) => {
                    assert!(games(&found).len() < 3 && end <= cut as u64);
                }
                Err(Damage::Empty) => {}
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
            if let Ok((found, _)) = parse(&damaged) {
                let games = games(&found);
                assert!(games.iter().copied().eq(0..games.len() as u64), "{games:?}");
            }
        }
        assert!(matches!(parse(b""), Err(Damage::Empty)));
        assert!(matches!(parse(&[0; 4096]), Err(Damage::Parse(_))));
        assert!(parse(&[255; 4096]).is_err());
    }
}
