//! Coming back after a crash, and what is written down for it while all is well.
//!
//! What is left is replayed, under the configuration under which it was written: the brain comes to where it was, and
//! what it wants done on the way was done by the daemon that crashed, or is lost with it. It is believed if it holds
//! together and agrees with the games that were kept. Then it is fitted to the configuration, and hears what has become
//! of everything: all connections are lost, launches on order were interrupted, games play on or are gone. Whatever was
//! promised and not done is done again by its own deadlines.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use matchmaker::{Action, Event, Exit, GameFigures, GameId, Input};
use mio::Poll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::{Parts, Server, names};
use crate::clock::Instant;
use crate::config::Config;
use crate::games::keys::Doors;
use crate::games::launcher::{self, Launcher};
use crate::games::processes::{Games, Kind, Stored};
use crate::games::reports::Reports;
use crate::games::templates::Templates;
use crate::handoff::descriptors::FORMAT;
use crate::handoff::journal::{self, Damage, Found, Journal, NAMES, Played, Record, Snapshot};
use crate::operators::socket::AdminSocket;
use crate::players::connections::Clients;
use crate::players::listener::Listener;
use crate::signals::Signals;
use crate::store::{Given, Store};

/// How the names in the store begin under which games' descriptors are.
const GAME: &str = "game-";

/// What is left of a daemon that crashed.
pub(crate) struct Back {
    found: Found,
    journal: Journal,
    games: BTreeMap<GameId, Vec<OwnedFd>>,
}

/// A daemon that crashed, where it was then.
pub(crate) struct Revived {
    crashed: Crashed,
    journal: Journal,
    games: BTreeMap<GameId, Vec<OwnedFd>>,
    replayed: usize,
}

impl Back {
    /// Looks for what is left. Where it is of no use it is set aside, and its games are ended: nobody would know whose
    /// they are, or when their ports are free.
    pub(crate) fn find(given: &mut Given, store: &mut Store) -> Option<Self> {
        let files = NAMES.map(|name| given.claim(name).pop());
        let number = |name: &str| name.strip_prefix(GAME)?.parse().ok().map(GameId);
        let mut games: BTreeMap<GameId, Vec<OwnedFd>> = BTreeMap::new();
        for (name, descriptor) in given.claim_if(|name| number(name).is_some()) {
            games.entry(number(&name)?).or_default().push(descriptor);
        }
        let read = match files {
            [Some(first), Some(second)] => read([first, second]),
            _ => Err(Damage::Empty),
        };
        match read {
            Ok((found, journal)) => Some(Self { found, journal, games }),
            Err(damage) => {
                give_up(&damage, games, store);
                None
            }
        }
    }

    /// Brings the daemon back to where it was, and gives the modes of the configuration the places that they had there.
    /// It is tried once: who dies of it starts empty the next time. Where it cannot be believed, it is as with what is
    /// of no use.
    pub(crate) fn revive(self, config: &mut Config, store: &mut Store) -> Option<Revived> {
        let Self { found: Found { snapshot, records }, mut journal, games } = self;
        journal.note(&Record::Tried);
        let replayed = records.len();
        let believed =
            Crashed::replay(snapshot, records, config.reports.keep).and_then(|mut it| {
                it.hold_together(&games)?;
                it.fit(config)?;
                Ok(it)
            });
        match believed {
            Ok(crashed) => Some(Revived { crashed, journal, games, replayed }),
            Err(damage) => {
                set_aside(journal.files().each_ref().map(|it| it.try_clone().map(OwnedFd::from)));
                give_up(&damage, games, store);
                None
            }
        }
    }
}

/// Begins with nothing, and says why.
fn give_up(damage: &Damage, games: BTreeMap<GameId, Vec<OwnedFd>>, store: &mut Store) {
    if !matches!(damage, Damage::Empty) {
        log::error!("starting empty: what a daemon left that crashed is of no use: {damage}");
    }
    NAMES.iter().for_each(|name| forget(store, name));
    for (game, descriptors) in games {
        log::warn!("game {game} is ended: nothing is known of it any more");
        end_unknown(game, descriptors, store);
    }
}

/// Reads what is left. What is of no use is written into a file.
fn read(files: [OwnedFd; 2]) -> Result<(Found, Journal), Damage> {
    let copies = files.each_ref().map(OwnedFd::try_clone);
    let read = journal::read(files);
    if read.as_ref().is_err_and(|damage| !matches!(damage, Damage::Empty)) {
        set_aside(copies);
    }
    read
}

