//! The snapshot: all that another process needs to continue as this daemon.
//!
//! There is one type for both ways to continue. Its `durable` part outlives the process: the journal holds it, and a
//! recovery after a crash starts from it. Its `live` part is there at an upgrade in place alone, where the process executes
//! another program and its pid, children and descriptors stay: it names the descriptors and what was half read or not sent
//! yet. An upgrade is a recovery with live descriptors.
//!
//! A snapshot is JSON. Nobody is answered while it is written and read at an upgrade. So the brain, which is most of it, is
//! an object of its own behind the other, and two threads write and read them in parallel.

use std::io::{self, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::{panic, thread};

use brain::Brain;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::descriptors::{FORMAT, StateError};
use super::journal::SavedJournal;
use crate::clock::Instant;
use crate::config::{Config, Places};
use crate::games::launcher::SavedLauncher;
use crate::games::processes::SavedProcess;
use crate::games::record::GameRecords;
use crate::games::reports::SavedReports;
use crate::games::templates::SavedTemplates;
use crate::lookup::Resolved;
use crate::operators::socket;
use crate::players::connections::SavedConnections;

/// The daemon, but for its brain.
#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) format: u32,
    /// The version of Muster that wrote it, for the log.
    pub(crate) version: String,
    pub(crate) durable: Durable,
    /// `None`: the process that wrote it is gone.
    pub(crate) live: Option<Live>,
}

/// What outlives the process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Durable {
    /// The brain's time zero.
    pub(crate) started: Instant,
    pub(crate) places: Places,
    /// Whether a signal told the daemon to stop.
    pub(crate) stop_was_asked: bool,
    pub(crate) games: GameRecords,
    pub(crate) reports: SavedReports,
    /// The directory of the games' working directories.
    pub(crate) work_directory: PathBuf,
    /// The addresses of `ports.public_host`, where that is a name.
    pub(crate) resolved: Option<Resolved>,
}

/// What the process has and hands over as it is.
#[derive(Serialize, Deserialize)]
pub(crate) struct Live {
    /// When it was written: the gap begins.
    pub(crate) written: Instant,
    /// `None`: its address could not be bound yet.
    pub(crate) listener: Option<RawFd>,
    pub(crate) admin: Option<socket::Saved>,
    pub(crate) connections: SavedConnections,
    pub(crate) processes: Vec<SavedProcess>,
    pub(crate) launcher: SavedLauncher,
    pub(crate) templates: SavedTemplates,
    /// Upgrades before this one.
    pub(crate) upgrades: u64,
    pub(crate) journal: Option<SavedJournal>,
    /// The operator who asked for this upgrade.
    pub(crate) asked_by: Option<socket::PendingReply>,
}

/// Just enough of a snapshot to see whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// The brain's object.
#[derive(Serialize, Deserialize)]
struct BrainState<B> {
    brain: B,
}

/// How the brain's object begins behind the other: no text in JSON holds such an end of a line.
const BRAIN: &str = "\n{\"brain\":";

/// The text of a snapshot, in its two objects.
#[derive(Clone, Copy)]
pub(crate) struct SnapshotText<'a> {
    snapshot: &'a str,
    brain: &'a str,
}

impl<'a> SnapshotText<'a> {
    /// # Errors
    /// [`StateError`] when it is not UTF-8.
    pub(crate) fn of(text: &'a [u8]) -> Result<Self, StateError> {
        let at = memmem::find(text, BRAIN.as_bytes()).unwrap_or(text.len());
        let text = str::from_utf8(text).map_err(<serde_json::Error as serde::de::Error>::custom)?;
        let (snapshot, brain) = text.split_at(at);
        Ok(Self { snapshot, brain })
    }

    /// Reads the snapshot without its brain.
    ///
    /// # Errors
    /// [`StateError`] when it is none, or has another format.
    pub(crate) fn snapshot(self) -> Result<Snapshot, StateError> {
        let read = serde_json::from_str::<Snapshot>(self.snapshot);
        // The rest of another format may mean anything.
        let format = match &read {
            Ok(snapshot) => snapshot.format,
            Err(_) => serde_json::from_str::<Head>(self.snapshot)?.format,
        };
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        Ok(read?)
    }

