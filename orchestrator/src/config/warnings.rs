//! What is allowed and likely to be a mistake, or protects less than the defaults do.
//!
//! One list for everybody who says it: the daemon when it starts, after a crash and after an upgrade; a reload, which
//! says what is new; and `muster check-config`. A warning of another kind is added in [`Config::warnings`].

use std::fmt;

use super::confinement::left_out;
use super::positions::Position;
use super::{Config, Mode, Transport};

/// One warning: what is the matter, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    text: String,
    position: Option<Position>,
}

impl Warning {
    /// A warning that belongs to no line of the file.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), position: None }
    }

    /// The same, with the position of the first of some keys that the file sets, if it sets one. See
    /// [`Positions`](super::positions::Positions) for how keys are named.
    fn at<K: AsRef<str>>(mut self, config: &Config, keys: impl IntoIterator<Item = K>) -> Self {
        self.position = keys.into_iter().find_map(|key| config.positions.of(key.as_ref()));
        self
    }

    /// Where in the file the cause stands, as far as it is known.
    pub(crate) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }
}

impl fmt::Display for Warning {
    /// The text alone: a log is read long after the file was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Config {
    /// All that is worth a warning, in a fixed order. `store_room` is how many descriptors the service manager keeps for
    /// the daemon, where those are too few for the ring of ports.
    pub(crate) fn warnings(&self, store_room: Option<usize>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        warnings.extend(self.warn_of_ephemeral_ports());
        warnings.extend(self.warn_of_store(store_room));
        for mode in self.modes.iter().filter(|mode| !mode.is_closed) {
            warnings.extend(self.warn_of_transport(mode));
            warnings.extend(self.warn_of_open_walls(mode));
        }
        warnings
    }

    fn warn_of_ephemeral_ports(&self) -> Option<Warning> {
        let (first, last) = ephemeral_ports()?;
        let range = &self.ports.range;
        (*range.start() <= last && first <= *range.end()).then(|| {
            let text = format!(
                "ports.range overlaps the kernel's own ports {first}-{last}: other programs will sit on some; \
                 choose another range or change net.ipv4.ip_local_port_range"
            );
            Warning::new(text).at(self, ["ports.range"])
        })
    }

    fn warn_of_store(&self, room: Option<usize>) -> Option<Warning> {
        let room = room.filter(|_| self.crash_safe)?;
        let text = format!(
            "ports.range has {} ports, and what outlives a crash has room for {room} descriptors: three for each \
             port and sixteen are needed, or a crash ends games; FileDescriptorStoreMax= or a smaller range helps",
            self.ports.range.len()
        );
        Some(Warning::new(text).at(self, ["ports.range"]))
    }

    fn warn_of_transport(&self, mode: &Mode) -> Option<Warning> {
        let bind = self.ports.bind_address();
        (mode.transport == Transport::Plain && !bind.is_loopback()).then(|| {
            let text = format!(
                "mode {}: transport=plain is not encrypted and its games listen on {bind}; \
                 transport = \"netcode\" is",
                mode.name
            );
            let key = format!("mode.{}.transport", mode.name);
            let keys = [key.as_str(), "ports.bind", "ports.public_host"];
            Warning::new(text).at(self, keys)
        })
    }

    fn warn_of_open_walls(&self, mode: &Mode) -> Option<Warning> {
        let layers = left_out(&mode.confinement);
        if layers.is_empty() {
            return None;
        }
        let text =
            format!("mode {}: confinement without {}, as configured", mode.name, layers.join(", "));
        let of_mode = format!("mode.{}.confinement", mode.name);
        let keys: Vec<String> = layers
            .into_iter()
            .chain(["enabled"])
            .flat_map(|key| [format!("{of_mode}.{key}"), format!("confinement.{key}")])
            .collect();
        Some(Warning::new(text).at(self, keys))
    }
}

/// The range from which the kernel gives ports to sockets that did not ask for one; ip(7).
fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some((first.parse().ok()?, last.trim().parse().ok()?))
}