fn set_aside(copies: [io::Result<OwnedFd>; 2]) {
    for copy in copies.into_iter().flatten() {
        match journal::set_aside(copy) {
            Ok(path) => log::error!("it is set aside in {}", path.display()),
            Err(error) => log::error!("it cannot be set aside: {error}"),
        }
    }
}

/// Whether a game's process lives, by its pidfd; pidfd_open(2).
fn is_alive(stored: &[OwnedFd]) -> bool {
    let is_process = |it: &&OwnedFd| Kind::of(it) == Kind::Process;
    let lives = |process: &OwnedFd| {
        let now = Timespec::default();
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(0)
    };
    stored.iter().find(is_process).is_some_and(lives)
}

/// Ends a game that the brain does not know.
fn end_unknown(game: GameId, descriptors: Vec<OwnedFd>, store: &mut Store) {
    if let Some(process) = Stored::of(descriptors).process {
        // ESRCH: it has ended.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    forget(store, &name_of(game));
}

fn forget(store: &mut Store, name: &str) {
    if let Err(error) = store.remove(name) {
        log::warn!("cannot remove {name} from the store: {error}");
    }
}

fn name_of(game: GameId) -> String {
    format!("{GAME}{game}")
}

impl Server {
    /// Goes on where a daemon crashed.
    ///
    /// # Errors
    /// When the loop cannot be set up.
    pub(crate) fn recover(
        mut config: Config,
        signals: Signals,
        store: Store,
        listener: Listener,
        mut admin: Option<AdminSocket>,
        revived: Revived,
    ) -> io::Result<Self> {
        let Revived { crashed, journal, games: mut left, replayed } = revived;
        // A name service that is not there now costs no game.
        names::keep_resolved(&mut config, crashed.snapshot.resolved);
        let poll = Poll::new()?;
        if let Some(admin) = &mut admin {
            admin.register(poll.registry())?;
        }
        let rate = config.limits.output_lines_per_second;
        let mut games = Games::default();
        for played in crashed.games.values() {
            if let Some(descriptors) = left.remove(&played.game) {
                games.adopt(played, descriptors, poll.registry(), rate);
            }
        }
        let known: Vec<(GameId, bool)> = crashed.snapshot.brain.games().collect();
        // One whose process is there was not heard of yet.
        let is_lost = |game, has_process: bool| !has_process && games.get(game).is_none();
        let lost = known.iter().filter(|(game, has_process)| is_lost(*game, *has_process));
        let lost = lost.map(|(game, _)| *game);
        let launcher = launcher::Saved::after_a_crash(crashed.snapshot.place.clone(), lost);
        let stop_was_asked = crashed.snapshot.stop_was_asked;
        let parts = Parts {
            poll,
            clients: Clients::after(&crashed.snapshot.brain.connections()),
            brain: crashed.snapshot.brain,
            doors: Doors::restore(crashed.snapshot.doors, config.ports.public_addresses()),
            launcher: Launcher::resume(&config, launcher),
            listener,
            admin,
            store,
            reports: crashed.reports,
            templates: Templates::default(),
            started: crashed.snapshot.started,
            games,
        };
        let mut server = Self::assemble(config, signals, parts)?;
        server.journal = Some(journal);
        server.stop_was_asked = stop_was_asked;
        for (game, descriptors) in left {
            end_unknown(game, descriptors, &mut server.store);
        }
        server.tell_what_became(&known);
        // From here on what is left is not what was tried.
        server.cut_journal_off()?;
        let (games, totals) = (server.games.living_count(), server.brain.totals());
        match crashed.has_handed_over {
            true => log::info!("taken over from the daemon before games={games}"),
            false => {
                log::warn!(
                    "back after a crash games={games} replayed={replayed} joined={} assigned={} left={} \
                     expired={} timed_out={} evicted={} refused={}",
                    totals.joined,
                    totals.assigned,
                    totals.left,
                    totals.expired,
                    totals.timed_out,
                    totals.evicted,
                    totals.refused
                );
            }
        }
        Ok(server)
    }

    /// Tells the brain what it cannot know.
    fn tell_what_became(&mut self, known: &[(GameId, bool)]) {
        for connection in self.brain.connections() {
            self.inputs.push_back(Input::Lost { connection });
        }
        self.settle();
        for &(game, has_process) in known {
            match self.games.get(game).map(|it| it.mode) {
                None if has_process => {
                    log::error!("game {game} was not handed over; its match is taken for over");
                    self.tell_brain(Input::GameExited { game, exit: Exit::Unknown });
                }
                // The daemon died before the brain could hear of it.
                Some(mode) if !has_process => self.tell_launched(game, mode),
                None | Some(_) => {}
            }
        }
    }

    /// Writes a snapshot at once, in place of all before it.
    pub(super) fn cut_journal_off(&mut self) -> io::Result<()> {
        let Some(sequence) = self.journal.as_ref().map(Journal::next_sequence) else {
            return Ok(());
        };
        let snapshot = self.written_down(sequence);
        self.journal.as_mut().map_or(Ok(()), |journal| journal.begin_with(&snapshot))
    }

    // ---- While all is well ----

    /// Begins to write down what happens, where somebody holds it.
    pub(crate) fn begin_journal(&mut self) {
        if !self.store.is_there() || !self.config.crash_safe {
            return;
        }
        if let Err(error) = self.try_to_begin_journal() {
            log::error!(
                "cannot write down what happens: {error}; after a crash nobody will have a place"
            );
        }
    }

    fn try_to_begin_journal(&mut self) -> io::Result<()> {
        let mut journal = Journal::create()?;
        journal.begin_with(&self.written_down(journal.next_sequence()))?;
        for (name, file) in NAMES.iter().zip(journal.files()) {
            self.store.put(name, &[file.as_fd()])?;
        }
        self.journal = Some(journal);
        Ok(())
    }

    /// All is over in good order: there is nothing to come back to.
    pub(super) fn end_journal(&mut self) {
        if self.journal.take().is_some() {
            NAMES.iter().for_each(|name| forget(&mut self.store, name));
        }
    }

    pub(super) fn written_down(&self, sequence: u64) -> Snapshot {
        Snapshot {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sequence,
            started: self.started,
            brain: self.brain.clone(),
            places: Some(self.config.places()),
            stop_was_asked: self.stop_was_asked,
            games: self.games.played(),
            doors: self.doors.save(),
            place: self.launcher.place().to_owned(),
            reports: self.reports.save(),
            resolved: self.resolved(),
        }
    }

    /// Cuts the journal off where it is long.
    pub(super) fn look_after_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let looked = journal.look_after();
        let begun = match journal.is_long() {
            false => Ok(()),
            true => {
                let sequence = journal.next_sequence();
                let snapshot = self.written_down(sequence);
                let waker = Arc::clone(&self.waker);
                self.journal.as_mut().map_or(Ok(()), |it| it.begin_snapshot(snapshot, waker))
            }
        };
        if let Err(error) = looked.and(begun) {
            log::error!("cannot write a snapshot: {error}; trying again");
        }
    }

    /// The brain is about to be told something; `None`: that time has passed.
    pub(super) fn note_input(&mut self, input: Option<&Input>) {
        let at = self.brain_now();
        let Some(journal) = &mut self.journal else { return };
        match input {
            Some(input) => journal.note_input(at, input),
            None => journal.note(&Record::Passed { at }),
        }
    }

    /// A game's process exists: what it is known by outlives this process from here on.
    pub(super) fn store_game(&mut self, id: GameId) {
        let (Some(journal), Some(game)) = (&mut self.journal, self.games.get(id)) else { return };
        // One that has died already is reaped in a moment.
        let Some(process) = game.process() else { return };
        let mut descriptors = vec![process.as_fd()];
        descriptors.extend(game.control.descriptor());
        descriptors.extend(game.output.descriptor());
        let stored = self.store.put(&name_of(id), &descriptors);
        journal.note(&Record::Stored(game.played(id)));
        if let Err(error) = stored {
            log::warn!("cannot store game {id}: {error}; a crash will end it");
        }
    }

    /// Nothing of a game is left.
    pub(super) fn forget_stored_game(&mut self, game: GameId) {
        if let Some(journal) = &mut self.journal {
            journal.note(&Record::Gone { game });
            forget(&mut self.store, &name_of(game));
        }
    }

    /// Somebody wants the daemon to end, and no operator may take that back.
    pub(super) fn note_stop_asked(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.note(&Record::StopAsked);
        }
    }

    /// The next daemon is to go on from here.
    pub(super) fn note_handover(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.note(&Record::HandedOver);
        }
    }

    /// Modes and programs are about to have these places.
    pub(super) fn note_places(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.note(&Record::Places(Box::new(self.config.places())));
        }
    }

    /// The addresses of the public name are others.
    pub(super) fn note_resolved(&mut self) {
        if let (Some(resolved), Some(journal)) = (self.resolved(), &mut self.journal) {
            journal.note(&Record::Resolved(resolved));
        }
    }

    /// A game's door has changed.
    pub(super) fn note_door(&mut self, game: GameId) {
        if let (Some(journal), Some(door)) = (&mut self.journal, self.doors.get(game)) {
            journal.note(&Record::Door { game, door: door.clone() });
        }
    }
}

