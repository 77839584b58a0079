//! Handing the daemon over to another process: snapshot, journal, upgrade in place and recovery after a crash.
//!
//! The brain is pure, so what it is can be written whole. The journal holds a [`snapshot`] and the inputs since, beside
//! the process, so that a daemon that crashed is [recovered](recovery). At an [upgrade] in place the same process
//! executes another program: its pid, its children and its descriptors stay, and the snapshot tells the new program
//! what they are. Before that the new program reads a copy as a child, and says whether it can continue with it:
//! [`preflight`]. Then [`exec`] is the point of no return.
//!
//! [`descriptors`] is the leaf that all parts of a snapshot use; [`snapshot`] is the top that knows all of them.

pub(crate) mod descriptors;
pub(crate) mod exec;
pub(crate) mod journal;
pub(crate) mod preflight;
pub(crate) mod recovery;
pub(crate) mod snapshot;
pub(crate) mod text;
pub(crate) mod upgrade;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use brain::{Brain, GameId, Input};
use mio::Waker;

use self::journal::{Journal, NAMES, Record, SavedJournal};
use self::preflight::Preflight;
use self::snapshot::Snapshot;
use self::upgrade::DueUpgrade;
use crate::store::Store;

/// The state that is handed over, and where it is kept until then.
pub(crate) struct Handoff {
    store: Store,
    /// Where a service manager or a keeper holds it.
    journal: Option<Journal>,
    /// A program that is tried out.
    preflight: Option<Preflight>,
    /// A program that has passed, and takes over after this turn.
    due: Option<DueUpgrade>,
    waker: Arc<Waker>,
    stop_was_asked: bool,
}

impl Handoff {
    pub(crate) fn new(store: Store, waker: Arc<Waker>) -> Self {
        Self { store, journal: None, preflight: None, due: None, waker, stop_was_asked: false }
    }

    /// Takes over from a daemon before this one.
    #[must_use]
    pub(crate) fn with(self, journal: Option<Journal>, stop_was_asked: bool) -> Self {
        Self { journal, stop_was_asked, ..self }
    }

    /// The service manager's descriptor store.
    pub(crate) fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Whether the store has room for fewer descriptors than a ring of so many ports takes: for how many.
    pub(crate) fn is_short_for(&self, ports: usize) -> Option<usize> {
        self.store.is_short_for(ports)
    }

    /// Whether something waits to be sent to the store.
    pub(crate) fn has_unsent(&self) -> bool {
        self.store.has_unsent()
    }

    // ---- The journal ----

    /// Begins a journal, where the store is there to hold it.
    pub(crate) fn begin_journal(&mut self, snapshot: &Snapshot, brain: &Brain) {
        if !self.store.is_there() {
            return;
        }
        if let Err(error) = self.try_to_begin_journal(snapshot, brain) {
            log::error!(
                "cannot begin the journal: {error}; crash recovery is disabled: queue positions will not survive a crash"
            );
        }
    }

    fn try_to_begin_journal(&mut self, snapshot: &Snapshot, brain: &Brain) -> io::Result<()> {
        let mut journal = Journal::create()?;
        journal.begin_with(snapshot, brain)?;
        for (name, file) in NAMES.iter().zip(journal.files()) {
            self.store.put(name, &[file.as_fd()])?;
        }
        self.journal = Some(journal);
        Ok(())
    }

    /// Writes a snapshot at once, in place of all that the journal holds.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn compact_journal(&mut self, snapshot: &Snapshot, brain: &Brain) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.begin_with(snapshot, brain))
    }

    /// Removes the journal: the daemon ends in good order, and there is nothing to recover.
    pub(crate) fn end_journal(&mut self) {
        if self.journal.take().is_some() {
            NAMES.iter().for_each(|name| recovery::forget(&mut self.store, name));
        }
    }

    /// Switches to a snapshot that was written. Whether it is time for another one.
    pub(crate) fn poll_journal(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        if let Err(error) = journal.poll_snapshot() {
            log::error!("cannot write a snapshot: {error}; trying again");
        }
        journal.is_long()
    }

    /// Has a thread write a snapshot.
    pub(crate) fn begin_snapshot(&mut self, snapshot: Snapshot, brain: Brain) {
        let Some(journal) = &mut self.journal else { return };
        if let Err(error) = journal.begin_snapshot(snapshot, brain, Arc::clone(&self.waker)) {
            log::error!("cannot write a snapshot: {error}; trying again");
        }
    }

    /// Notes that the brain is about to handle an input; `None`: it is called because time has passed.
    pub(crate) fn note_input(&mut self, at: Duration, input: Option<&Input>) {
        let Some(journal) = &mut self.journal else { return };
        match input {
            Some(input) => journal.note_input(at, input),
            None => journal.note(&Record::Time { at }),
        }
    }

    /// Notes something else, where there is a journal.
    pub(crate) fn note(&mut self, record: impl FnOnce() -> Record) {
        if let Some(journal) = &mut self.journal {
            journal.note(&record());
        }
    }

    /// A game's process exists: its descriptors outlive this process from here on.
    pub(crate) fn store_game(&mut self, game: GameId, pid: i32, descriptors: &[BorrowedFd<'_>]) {
        let Some(journal) = &mut self.journal else { return };
        let stored = self.store.put(&recovery::name_of(game), descriptors);
        journal.note(&Record::Stored { game, pid });
        if let Err(error) = stored {
            log::warn!("cannot store game {game}: {error}; a crash will end it");
        }
    }

    /// Nothing of a game is left.
    pub(crate) fn forget_game(&mut self, game: GameId) {
        if self.journal.is_some() {
            recovery::forget(&mut self.store, &recovery::name_of(game));
        }
    }

    pub(crate) fn save_journal(
        &self,
        kept: &mut descriptors::InheritedFds,
    ) -> Option<SavedJournal> {
        self.journal.as_ref().map(|journal| journal.save(kept))
    }

    // ---- Stopping ----

    /// Whether a signal told the daemon to stop, which no operator can take back.
    pub(crate) fn stop_was_asked(&self) -> bool {
        self.stop_was_asked
    }

    /// A signal tells the daemon to stop.
    pub(crate) fn note_stop_asked(&mut self) {
        self.stop_was_asked = true;
        self.note(|| Record::StopAsked);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::descriptors::FORMAT;
    use super::snapshot::Durable;
    use super::*;
    use crate::clock::Instant;
    use crate::config::Config;
    use crate::games::record::GameRecords;
    use crate::games::reports::SavedReports;

    /// The snapshot of a new daemon, and its brain.
    pub(crate) fn snapshot() -> (Snapshot, Brain) {
        let config = Config::default_config();
        let durable = Durable {
            started: Instant::now(),
            places: config.places(),
            stop_was_asked: false,
            games: GameRecords::default(),
            reports: SavedReports::default(),
            work_directory: "/nowhere".into(),
            resolved: None,
        };
        let snapshot = Snapshot { format: FORMAT, version: "test".to_owned(), durable, live: None };
        (snapshot, Brain::new(config.for_brain()))
    }
}
