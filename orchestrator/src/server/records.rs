//! What is remembered and told of games: written down as it happens, and reported at their end.

use std::time::Duration;

use launcher::Contract;
use matchmaker::{Action, Event, GameId};

use protocol::admin::{Report, ReportedPlayer};

use super::Server;
use crate::games::reports::Ending;
use crate::units::Span;

impl Server {
    /// Takes note of what is about to be done.
    pub(super) fn record(&mut self, action: &Action) {
        self.reports.follow(action, self.now);
        if let Action::Report(event) = action {
            self.record_event(event);
        }
    }

    fn record_event(&mut self, event: &Event) {
        let Event::GameEnded { game, mode, match_id, exit, lived, joined } = event else { return };
        let ended = self.games.get(*game).and_then(|game| game.ended);
        #[cfg(feature = "stub-games")]
        let ended = ended.or_else(|| self.end_of_stub(*game));
        let ending = Ending {
            game: *game,
            mode: &self.config.modes[mode.0].name,
            match_id: *match_id,
            exit: *exit,
            limit: self.limit_hit(*game, *exit).map(|(key, _)| key),
            lived: *lived,
            joined,
            joined_known: self.program(*game, *mode).run.contract == Contract::Muster,
        };
        let report = ended.and_then(|ended| self.reports.finish(&ending, &ended));
        match report {
            Some(report) => {
                log_end(&report, *lived);
                self.reports.keep(report);
            }
            None => self.note_unreported(*game),
        }
    }

    fn note_unreported(&mut self, game: GameId) {
        self.reports.forget(game);
        log::error!("game {game} ended, and nothing is known of its end");
    }
}

/// One line with all figures: for everybody where there was a match, else for whoever looks closely.
fn log_end(report: &Report, lived: Duration) {
    let level = match report.match_id {
        Some(_) => log::Level::Info,
        None => log::Level::Debug,
    };
    let slots = |player: &ReportedPlayer| player.joined.then(|| player.slot.to_string());
    let joined: Vec<String> = report.players.iter().filter_map(slots).collect();
    let joined = match report.joined_known {
        false => "unknown".to_owned(),
        true if joined.is_empty() => "none".to_owned(),
        true => joined.join(","),
    };
    let has_result = if report.result.is_some() { "yes" } else { "no" };
    let limit = report.limit.as_ref().map_or_else(String::new, |key| format!(" limit={key}"));
    let seconds = |micros: u64| Span(Duration::from_micros(micros));
    log::log!(
        level,
        "game ended game={} match={} mode={} pid={} end=\"{}\" lived={} cpu_user={} cpu_system={} \
         memory_peak_kib={} joined={joined} result={has_result}{limit}",
        report.game,
        report.match_id.as_deref().unwrap_or("none"),
        report.mode,
        report.pid,
        report.exit,
        Span(lived),
        seconds(report.cpu_user_us),
        seconds(report.cpu_system_us),
        report.memory_peak_kib,
    );
}
