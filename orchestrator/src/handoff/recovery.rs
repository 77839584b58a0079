//! Recovery after a crash: from the journal and the descriptors that the store held back to a daemon.
//!
//! The journal is replayed under the configuration under which it was written: the brain comes to where it was. Its actions
//! on the way were performed by the daemon that crashed, or are lost with it. The result is used if it is consistent in
//! itself and with the games that were stored. Then it gets the present configuration, and the loop reports the losses to
//! it: all connections are gone, launches on order were interrupted, games run or have ended. What was promised and not
//! done is done again by its own deadlines.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use brain::{Brain, GameFigures, GameId, Input};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::descriptors::StateError;
use super::journal::{self, Contents, Journal, JournalError, NAMES, Record};
use super::snapshot::{Durable, Snapshot};
use crate::clock::Instant;
use crate::config::Config;
use crate::games::processes::{Kind, Stored};
use crate::store::{Given, Store};

/// How the names in the store begin under which games' descriptors are.
const GAME: &str = "game-";

/// The descriptors of games, as the store gave them back.
pub(crate) type StoredGames = BTreeMap<GameId, Vec<OwnedFd>>;

/// What a daemon that crashed left in the store.
pub(crate) struct CrashState {
    contents: Contents,
    journal: Journal,
    games: StoredGames,
}

/// A daemon that crashed, as it was then.
pub(crate) struct Recovered {
    pub(crate) brain: Brain,
    pub(crate) durable: Durable,
    pub(crate) journal: Journal,
    pub(crate) games: StoredGames,
    /// How many records were replayed.
    pub(crate) replayed: usize,
    /// Whether it did not crash, but ended so that this one continues.
    pub(crate) has_handed_over: bool,
}

impl CrashState {
    /// Claims what is left of a daemon that crashed. What cannot be used is set aside, and its games are ended: their
    /// matches are unknown, and so is when their ports are free.
    pub(crate) fn find(given: &mut Given, store: &mut Store) -> Option<Self> {
        let files = NAMES.map(|name| given.claim(name).pop());
        let number = |name: &str| name.strip_prefix(GAME)?.parse().ok().map(GameId);
        let mut games = StoredGames::new();
        for (name, descriptor) in given.claim_if(|name| number(name).is_some()) {
            games.entry(number(&name)?).or_default().push(descriptor);
        }
        let read = match files {
            [Some(first), Some(second)] => read([first, second]),
            _ => Err(JournalError::Empty),
        };
        match read {
            Ok((contents, journal)) => Some(Self { contents, journal, games }),
            Err(error) => {
                give_up(&error, games, store);
                None
            }
        }
    }

    /// Replays the journal, and reconciles the result and the configuration. This is tried once: a daemon that dies of it
    /// starts empty the next time, as where the result is inconsistent.
    pub(crate) fn recover(self, config: &mut Config, store: &mut Store) -> Option<Recovered> {
        let Self { contents: Contents { snapshot, brain, records, .. }, mut journal, games } = self;
        journal.note(&Record::Tried);
        let replayed = records.len();
        let replay = Replay::run(snapshot, brain, records).and_then(|mut replay| {
            replay.validate(&games)?;
            replay.reconcile(config)?;
            Ok(replay)
        });
        match replay {
            Ok(Replay { brain, durable, has_handed_over }) => {
                Some(Recovered { brain, durable, journal, games, replayed, has_handed_over })
            }
            Err(error) => {
                set_aside(journal.files().each_ref().map(|it| it.try_clone().map(OwnedFd::from)));
                give_up(&error, games, store);
                None
            }
        }
    }
}

/// Ends the games of a journal that cannot be used.
fn give_up(error: &JournalError, games: StoredGames, store: &mut Store) {
    if !matches!(error, JournalError::Empty) {
        log::error!("discarding the crash state, starting empty: {error}");
    }
    NAMES.iter().for_each(|name| forget(store, name));
    for (game, descriptors) in games {
        log::warn!("killing game {game}: its match is unknown after the crash");
        end_unknown(game, descriptors, store);
    }
}

/// Reads the journal. One that cannot be used is copied into a file.
fn read(files: [OwnedFd; 2]) -> Result<(Contents, Journal), JournalError> {
    let copies = files.each_ref().map(OwnedFd::try_clone);
    let read = journal::read(files);
    if read.as_ref().is_err_and(|error| !matches!(error, JournalError::Empty)) {
        set_aside(copies);
    }
    read
}

