//! The loop's word to the service manager: what is due at the end of a turn.

use brain::{Brain, ModeId};

use super::Server;
use crate::clock::Instant;
use crate::notify::outbox::RETRY_AFTER;

impl Server {
    /// Says what is due, and hands to the store what it had no room for.
    pub(super) fn tell_manager(&mut self) {
        let (brain, modes) = (&self.brain, self.config.modes.len());
        let error = self.reload_error.as_ref();
        self.notifier.handle_turn(self.now, || {
            let sentence = sentence(brain, modes);
            let wrong = error.map(|error| format!("; the last reload was refused: {error}"));
            sentence + &wrong.unwrap_or_default()
        });
        if let Err(error) = self.handoff.store().flush() {
            log::warn!("cannot store descriptors with the service manager: {error}");
        }
    }

    /// When the loop has to turn again for the service manager.
    pub(super) fn manager_deadline(&self) -> Option<Instant> {
        let retry = self.handoff.has_unsent().then(|| Instant::now() + RETRY_AFTER);
        self.notifier.next_deadline().into_iter().chain(retry).min()
    }
}

/// How the daemon is, for `systemctl status`.
fn sentence(brain: &Brain, modes: usize) -> String {
    let all = || (0..modes).map(|mode| brain.mode_status(ModeId(mode)));
    let games = count(all().map(|mode| mode.games).sum(), "game");
    if !brain.is_serving() {
        return format!("draining: {games} left");
    }
    let waiting = count(all().map(|mode| mode.waiting).sum(), "player");
    let free = count(brain.mode_status(ModeId(0)).ports_free, "port");
    format!("{waiting} waiting, {games}, {free} free")
}

fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}