/// A daemon as it was when it crashed, as far as it can be known.
struct Crashed {
    snapshot: Snapshot,
    games: BTreeMap<GameId, Played>,
    reports: Reports,
    /// Whether it ended of its own will.
    has_handed_over: bool,
}

impl Crashed {
    fn replay(
        mut snapshot: Snapshot,
        records: Vec<Record>,
        reports_kept: usize,
    ) -> Result<Self, Damage> {
        check_times(&snapshot, &records)?;
        let games = snapshot.games.drain(..).map(|played| (played.game, played)).collect();
        let reports = std::mem::take(&mut snapshot.reports);
        let reports = Reports::restore(reports, reports_kept);
        let mut this = Self { snapshot, games, reports, has_handed_over: false };
        records.into_iter().for_each(|record| this.follow(record));
        Ok(this)
    }

    /// Whether the brain is whole, and of one mind with the games that were kept.
    fn hold_together(&self, kept: &BTreeMap<GameId, Vec<OwnedFd>>) -> Result<(), Damage> {
        let brain = &self.snapshot.brain;
        brain.check_invariants().map_err(|violation| Damage::Diverged(violation.to_string()))?;
        let known: BTreeMap<GameId, GameFigures> =
            brain.games_figures().map(|game| (game.game, game)).collect();
        for played in self.games.values() {
            let game = played.game;
            let agrees = match known.get(&game) {
                Some(known) => (known.mode, known.port) == (played.mode, played.port),
                // It was over, and the daemon died before it noted that nothing is left of it.
                None => !kept.get(&game).is_some_and(|stored| is_alive(stored)),
            };
            if !agrees {
                return Err(Damage::Diverged(format!("game {game} is another than was played")));
            }
        }
        Ok(())
    }

