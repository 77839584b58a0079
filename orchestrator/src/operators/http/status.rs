//! `/status.json`: the data of the page.

use protocol::admin::{GamePhase, PortState};
use serde_json::{Value, json};

use crate::operators::metrics::openmetrics::Process;
use crate::operators::view::{GameView, ModeView, View};
use crate::units::millis;

/// Renders a view. Nothing in it names a player.
pub(super) fn write(view: &View, process: Process) -> String {
    let modes = || view.counts.modes.iter();
    let game = |game: &GameView| {
        json!({
            "game": game.id.to_string(),
            "mode": view.mode_name(game.mode),
            "port": game.port,
            "phase": game.phase.word(),
            "players": game.players,
            "age_ms": millis(game.age),
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_ms": millis(view.uptime),
        "serving": view.is_serving,
        "clients": view.clients,
        "clients_limit": view.clients_max,
        "memory_bytes": process.resident_bytes,
        "cpu_seconds": process.cpu_seconds,
        "launcher": view.launcher.is_some(),
        "launcher_restarts": view.counts.launcher_restarts,
        "matches": {
            "formed": modes().map(|mode| mode.matches_formed).sum::<u64>(),
            "assigned": modes().map(|mode| mode.matches_assigned).sum::<u64>(),
            "ended": modes().map(|mode| mode.matches_finished + mode.matches_stopped).sum::<u64>(),
        },
        "queues": view.shown().map(|(mode, _)| queue(mode, view.ports_free())).collect::<Vec<_>>(),
        "ports": {
            "first": view.first_port,
            "places": view.port_letters(),
            "free": view.ports_free(),
            "leased": view.ports_leased(),
            "quarantined": view.ports_in(|state| state == PortState::Quarantined),
            "busy": view.ports_in(|state| state == PortState::Busy),
        },
        "games_total": view.modes.iter().flat_map(|mode| mode.games_by_phase).sum::<usize>(),
        "games": view.games.iter().map(game).collect::<Vec<_>>(),
    })
    .to_string()
}

fn queue(mode: &ModeView, ports_free: usize) -> Value {
    json!({
        "name": mode.name,
        "match_players": mode.players,
        "waiting": mode.waiting,
        "away": mode.away,
        "oldest_wait_ms": mode.oldest_wait.map(millis),
        "matches_waiting": mode.matches_waiting,
        "games": mode.games_by_phase.iter().sum::<usize>(),
        "warm": mode.games_in(GamePhase::Warm),
        "running": mode.games_in(GamePhase::Running),
        "failing": mode.is_failing,
        "why": why(mode, ports_free),
    })
}

/// The reason why the queue's players wait.
fn why(mode: &ModeView, ports_free: usize) -> &'static str {
    if mode.is_failing {
        "its games keep failing; see the log"
    } else if mode.matches_waiting > 0 && ports_free == 0 {
        "no port is free"
    } else if mode.waiting == 0 {
        "no players waiting"
    } else if mode.waiting < mode.players {
        "more players are needed"
    } else {
        "a match is being started"
    }
}
