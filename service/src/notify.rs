//! What the daemon tells whoever keeps it, systemd or Muster's own keeper, in the words of
//! sd_notify(3): that it listens, how it is, that it reloads or stops; and, again and again, that its loop turns.
//!
//! All of it is called by the loop, and nothing blocks. Without a service manager nothing is done, and the loop is not
//! woken for it.

pub mod outbox;

use std::io;
use std::time::Duration;

use protocol::Visible;
use sd_notify::NotifyState;

use self::outbox::{Outbox, RETRY_AFTER};
use crate::clock::Instant;

/// What tells a process that it is watched; sd_watchdog_enabled(3).
pub const WATCHDOG_VARIABLES: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// The shortest time between two sentences on how the daemon is.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// How often the service manager is asked for more time while games are played to their end, and for how much: what a
/// drain takes is the daemon's to say, not the unit's.
const EXTEND_PERIOD: Duration = Duration::from_secs(5);
const EXTEND_BY_US: u32 = 30_000_000;

/// The daemon's word to its service manager.
#[derive(Debug)]
pub struct Notifier {
    outbox: Outbox,
    watchdog: Option<Periodic>,
    /// While it stops.
    extension: Option<Periodic>,
    status: String,
    status_at: Instant,
    /// Whether something may have changed since the status was told.
    is_stale: bool,
    is_failing: bool,
}

/// Something to be said again and again.
#[derive(Debug)]
struct Periodic {
    period: Duration,
    at: Instant,
}

impl Notifier {
    /// Finds the service manager by the environment, and whether it watches.
    pub fn open(now: Instant) -> Self {
        let outbox = Outbox::open();
        // sd_watchdog_enabled(3): twice in the time that is allowed.
        let period = sd_notify::watchdog_enabled().filter(|_| outbox.has_manager());
        Self {
            watchdog: period.map(|period| Periodic { period: period / 2, at: now }),
            extension: None,
            outbox,
            status: String::new(),
            status_at: now,
            is_stale: true,
            is_failing: false,
        }
    }

    /// The daemon listens, or has reloaded.
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The daemon reloads; [`ready`](Self::ready) follows.
    pub fn reloading(&mut self) {
        // systemd 253 and later want the time; earlier ones skip what they do not know.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The sentence on how the daemon is may have changed at once.
    pub fn look_again(&mut self) {
        self.is_stale = true;
    }

    /// The daemon goes down, as soon as its games let it.
    pub fn stopping(&mut self, now: Instant) {
        if self.outbox.has_manager() && self.extension.is_none() {
            self.extension = Some(Periodic { period: EXTEND_PERIOD, at: now });
            self.tell(&[NotifyState::Stopping]);
        }
    }

    /// A turn of the loop is over: says what is due. `status` is one sentence.
    pub fn handle_turn(&mut self, now: Instant, status: impl FnOnce() -> String) {
        if !self.outbox.has_manager() {
            return;
        }
        let flushed = self.outbox.flush();
        self.note(flushed);
        if self.watchdog.as_mut().is_some_and(|it| it.is_due(now)) {
            self.tell(&[NotifyState::Watchdog]);
        }
        if self.extension.as_mut().is_some_and(|it| it.is_due(now)) {
            self.tell(&[NotifyState::ExtendTimeoutUsec(EXTEND_BY_US)]);
        }
        self.is_stale = now < self.status_at;
        if self.is_stale {
            return;
        }
        self.status_at = now + STATUS_PERIOD;
        let status = status();
        if status != self.status {
            // A line is a word to the service manager, and what an operator wrote is none.
            self.tell(&[NotifyState::Status(&Visible(&status).to_string())]);
            self.status = status;
        }
    }

    /// When the loop has to turn again.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.outbox.has_manager() {
            return None;
        }
        let periodic = [&self.watchdog, &self.extension].into_iter().flatten().map(|it| it.at);
        let status = self.is_stale.then_some(self.status_at);
        let retry = self.outbox.has_unsent().then(|| Instant::now() + RETRY_AFTER);
        periodic.chain(status).chain(retry).min()
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        let sent = self.outbox.send(states, &[]);
        self.note(sent);
    }

    fn note(&mut self, sent: io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.is_failing, sent.is_err());
        if let Err(error) = sent
            && !was_failing
        {
            log::warn!("cannot notify the service manager: {error}");
        }
    }
}

impl Periodic {
    /// Whether it is time; if so, the next time is later.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.at <= now;
        if is_due {
            self.at = now + self.period;
        }
        is_due
    }
}
