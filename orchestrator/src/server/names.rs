//! The addresses of `ports.public_host`, where that is a name: taken up when they are known, whenever that is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::clock::Instant;
use crate::config::{Config, Transport};
use crate::handoff::journal::Record;
use crate::lookup::{Lookup, Resolved};

/// How long a start waits for the name service, so that the first games know where they are reached.
const WAIT_MAX: Duration = Duration::from_secs(1);

impl Server {
    /// Begins to resolve the name.
    pub(super) fn begin_lookup(&mut self) {
        if let Some(name) = self.config.ports.name_to_resolve() {
            self.lookup = Some(Lookup::begin(name, Some(Arc::clone(&self.waker)), self.now));
        }
    }

    /// Waits a moment for the answer: for a daemon that nobody waits for.
    pub(super) fn wait_for_lookup(&mut self) {
        let Some(lookup) = &mut self.lookup else { return };
        match lookup.wait(WAIT_MAX) {
            Some(answer) => self.take_answer(answer.map_err(|error| error.to_string())),
            None => self.note_unresolved("the name service has not answered yet"),
        }
    }

    /// Resolves the name anew: an operator has a reason to ask for it.
    pub(super) fn look_up_again(&mut self) {
        if let Some(lookup) = &mut self.lookup {
            lookup.begin_again(self.now);
        }
    }

    pub(super) fn lookup_deadline(&self) -> Option<Instant> {
        self.lookup.as_ref()?.next_deadline()
    }

    /// The name service may have answered, or it is time to ask again.
    pub(super) fn look_after_lookup(&mut self) {
        let answer = self.lookup.as_mut().and_then(|lookup| lookup.look(self.now));
        if let Some(answer) = answer {
            self.take_answer(answer.map_err(|error| error.to_string()));
        }
    }

    fn take_answer(&mut self, answer: Result<Vec<IpAddr>, String>) {
        let before = self.config.ports.resolved.clone();
        let fitting = answer.and_then(|addresses| {
            self.config.ports.resolved = addresses;
            match self.config.ports.public_addresses().is_empty() {
                true => Err("it has no address at which games can be reached".to_owned()),
                false => Ok(()),
            }
        });
        if let Err(problem) = fitting {
            // What was known is better than nothing.
            self.config.ports.resolved = before;
            return self.note_unresolved(&problem);
        }
        let had_failed = self.lookup.as_mut().is_some_and(Lookup::note_success);
        let host = &self.config.ports.public_host;
        let addresses = self.config.ports.public_addresses();
        let text: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        match had_failed {
            true => log::info!("resolved ports.public_host {host}: {}", text.join(", ")),
            false => log::debug!("resolved ports.public_host {host}: {}", text.join(", ")),
        }
        if self.config.ports.resolved != before
            && let Some(resolved) = self.resolved()
        {
            self.handoff.note(|| Record::Resolved(resolved));
        }
    }

    /// Says once that the name cannot be resolved, and what that means.
    fn note_unresolved(&mut self, problem: &str) {
        let Some(lookup) = &mut self.lookup else { return };
        if !lookup.note_failure(Instant::now()) {
            return;
        }
        let host = &self.config.ports.public_host;
        let is_netcode = |config: &Config| {
            let mut modes = config.modes.iter();
            modes.any(|mode| !mode.is_closed && mode.transport == Transport::Netcode)
        };
        let meaning = match self.config.ports.public_addresses().as_slice() {
            [] if is_netcode(&self.config) => {
                "modes with transport = \"netcode\" wait for it, as connect tokens hold addresses"
                    .to_owned()
            }
            [] => format!(
                "players are told the name, and games listen on {}",
                self.config.ports.bind_address()
            ),
            [first, ..] => format!("going on with {first}, as it was"),
        };
        log::warn!(
            "cannot resolve ports.public_host {host}: {problem}; {meaning}; trying again until it works"
        );
    }

    /// What is known of the name, for the daemon that goes on.
    pub(super) fn resolved(&self) -> Option<Resolved> {
        let ports = &self.config.ports;
        let name = ports.name_to_resolve().filter(|_| !ports.resolved.is_empty())?;
        Some(Resolved { name: name.to_owned(), addresses: ports.resolved.clone() })
    }
}

/// Takes over what an earlier daemon knew, if it is of the same name.
pub(super) fn keep_resolved(config: &mut Config, resolved: Option<Resolved>) {
    if let Some(resolved) = resolved
        && config.ports.name_to_resolve() == Some(resolved.name.as_str())
    {
        config.ports.resolved = resolved.addresses;
    }
}