    /// Reads the brain.
    ///
    /// # Errors
    /// [`StateError`] when there is none.
    pub(crate) fn brain(self) -> Result<Brain, StateError> {
        Ok(serde_json::from_str::<BrainState<Brain>>(self.brain)?.brain)
    }
}

impl Snapshot {
    /// Writes it with its brain.
    ///
    /// # Errors
    /// When `to` takes no more.
    pub(crate) fn write(&self, brain: &Brain, mut to: impl Write) -> io::Result<()> {
        let state = BrainState { brain };
        let (snapshot, brain) =
            run_parallel(|| serde_json::to_vec(self), || serde_json::to_vec(&state));
        to.write_all(&snapshot?)?;
        to.write_all(b"\n")?;
        to.write_all(&brain?)
    }
}

impl Durable {
    /// Gives the configuration's modes the indexes that they have in the snapshot, and the brain the configuration.
    ///
    /// # Errors
    /// [`StateError`] when the configuration changes what cannot change.
    pub(crate) fn reconcile(
        &self,
        brain: &mut Brain,
        config: &mut Config,
    ) -> Result<(), StateError> {
        if self.started + brain.now() > Instant::now() {
            return Err(StateError::Future);
        }
        config.keep_places(&self.places).map_err(StateError::Places)?;
        let fitted = brain.reconfigure(config.for_brain());
        fitted.map_err(|unchangeable| StateError::Config(unchangeable.0))
    }
}

/// Checks that this program can continue with a snapshot. The brain takes its next step here, so that a defect in that is
/// found here.
///
/// # Errors
/// [`StateError`] when it cannot.
pub(crate) fn try_out(text: &[u8], mut config: Config) -> Result<(), StateError> {
    let text = SnapshotText::of(text)?;
    let (snapshot, mut brain) = (text.snapshot()?, text.brain()?);
    snapshot.durable.reconcile(&mut brain, &mut config)?;
    let now = Instant::now().saturating_duration_since(snapshot.durable.started);
    brain.handle_timeout(now);
    while brain.poll_action().is_some() {}
    Ok(())
}