fn set_aside(copies: [io::Result<OwnedFd>; 2]) {
    for copy in copies.into_iter().flatten() {
        match journal::set_aside(copy) {
            Ok(path) => log::error!("the crash state is set aside in {}", path.display()),
            Err(error) => log::error!("cannot set the crash state aside: {error}"),
        }
    }
}

/// Whether a game's process is alive, by its pidfd; pidfd_open(2).
fn is_alive(stored: &[OwnedFd]) -> bool {
    let is_process = |it: &&OwnedFd| Kind::of(it) == Kind::Process;
    let lives = |process: &OwnedFd| {
        let now = Timespec::default();
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(0)
    };
    stored.iter().find(is_process).is_some_and(lives)
}

/// Kills a game that the brain does not know.
pub(crate) fn end_unknown(game: GameId, descriptors: Vec<OwnedFd>, store: &mut Store) {
    if let Some(process) = Stored::of(descriptors).process {
        // ESRCH: it has ended.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    forget(store, &name_of(game));
}

/// Removes a name from the store.
pub(super) fn forget(store: &mut Store, name: &str) {
    if let Err(error) = store.remove(name) {
        log::warn!("cannot remove {name} from the store: {error}");
    }
}

/// The name in the store of a game's descriptors.
pub(super) fn name_of(game: GameId) -> String {
    format!("{GAME}{game}")
}

/// The replay of a journal.
struct Replay {
    brain: Brain,
    durable: Durable,
    has_handed_over: bool,
}

impl Replay {
    fn run(snapshot: Snapshot, brain: Brain, records: Vec<Record>) -> Result<Self, JournalError> {
        let durable = snapshot.durable;
        check_times(durable.started, brain.now(), &records)?;
        let mut this = Self { brain, durable, has_handed_over: false };
        records.into_iter().for_each(|record| this.follow(record));
        Ok(this)
    }

    fn follow(&mut self, record: Record) {
        match record {
            Record::Input { at, input } => {
                self.durable.games.follow_input(&input);
                self.brain.handle(at, input);
                self.follow_actions(at);
            }
            Record::Time { at } => {
                self.brain.handle_timeout(at);
                self.follow_actions(at);
            }
            Record::Stored { game, pid } => self.durable.games.set_pid(game, pid),
            Record::Keys { game, change } => self.durable.games.change_keys(game, change),
            Record::HandedOver => self.has_handed_over = true,
            Record::StopAsked => self.durable.stop_was_asked = true,
            Record::Places(places) => self.durable.places = *places,
            Record::Resolved(resolved) => self.durable.resolved = Some(resolved),
            Record::Begin { .. } | Record::Valid | Record::Tried => {}
        }
    }

    /// The actions were performed then, and are not again. The reports of games that ended meanwhile are lost.
    fn follow_actions(&mut self, at: Duration) {
        let now = self.durable.started + at;
        while let Some(action) = self.brain.poll_action() {
            let modes = &self.brain.config().modes;
            drop(self.durable.games.follow(&action, now, |mode| modes[mode.0].program));
        }
    }

    /// Checks the brain, and that it agrees with the games that were stored.
    fn validate(&self, stored: &StoredGames) -> Result<(), JournalError> {
        let consistent = self.brain.check_invariants();
        consistent.map_err(|violation| JournalError::Diverged(violation.to_string()))?;
        let known: BTreeMap<GameId, GameFigures> =
            self.brain.games_figures().map(|game| (game.game, game)).collect();
        for (game, record) in self.durable.games.from(GameId(0)) {
            let agrees = match known.get(&game) {
                Some(known) => (known.mode, known.port) == (record.mode, record.port),
                None => !stored.get(&game).is_some_and(|stored| is_alive(stored)),
            };
            if !agrees {
                return Err(JournalError::Diverged(format!("game {game} is not the one that ran")));
            }
        }
        Ok(())
    }

    fn reconcile(&mut self, config: &mut Config) -> Result<(), JournalError> {
        let mut placed = config.clone();
        placed.keep_places(&self.durable.places).map_err(StateError::Places)?;
        let ring = &self.brain.config().ports;
        if placed.ports.range != *ring {
            let (first, last) = (ring.start(), ring.end());
            log::error!(
                "going on with ports.range = \"{first}-{last}\": changing it requires a stop and a start"
            );
            placed.ports.range = ring.clone();
        }
        let for_brain = placed.for_brain();
        let fits = self.brain.may_reconfigure(&for_brain);
        fits.map_err(|unchangeable| StateError::Config(unchangeable.0))?;
        // The loop performs the actions that this leads to.
        self.brain.handle(self.brain.now(), Input::Reconfigure(Box::new(for_brain)));
        *config = placed;
        let consistent = self.brain.check_invariants();
        consistent.map_err(|violation| JournalError::Diverged(violation.to_string()))
    }
}

/// Checks that the brain's time does not go back from record to record, and is not in the future.
fn check_times(
    started: Instant,
    brain_now: Duration,
    records: &[Record],
) -> Result<(), JournalError> {
    let mut last = brain_now;
    for record in records {
        if let Record::Input { at, .. } | Record::Time { at } = record {
            if *at < last {
                return Err(JournalError::Time);
            }
            last = *at;
        }
    }
    match started + last > Instant::now() {
        true => Err(JournalError::Time),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use brain::{Action, GameAction, GameInput, LaunchFault, ModeId};

    use super::super::tests::snapshot;
    use super::*;
    use crate::games::keys::KeyChange;

    /// A daemon after these records.
    fn replayed(records: Vec<Record>) -> Result<Replay, JournalError> {
        let (snapshot, brain) = snapshot();
        Replay::run(snapshot, brain, records)
    }

    /// A daemon whose brain has ordered a game.
    fn with_a_game() -> (Replay, GameId) {
        let replay = replayed(vec![Record::Time { at: Duration::ZERO }]).unwrap();
        let (game, _) = replay.durable.games.from(GameId(0)).next().unwrap();
        (replay, game)
    }

    #[test]
    fn a_time_in_the_future_and_one_that_goes_back_are_refused() {
        let time = |seconds| Record::Time { at: Duration::from_secs(seconds) };
        assert!(replayed(vec![time(0), time(0)]).is_ok());
        for records in [vec![time(3600)], vec![time(u64::MAX)], vec![time(1), time(0)]] {
            assert!(matches!(replayed(records), Err(JournalError::Time)));
        }
    }

    #[test]
    fn a_daemon_that_crashed_before_its_first_turn_is_recovered() {
        let mut replay = replayed(Vec::new()).unwrap();
        replay.validate(&StoredGames::new()).unwrap();
        replay.reconcile(&mut Config::default_config()).unwrap();
    }

    #[test]
    fn a_replay_brings_back_a_games_record() {
        let (mut replay, game) = with_a_game();
        replay.follow(Record::Stored { game, pid: 99 });
        let token = KeyChange::Token { slot: 0, token: "token".to_owned() };
        replay.follow(Record::Keys { game, change: token });
        let record = replay.durable.games.get(game).unwrap();
        assert_eq!(record.pid, Some(99));
        assert_eq!(record.netcode.as_ref().unwrap().token(0).unwrap(), "token");
        let fault = LaunchFault::Interrupted;
        let failed = Input::Game(GameInput::LaunchFailed { game, fault });
        replay.follow(Record::Input { at: Duration::ZERO, input: failed });
        assert!(replay.durable.games.get(game).is_none());
    }

    #[test]
    fn a_replay_has_to_agree_with_the_games_that_were_stored() {
        let (replay, _) = with_a_game();
        replay.validate(&StoredGames::new()).unwrap();
        // Records of a game that the brain does not know.
        let mut other = Replay { brain: snapshot().1, ..replay };
        other.validate(&StoredGames::new()).unwrap();
        let game = other.durable.games.from(GameId(0)).next().unwrap().0;
        let own = i32::try_from(std::process::id()).unwrap();
        let living = process::Pidfd::open(own).unwrap();
        let stored = StoredGames::from([(game, vec![living.into()])]);
        assert!(matches!(other.validate(&stored), Err(JournalError::Diverged(_))));
        // The same game on another port.
        other.brain.handle_timeout(Duration::ZERO);
        other.validate(&stored).unwrap();
        let launch =
            Action::Game(GameAction::Launch { game, mode: ModeId(0), port: 1, seated: None });
        other.durable.games.follow(&launch, Instant::now(), |_| 0);
        assert!(matches!(other.validate(&StoredGames::new()), Err(JournalError::Diverged(_))));
    }
}
