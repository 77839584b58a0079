//! Notifications to the service manager, systemd or Muster's keeper, in the protocol of sd_notify(3): readiness,
//! status, reload and stop, and the watchdog's keep-alive messages.
//!
//! The loop calls all of it, and nothing blocks. Without a service manager nothing is done, and the loop is not woken.

pub mod outbox;

use std::io;
use std::time::Duration;

use protocol::Visible;
use sd_notify::NotifyState;

use self::outbox::{Outbox, RETRY_AFTER};
use crate::clock::Instant;

/// The variables that enable the watchdog; sd_watchdog_enabled(3).
pub const WATCHDOG_VARIABLES: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// The shortest time between two status messages.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// How often the service manager is asked for more time during a drain, and for how much: the daemon limits the
/// duration of a drain, not the unit.
const EXTEND_PERIOD: Duration = Duration::from_secs(5);
const EXTEND_BY_US: u32 = 30_000_000;

/// Sends the daemon's state to its service manager.
#[derive(Debug)]
pub struct Notifier {
    outbox: Outbox,
    watchdog: Option<Periodic>,
    /// While the daemon stops.
    extension: Option<Periodic>,
    status: String,
    status_at: Instant,
    /// Whether the status may have changed since it was sent.
    is_stale: bool,
    is_failing: bool,
}

/// A message that is repeated.
#[derive(Debug)]
struct Periodic {
    period: Duration,
    at: Instant,
}

impl Notifier {
    /// Finds the service manager, and whether the watchdog is enabled, in the environment.
    pub fn open(now: Instant) -> Self {
        let outbox = Outbox::open();
        // sd_watchdog_enabled(3): twice in the permitted time.
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

    /// Reports that the daemon listens, or has reloaded.
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// Reports that the daemon reloads; [`ready`](Self::ready) follows.
    pub fn reloading(&mut self) {
        // systemd 253 and later require the time; earlier versions ignore it.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// Has the status sent again without waiting for the period to end.
    pub fn look_again(&mut self) {
        self.is_stale = true;
    }

    /// Reports that the daemon drains, and keeps asking for more time.
    pub fn stopping(&mut self, now: Instant) {
        if self.outbox.has_manager() && self.extension.is_none() {
            self.extension = Some(Periodic { period: EXTEND_PERIOD, at: now });
            self.tell(&[NotifyState::Stopping]);
        }
    }

    /// Sends what is due, at the end of an iteration of the loop. `status` returns one sentence.
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
            // A line break would end the message, and an operator's text can contain one.
            self.tell(&[NotifyState::Status(&Visible(&status).to_string())]);
            self.status = status;
        }
    }

    /// When the loop has to run again.
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
    /// Whether it is time to send; if so, the next time is set.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.at <= now;
        if is_due {
            self.at = now + self.period;
        }
        is_due
    }
}