    fn fit(&mut self, config: &mut Config) -> Result<(), Damage> {
        let mut placed = config.clone();
        if let Some(places) = &self.snapshot.places {
            placed.keep_places(places).map_err(Damage::Places)?;
        }
        let brain = &mut self.snapshot.brain;
        let ring = &brain.config().ports;
        if placed.ports.range != *ring {
            let (first, last) = (ring.start(), ring.end());
            log::error!(
                "going on with ports.range = \"{first}-{last}\": another one takes a stop and a start"
            );
            placed.ports.range = ring.clone();
        }
        let for_brain = placed.for_brain();
        let fits = brain.may_reconfigure(&for_brain);
        fits.map_err(|unchangeable| Damage::Config(unchangeable.0))?;
        // What it wants done for that is done once all is there.
        brain.handle(brain.now(), Input::Reconfigure(Box::new(for_brain)));
        *config = placed;
        let whole = self.snapshot.brain.check_invariants();
        whole.map_err(|violation| Damage::Diverged(violation.to_string()))
    }

    fn follow(&mut self, record: Record) {
        let brain = &mut self.snapshot.brain;
        match record {
            Record::Told { at, input } => {
                brain.handle(at, input);
                self.follow_actions(at);
            }
            Record::Passed { at } => {
                brain.handle_timeout(at);
                self.follow_actions(at);
            }
            Record::Stored(played) => drop(self.games.insert(played.game, played)),
            Record::Gone { game } => drop(self.games.remove(&game)),
            Record::HandedOver => self.has_handed_over = true,
            Record::StopAsked => self.snapshot.stop_was_asked = true,
            Record::Places(places) => self.snapshot.places = Some(*places),
            Record::Door { game, door } => drop(self.snapshot.doors.insert(game, door)),
            Record::Resolved(resolved) => self.snapshot.resolved = Some(resolved),
            Record::Valid | Record::Tried => {}
        }
    }