/// Does two things in parallel, the first in a thread where there is one. The second should take longer.
pub(crate) fn run_parallel<A: Send, B>(
    first: impl Fn() -> A + Sync,
    second: impl FnOnce() -> B,
) -> (A, B) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("snapshot".into()).spawn_scoped(scope, &first);
        let second = second();
        let first = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            Err(_) => first(),
        };
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use brain::{Account, ConnectionId, GameId, Input, ModeId, PlayerInput};
    use mio::Poll;
    use protocol::Secret;
    use serde_json::{Value, json};

    use super::super::descriptors::InheritedFds;
    use super::super::tests;
    use super::*;
    use crate::clock::NOT_YET;
    use crate::players::connections::Connections;

    /// The snapshot of a daemon with a game, a player in a queue and a connection, with a live part.
    fn snapshot() -> (Snapshot, Brain) {
        let (mut snapshot, mut brain) = tests::snapshot();
        let [resume_key, token] = [1, 2].map(|byte| Secret::from_bytes([byte; 16]));
        let connection = ConnectionId::local(1 << 32);
        let account = Account::UNKNOWN;
        let (queue, name, skill) = (None, Some("ada".to_owned()), None);
        let ready = Input::Player(PlayerInput::Ready {
            connection,
            queue,
            name,
            skill,
            resume_key,
            token,
            account,
        });
        brain.handle_timeout(Duration::ZERO);
        brain.handle(Duration::ZERO, ready);
        while let Some(action) = brain.poll_action() {
            snapshot.durable.games.follow(&action, snapshot.durable.started, |mode| mode.0);
        }
        let live = Live {
            written: Instant::now(),
            listener: None,
            admin: None,
            connections: connections(),
            processes: Vec::new(),
            launcher: SavedLauncher::after_a_crash("/nowhere".into(), std::iter::empty()),
            templates: SavedTemplates::default(),
            upgrades: 2,
            journal: None,
            asked_by: None,
        };
        (Snapshot { live: Some(live), ..snapshot }, brain)
    }

    fn connections() -> SavedConnections {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (poll, config) = (Poll::new().unwrap(), Config::default_config());
        let address = listener.local_addr().unwrap().ip();
        let stream = mio::net::TcpStream::from_std(stream);
        let mut clients = Connections::new();
        let (registry, now) = (poll.registry(), Instant::now());
        clients.admit(stream, address, false, registry, &config.limits, now).unwrap();
        clients.save(&mut InheritedFds::default())
    }

    fn text(snapshot: &Snapshot, brain: &Brain) -> String {
        let mut text = Vec::new();
        snapshot.write(brain, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn read(text: &str) -> Result<(Snapshot, Brain), StateError> {
        let text = SnapshotText::of(text.as_bytes())?;
        Ok((text.snapshot()?, text.brain()?))
    }

    /// The two objects of a snapshot, to be changed, and a snapshot of such objects.
    fn parts() -> [Value; 2] {
        let (snapshot, brain) = snapshot();
        let text = text(&snapshot, &brain);
        let parts = SnapshotText::of(text.as_bytes()).unwrap();
        [parts.snapshot, parts.brain].map(|part| serde_json::from_str(part).unwrap())
    }

    fn joined([snapshot, brain]: [Value; 2]) -> String {
        format!("{snapshot}\n{brain}")
    }

    fn refusal(text: &str) -> String {
        try_out(text.as_bytes(), Config::default_config()).unwrap_err().to_string()
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let (snapshot, brain) = snapshot();
        let written = text(&snapshot, &brain);
        let (again, brain_again) = read(&written).unwrap();
        assert_eq!(text(&again, &brain_again), written);
        brain_again.check_invariants().unwrap();
        assert_eq!(brain_again.mode_status(ModeId(0)).waiting, 1);
        assert_eq!(again.live.unwrap().upgrades, 2);
        assert_eq!(again.durable.games.from(GameId(0)).count(), brain_again.games().count());
        try_out(written.as_bytes(), Config::default_config()).unwrap();
    }

    #[test]
    fn another_format_is_refused_whatever_else_it_holds() {
        let [mut snapshot, mut brain] = parts();
        snapshot["format"] = json!(FORMAT + 1);
        snapshot["durable"] = json!("something else");
        brain["brain"] = json!("something else");
        let reason = refusal(&joined([snapshot, brain]));
        assert_eq!(reason, "the state has format 2, and this version reads 1");
    }

    #[test]
    fn a_snapshot_that_cannot_be_used_is_refused_with_the_reason() {
        let [snapshot, mut brain] = parts();
        brain["brain"]["hosting"]["ports"]["free"] = json!(["no port"]);
        let reason = refusal(&joined([snapshot, brain]));
        assert!(reason.contains("not understood"), "{reason}");
        let text = joined(parts());
        let mut config = Config::default_config();
        config.set_port_range("30200-30204").unwrap();
        let reason = try_out(text.as_bytes(), config).unwrap_err().to_string();
        assert!(reason.contains("the ring of ports"), "{reason}");
        for text in ["", "{", "[]", "nonsense"] {
            assert!(try_out(text.as_bytes(), Config::default_config()).is_err(), "{text}");
        }
    }

    /// A snapshot from before the last boot, or from another machine: every time in it is checked.
    #[test]
    fn a_snapshot_with_a_time_in_the_future_is_refused() {
        const HOUR: u64 = 3600;
        let times = [
            "/durable/started",
            "/live/written",
            "/live/connections/clients/0/client/times/quiet_since",
            "/durable/games/1/ordered",
        ];
        for path in times {
            let [mut snapshot, brain] = parts();
            let time = snapshot.pointer_mut(path).unwrap_or_else(|| panic!("no {path}"));
            time[0] = json!(time[0].as_u64().unwrap() + HOUR);
            let reason = refusal(&joined([snapshot, brain]));
            assert!(reason.contains(NOT_YET), "{path}: {reason}");
        }
        let [snapshot, mut brain] = parts();
        brain["brain"]["now"]["secs"] = json!(HOUR);
        let reason = refusal(&joined([snapshot, brain]));
        assert!(reason.contains(NOT_YET), "{reason}");
    }
}
