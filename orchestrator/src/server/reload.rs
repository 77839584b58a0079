//! Another configuration for a running daemon: read, checked, and only then gone on with, all at once.

use brain::Input;

use super::Server;
use crate::config::{Config, Listen, Warning};
use crate::handoff::journal::Record;
use crate::{logging, users};
use protocol::admin::Done;

/// Reads the configuration as the daemon did at its start.
pub(crate) type Source = Box<dyn Fn() -> Result<Config, String>>;

impl Server {
    /// Says how the configuration is read anew.
    pub(crate) fn reload_by(&mut self, source: Source) {
        self.config_source = Some(source);
    }

    /// Goes on with the configuration as it is now; what came of it.
    ///
    /// # Errors
    /// What is wrong with it; then nothing is changed.
    pub(super) fn reload(&mut self) -> Result<Done, String> {
        self.notifier.reloading();
        let outcome = self.try_reload();
        match &outcome {
            Ok(Done { done, warnings }) => {
                log::info!("{done}");
                warnings.iter().for_each(|warning| log::warn!("{warning}"));
            }
            Err(error) => log::error!("reload refused, the configuration stays as it was: {error}"),
        }
        self.reload_error = outcome.as_ref().err().cloned();
        self.notifier.ready();
        self.notifier.look_again();
        outcome
    }

    fn try_reload(&mut self) -> Result<Done, String> {
        let source = self.config_source.as_ref().ok_or("there is nothing to be read anew")?;
        let mut config = source()?;
        let kept = keep_what_cannot_change(&mut config, &self.config);
        config.keep_places(&self.config.places())?;
        let for_brain = config.for_brain();
        let fits = self.brain.may_reconfigure(&for_brain);
        fits.map_err(|unchangeable| format!("it changes {}", unchangeable.0))?;
        let told = changes(&self.config, &config);
        let warnings = self.new_warnings(&config);
        // What the launcher has said is known, and what it will be asked for it has to know.
        self.handle_answers();
        if config.log_level != self.config.log_level {
            logging::set_level(config.log_level);
        }
        self.config = config;
        self.players.reconfigure(&self.config);
        self.counts.fit(self.config.modes.len());
        self.games.reports_mut().set_keep(self.config.reports.keep);
        self.look_up_again();
        match self.games.launcher_mut().go_on_with(&self.config, self.now) {
            true => self.restart_launcher(),
            // A sign to load anew what may have changed.
            false => self.games.launcher_mut().renew(&self.config),
        }
        self.handoff.note(|| Record::Places(Box::new(self.config.places())));
        self.tell_brain(Input::Reconfigure(Box::new(for_brain)));
        let kept = match kept.is_empty() {
            true => String::new(),
            false => format!("; {} cannot change without a stop and a start", kept.join(", ")),
        };
        Ok(Done { done: format!("reloaded: {told}{kept}"), warnings })
    }

    /// The warnings that a configuration deserves and the one before it did not.
    fn new_warnings(&self, config: &Config) -> Vec<String> {
        let room = self.handoff.is_short_for(config.ports.range.len());
        let told = |warning: &Warning| warning.to_string();
        let before: Vec<String> = self.config.warnings(room).iter().map(told).collect();
        let now = config.warnings(room).iter().map(told).collect::<Vec<_>>();
        now.into_iter().filter(|warning| !before.contains(warning)).collect()
    }
}

/// Puts back what is fixed while the daemon runs, and names what would have been another.
fn keep_what_cannot_change(config: &mut Config, before: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let mut keep = |name, is_same: bool| {
        if !is_same {
            kept.push(name);
        }
    };
    keep("listen.tcp", config.listen.tcp == before.listen.tcp);
    keep("listen.admin", config.listen.admin == before.listen.admin);
    keep("listen.metrics", config.listen.metrics == before.listen.metrics);
    keep("ports.range", config.ports.range == before.ports.range);
    keep("ports.bind", config.ports.bind == before.ports.bind);
    keep("ports.public_host", config.ports.public_host == before.ports.public_host);
    keep("limits.lost_timeout", config.limits.lost_timeout == before.limits.lost_timeout);
    keep("confinement.first_user", users::is_choice(config.first_user, before.first_user));
    keep("state.crash_safe", config.crash_safe == before.crash_safe);
    let quarantine = config.ports.quarantine;
    let proxy_from = std::mem::take(&mut config.listen.proxy_from);
    config.listen = Listen { proxy_from, ..before.listen.clone() };
    config.ports = before.ports.clone();
    config.ports.quarantine = quarantine;
    config.limits.lost_timeout = before.limits.lost_timeout;
    config.first_user = before.first_user;
    config.crash_safe = before.crash_safe;
    kept
}

/// What becomes of the modes, for the operator.
fn changes(before: &Config, now: &Config) -> String {
    let mut told = Vec::new();
    for (place, mode) in now.modes.iter().enumerate() {
        let was = before.modes.get(place).filter(|mode| !mode.is_closed);
        let word = match (was, mode.is_closed) {
            (None, false) => "added",
            (Some(_), true) => "removed",
            (Some(was), false) if was != mode => "changed",
            _ => continue,
        };
        told.push(format!("{} {word}", mode.name));
    }
    if told.is_empty() { "no mode has changed".to_owned() } else { told.join(", ") }
}