    /// What was done then is not done again; only what was remembered of it is.
    fn follow_actions(&mut self, at: Duration) {
        let now = self.snapshot.started + at;
        while let Some(action) = self.snapshot.brain.poll_action() {
            match &action {
                Action::Start { game, match_id, .. } => {
                    if let Some(played) = self.games.get_mut(game) {
                        played.match_id = Some(*match_id);
                    }
                }
                Action::Report(Event::GameEnded { game, .. }) => {
                    self.reports.forget(*game);
                    self.snapshot.doors.remove(game);
                }
                _ => {}
            }
            self.reports.follow(&action, now);
        }
    }
}

/// Whether the brain's time goes on from record to record, and has not gone on to what is still to come.
fn check_times(snapshot: &Snapshot, records: &[Record]) -> Result<(), Damage> {
    let mut last = snapshot.brain.now();
    for record in records {
        if let Record::Told { at, .. } | Record::Passed { at } = record {
            if *at < last {
                return Err(Damage::Time);
            }
            last = *at;
        }
    }
    match snapshot.started + last > Instant::now() {
        true => Err(Damage::Time),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use matchmaker::Matchmaker;

    use super::*;

    /// A daemon that was told so much.
    fn crashed_after(records: Vec<Record>) -> Crashed {
        replayed(records).unwrap()
    }

    fn replayed(records: Vec<Record>) -> Result<Crashed, Damage> {
        let config = Config::default_config();
        let snapshot = Snapshot {
            format: FORMAT,
            version: "of tomorrow".to_owned(),
            sequence: 1,
            started: crate::clock::Instant::now(),
            brain: Matchmaker::new(config.for_brain()),
            places: None,
            stop_was_asked: false,
            games: Vec::new(),
            doors: crate::games::keys::Saved::new(),
            place: "/nowhere".into(),
            reports: crate::games::reports::Saved::default(),
            resolved: None,
        };
        Crashed::replay(snapshot, records, 0)
    }

    /// A daemon whose brain has ordered a game, and that game as it was kept.
    fn crashed() -> (Crashed, Played) {
        let crashed = crashed_after(vec![Record::Passed { at: Duration::ZERO }]);
        let game = crashed.snapshot.brain.games_figures().next().unwrap();
        let played = Played {
            game: game.game,
            pid: 0,
            mode: game.mode,
            program: None,
            port: game.port,
            match_id: None,
        };
        (crashed, played)
    }

    #[test]
    fn a_time_to_come_and_one_that_goes_back_are_refused() {
        let passed = |seconds| Record::Passed { at: Duration::from_secs(seconds) };
        assert!(replayed(vec![passed(0), passed(0)]).is_ok());
        for records in [vec![passed(3600)], vec![passed(u64::MAX)], vec![passed(1), passed(0)]] {
            assert!(matches!(replayed(records), Err(Damage::Time)));
        }
    }

    #[test]
    fn one_that_crashed_before_its_first_turn_goes_on() {
        let mut crashed = crashed_after(Vec::new());
        crashed.hold_together(&BTreeMap::new()).unwrap();
        crashed.fit(&mut Config::default_config()).unwrap();
    }

    #[test]
    fn what_was_replayed_is_held_against_the_games_that_were_kept() {
        let holds = |played: Played, kept: &BTreeMap<GameId, Vec<OwnedFd>>| {
            let (mut crashed, _) = crashed();
            crashed.games.insert(played.game, played);
            crashed.hold_together(kept).is_ok()
        };
        let (_, played) = crashed();
        let nothing = BTreeMap::new();
        assert!(holds(played, &nothing));
        assert!(!holds(Played { port: played.port + 1, ..played }, &nothing));
        let unknown = Played { game: GameId(1000), ..played };
        assert!(holds(unknown, &nothing), "it was over");
        let own = i32::try_from(std::process::id()).unwrap();
        let living = process::Pidfd::open(own).unwrap();
        assert!(!holds(unknown, &BTreeMap::from([(unknown.game, vec![living.into()])])));
    }
}
