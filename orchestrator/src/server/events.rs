//! What the brain reports, as lines of the log.

use std::time::Duration;

use brain::{Event, Exit, GameId, MatchEnd, ModeId};

use super::Server;
use crate::games::stop_reason;
use crate::players::account::Shown;
use crate::units::Span;

/// A match that ends with an error sooner than this has hardly been played.
const SOON: Duration = Duration::from_secs(10);

impl Server {
    pub(super) fn report(&self, event: &Event) {
        let name = |mode: &ModeId| &self.mode(*mode).name;
        let pid = |game: &GameId| self.games.with_pid(*game);
        match event {
            Event::PlayerAssigned { .. } => {}
            Event::PlayerAway { .. }
            | Event::PlayerReturned { .. }
            | Event::PlayerExpired { .. }
            | Event::PlayerTimedOut { .. }
            | Event::PlayerEvicted { .. } => self.report_player(event),
            Event::MatchFormed { .. }
            | Event::MatchDissolved { .. }
            | Event::MatchAssigned { .. }
            | Event::MatchBackfilled { .. }
            | Event::PlayerJoined { .. }
            | Event::PlayerLeft { .. }
            | Event::MatchResult { .. }
            | Event::MatchEnded { .. } => self.report_match(event),
            Event::AccountPaused { account, pause } => log::info!(
                "address paused address={} for={}s: its players did not come into their games, or let matches that were \
                 offered to them come to nothing; see limits.seats_per_address",
                Shown(*account),
                pause.as_secs()
            ),
            Event::GameWarm { game, mode } => {
                log::info!("game ready game={game} mode={}{}", name(mode), pid(game));
            }
            Event::GameStopping { game, reason } => {
                let why = stop_reason::text(reason);
                log::info!("game stopping game={game}{}: {why}", pid(game));
            }
            // Told with what the kernel knows of it when it was recorded, and with what the game printed.
            Event::GameEnded { .. } | Event::GameFailed { .. } => {}
            Event::PortBusy { port, rest, is_news } => {
                let level = if *is_news { log::Level::Warn } else { log::Level::Debug };
                log::log!(
                    level,
                    "port busy port={port}: another program holds it; trying again in {}",
                    Span(*rest)
                );
            }
            Event::PortReturned { port, rest } if rest.is_zero() => {
                log::info!("port free port={port}");
            }
            Event::PortReturned { port, rest } => {
                log::info!("port returned port={port} rests={}", Span(*rest));
            }
            Event::Draining { games, timeout } => {
                log::info!("draining games={games} timeout={}", Span(*timeout));
            }
        }
    }

    fn report_match(&self, event: &Event) {
        let name = |mode: &ModeId| &self.mode(*mode).name;
        match event {
            Event::MatchBackfilled { match_id, mode, game, slots, players } => {
                let (players, slots) = (listed(players), listed(slots));
                log::info!(
                    "match backfilled match={match_id} mode={} game={game} slots={slots} players={players}",
                    name(mode)
                );
            }
            Event::MatchFormed { match_id, mode, players } => {
                let players = listed(players);
                // A match that is offered may come to nothing by a word of each of its players, as often as they like.
                let level = match self.mode(*mode).accept_timeout {
                    Some(_) => log::Level::Debug,
                    None => log::Level::Info,
                };
                let mode = name(mode);
                log::log!(level, "match formed match={match_id} mode={mode} players={players}");
            }
            Event::MatchDissolved { match_id, mode, player } => {
                log::debug!("match dissolved match={match_id} mode={} player={player}", name(mode));
            }
            Event::MatchAssigned { match_id, mode, game, port, waited, .. } => log::info!(
                "match assigned match={match_id} mode={} game={game}{} port={port} waited={}",
                name(mode),
                self.games.with_pid(*game),
                Span(*waited)
            ),
            Event::PlayerJoined { match_id, slot } => {
                log::debug!("player joined match={match_id} slot={slot}");
            }
            Event::PlayerLeft { match_id, slot } => {
                log::debug!("player left match={match_id} slot={slot}");
            }
            Event::MatchResult { match_id, mode, game, result } => log::info!(
                "match result match={match_id} mode={} game={game} result={result}",
                name(mode)
            ),
            Event::MatchEnded { match_id, mode, game, end, lasted } => {
                let (how, exit) = match end {
                    MatchEnd::Finished(exit) => ("finished", exit),
                    MatchEnd::Stopped(exit) => ("stopped", exit),
                };
                let limit = match self.games.limit_hit(*game, *exit, &self.config, &self.brain) {
                    Some((key, value)) => format!(": it was ended by confinement.{key} = {value}"),
                    None => String::new(),
                };
                log::log!(
                    level_of(end, *lasted),
                    "match {how} match={match_id} mode={} game={game} end=\"{exit}\" lasted={}{limit}",
                    name(mode),
                    Span(*lasted)
                );
            }
            _ => {}
        }
    }

    /// Who goes and comes back: a line each, which a host full of players would drown in.
    fn report_player(&self, event: &Event) {
        let name = |mode: &ModeId| &self.mode(*mode).name;
        match event {
            Event::PlayerAway { player, mode, window } => {
                let mode = name(mode);
                log::debug!("player away player={player} mode={mode} window={}", Span(*window));
            }
            Event::PlayerReturned { player, mode } => {
                log::debug!("player returned player={player} mode={}", name(mode));
            }
            Event::PlayerExpired { player, mode } => {
                log::debug!("player expired player={player} mode={}", name(mode));
            }
            Event::PlayerTimedOut { player, mode, waited } => {
                log::debug!(
                    "player timed out player={player} mode={} waited={}",
                    name(mode),
                    Span(*waited)
                );
            }
            Event::PlayerEvicted { player, mode, reason } => {
                let (mode, reason) = (name(mode), reason.word());
                log::debug!("player evicted player={player} mode={mode} reason={reason}");
            }
            _ => {}
        }
    }
}

/// Nobody should overlook a game that died under its players, or refused to play.
fn level_of(end: &MatchEnd, lasted: Duration) -> log::Level {
    match end {
        MatchEnd::Finished(Exit::Signal(_)) => log::Level::Warn,
        MatchEnd::Finished(Exit::Status(status)) if *status != 0 && lasted < SOON => {
            log::Level::Warn
        }
        MatchEnd::Finished(_) | MatchEnd::Stopped(_) => log::Level::Info,
    }
}

fn listed(these: &[impl ToString]) -> String {
    these.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
