//! `/status.json`: the data of the page.

use std::time::Duration;

use matchmaker::{GameStage, PortPlace};
use serde::Serialize;

use crate::operators::metrics::openmetrics::Process;
use crate::operators::metrics::{ModeNow, Snapshot};

/// The whole document.
#[derive(Serialize)]
struct View<'a> {
    version: &'static str,
    pid: u32,
    uptime_ms: u64,
    serving: bool,
    clients: usize,
    clients_limit: usize,
    memory_bytes: u64,
    cpu_seconds: f64,
    launcher: bool,
    launcher_restarts: u64,
    matches: Matches,
    queues: Vec<Queue<'a>>,
    ports: Ports,
    games_total: usize,
    /// The newest first, limited to what a screen can show.
    games: Vec<Game<'a>>,
}

/// Counts since the start.
#[derive(Serialize)]
struct Matches {
    formed: u64,
    assigned: u64,
    ended: u64,
}

#[derive(Serialize)]
struct Queue<'a> {
    name: &'a str,
    match_players: usize,
    waiting: usize,
    away: usize,
    oldest_wait_ms: Option<u64>,
    matches_waiting: usize,
    games: usize,
    warm: usize,
    running: usize,
    failing: bool,
    /// The reason why players wait.
    why: &'static str,
}

#[derive(Serialize)]
struct Ports {
    first: u16,
    /// One letter for each port, in order: `f`ree, `l`eased, `q`uarantined, `b`usy.
    places: String,
    free: usize,
    leased: usize,
    quarantined: usize,
    busy: usize,
}

#[derive(Serialize)]
struct Game<'a> {
    game: String,
    mode: &'a str,
    port: u16,
    phase: &'static str,
    players: usize,
    age_ms: u64,
}

/// Serializes it.
pub(super) fn write(snapshot: &Snapshot, process: Process) -> String {
    // Serializing fails only for maps with keys that are not strings, which no view contains.
    serde_json::to_string(&view(snapshot, process)).unwrap_or_default()
}

fn view(snapshot: &Snapshot, process: Process) -> View<'_> {
    let modes = || snapshot.counts.modes.iter();
    let free = snapshot.ports_in(PortPlace::Free);
    let game = |game: &crate::operators::metrics::GameNow| Game {
        game: game.id.to_string(),
        mode: snapshot.modes.get(game.mode).map_or("", |mode| mode.name.as_str()),
        port: game.port,
        phase: game.stage.word(),
        players: game.players,
        age_ms: millis(game.age),
    };
    View {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_ms: millis(snapshot.uptime),
        serving: snapshot.is_serving,
        clients: snapshot.clients,
        clients_limit: snapshot.clients_max,
        memory_bytes: process.resident_bytes,
        cpu_seconds: process.cpu_seconds,
        launcher: snapshot.has_launcher,
        launcher_restarts: snapshot.counts.launcher_restarts,
        matches: Matches {
            formed: modes().map(|mode| mode.matches_formed).sum(),
            assigned: modes().map(|mode| mode.matches_assigned).sum(),
            ended: modes().map(|mode| mode.matches_finished + mode.matches_stopped).sum(),
        },
        queues: snapshot.shown().map(|(mode, _)| queue(mode, free)).collect(),
        ports: Ports {
            first: snapshot.first_port,
            places: snapshot.ports.iter().map(|place| letter(*place)).collect(),
            free,
            leased: snapshot.ports_in(PortPlace::Leased),
            quarantined: snapshot.ports_in(PortPlace::Resting),
            busy: snapshot.ports_in(PortPlace::Busy),
        },
        games_total: snapshot.modes.iter().flat_map(|mode| mode.games).sum(),
        games: snapshot.games.iter().map(game).collect(),
    }
}

fn queue(mode: &ModeNow, ports_free: usize) -> Queue<'_> {
    Queue {
        name: &mode.name,
        match_players: mode.players,
        waiting: mode.waiting,
        away: mode.away,
        oldest_wait_ms: mode.oldest_wait.map(millis),
        matches_waiting: mode.matches_waiting,
        games: mode.games.iter().sum(),
        warm: mode.games[GameStage::Warm as usize],
        running: mode.games[GameStage::Running as usize],
        failing: mode.is_failing,
        why: why(mode, ports_free),
    }
}

fn why(mode: &ModeNow, ports_free: usize) -> &'static str {
    if mode.is_failing {
        "its games keep failing; see the log"
    } else if mode.matches_waiting > 0 && ports_free == 0 {
        "no port is free"
    } else if mode.waiting == 0 {
        "nobody waits"
    } else if mode.waiting < mode.players {
        "more players are needed"
    } else {
        "a match is being started"
    }
}

const fn letter(place: PortPlace) -> char {
    match place {
        PortPlace::Free => 'f',
        PortPlace::Leased => 'l',
        PortPlace::Resting => 'q',
        PortPlace::Busy => 'b',
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
