//! Warnings about settings that are valid and probably a mistake, or that protect less than the defaults.
//!
//! The daemon logs them at a start, after a crash and after an upgrade; a reload reports new ones; `muster check-config`
//! prints them. [`Config::warnings`] has the list.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use launcher::User;

use super::confinement::left_out;
use super::positions::Position;
use super::{Config, Mode, Program, Transport};
use crate::address::{self, Prefix};

/// A warning: the problem, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    text: String,
    position: Option<Position>,
    /// Whether it prevents games.
    is_mistake: bool,
}

impl Warning {
    /// A warning without a position.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), position: None, is_mistake: false }
    }

    /// The same, at the first of some keys that the file sets. Keys are paths; [`Positions`](super::positions::Positions).
    fn at<K: AsRef<str>>(mut self, config: &Config, keys: impl IntoIterator<Item = K>) -> Self {
        self.position = keys.into_iter().find_map(|key| config.positions.of(key.as_ref()));
        self
    }

    /// The same, as a mistake, which is an error for `muster check-config`. A running daemon only warns, as the cause may
    /// be fixed meanwhile.
    fn into_mistake(self) -> Self {
        Self { is_mistake: true, ..self }
    }

    /// Whether it prevents games.
    pub(crate) fn is_mistake(&self) -> bool {
        self.is_mistake
    }

    /// The position of the cause: file, line and column, or the file alone.
    pub(crate) fn place(&self, file: &Path) -> String {
        match &self.position {
            Some(position) => position.to_string(),
            None => file.display().to_string(),
        }
    }
}

impl fmt::Display for Warning {
    /// The text without the position, which may have changed when the log is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Config {
    /// All warnings, in a fixed order. `store_room` is the number of descriptors that the service manager stores, if it is
    /// too small for the port ring.
    pub(crate) fn warnings(&self, store_room: Option<usize>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        warnings.extend(self.warn_of_ephemeral_ports());
        warnings.extend(self.warn_of_store(store_room));
        warnings.extend(self.warn_of_loopback_host());
        warnings.extend(self.warn_of_bind());
        warnings.extend(self.warn_of_proxies());
        for mode in self.modes.iter().filter(|mode| !mode.is_closed) {
            warnings.extend(self.warn_of_program(mode));
            warnings.extend(self.warn_of_named_paths(mode));
            warnings.extend(self.warn_of_transport(mode));
            warnings.extend(self.warn_of_missing_layers(mode));
            warnings.extend(self.warn_of_root(mode));
            warnings.extend(self.warn_of_wide_paths(mode));
        }
        warnings
    }

    fn warn_of_ephemeral_ports(&self) -> Option<Warning> {
        let kernel = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        let ephemeral = kernel("ip_local_port_range").ok()?;
        let reserved = kernel("ip_local_reserved_ports").unwrap_or_default();
        let port = address::first_ephemeral(&self.ports.range, &ephemeral, &reserved)?;
        let kernels = ephemeral.split_whitespace().collect::<Vec<_>>().join("-");
        let text = format!(
            "ports.range overlaps the kernel's own ports {kernels}, the first of them {port}: other programs will use \
             some; choose another range, or reserve it in net.ipv4.ip_local_reserved_ports"
        );
        Some(Warning::new(text).at(self, ["ports.range"]))
    }

    /// Players from other machines are sent to their own machine.
    fn warn_of_loopback_host(&self) -> Option<Warning> {
        let (host, listens_on) = (&self.ports.public_host, self.listen.listens_on());
        let is_world = !address::canonical(listens_on.ip()).is_loopback();
        (is_world && address::is_loopback_host(host)).then(|| {
            let text = format!(
                "players may connect from other machines ({listens_on}) and are sent to games on {host}, which is their \
                 own machine: set ports.public_host to the address or name by which they reach this one"
            );
            Warning::new(text).at(self, ["ports.public_host", "listen.tcp"])
        })
    }

    /// Players are sent to an address on which no game listens.
    fn warn_of_bind(&self) -> Option<Warning> {
        let (bind, host) = (self.ports.bind?, &self.ports.public_host);
        let to = host.parse::<IpAddr>().ok().map(address::canonical);
        let is_elsewhere = bind.is_loopback() && !address::is_loopback_host(host);
        let is_other_family = to.is_some_and(|to| to.is_ipv6() && bind.is_ipv4())
            || to.is_some_and(|to| to.is_ipv4() && bind.is_ipv6() && !bind.is_unspecified());
        (is_elsewhere || is_other_family).then(|| {
            let text = format!(
                "games listen on {bind} (ports.bind) and players are sent to {host} (ports.public_host): unless datagrams \
                 are forwarded in between, no player can join"
            );
            Warning::new(text).at(self, ["ports.bind", "ports.public_host"])
        })
    }

    fn warn_of_proxies(&self) -> Option<Warning> {
        let is_everybody = self.listen.proxy_from.iter().any(Prefix::is_everybody);
        is_everybody.then(|| {
            let text = "listen.proxy_from contains all addresses: every client can choose the address that counts for it; \
                        list only the proxies";
            Warning::new(text).at(self, ["listen.proxy_from"])
        })
    }

    fn warn_of_store(&self, room: Option<usize>) -> Option<Warning> {
        let room = room.filter(|_| self.crash_safe)?;
        let text = format!(
            "ports.range has {} ports, and the service manager stores {room} descriptors: three for each port \
             and sixteen are needed, or a crash ends games; raise FileDescriptorStoreMax= or choose a smaller range",
            self.ports.range.len()
        );
        Some(Warning::new(text).at(self, ["ports.range"]))
    }

    fn warn_of_program(&self, mode: &Mode) -> Option<Warning> {
        let error = launcher::check_program(&Program::from(mode).run).err()?;
        let text = format!("mode {}: cannot run {}: {error}", mode.name, mode.command[0]);
        let key = format!("mode.{}.command", mode.name);
        Some(Warning::new(text).at(self, [key]).into_mistake())
    }

    /// Files and directories in the arguments that do not exist.
    fn warn_of_named_paths(&self, mode: &Mode) -> Vec<Warning> {
        let is_path =
            |word: &&String| word.starts_with('/') && !word.contains(['{', '*', '?', '\n']);
        let words = mode.command.iter().skip(1).filter(is_path);
        let gone = words.filter(|word| matches!(Path::new(word).try_exists(), Ok(false)));
        let warn = |word: &String| {
            let text =
                format!("mode {}: its command names {word}, which does not exist", mode.name);
            Warning::new(text).at(self, [format!("mode.{}.command", mode.name)])
        };
        gone.map(warn).collect()
    }

    fn warn_of_transport(&self, mode: &Mode) -> Option<Warning> {
        let bind = self.ports.bind_address();
        (mode.transport == Transport::Plain && !bind.is_loopback()).then(|| {
            let text = format!(
                "mode {}: transport=plain is not encrypted and its games listen on {bind}; \
                 transport = \"netcode\" is encrypted",
                mode.name
            );
            let key = format!("mode.{}.transport", mode.name);
            let keys = [key.as_str(), "ports.bind", "ports.public_host"];
            Warning::new(text).at(self, keys)
        })
    }

    fn warn_of_missing_layers(&self, mode: &Mode) -> Option<Warning> {
        let layers = left_out(&mode.confinement);
        if layers.is_empty() {
            return None;
        }
        let text =
            format!("mode {}: confinement without {}, as configured", mode.name, layers.join(", "));
        let keys = [layers, vec!["enabled"]].concat();
        Some(Warning::new(text).at(self, keys_of(mode, &keys)))
    }
}

impl Config {
    /// Games that run as root.
    fn warn_of_root(&self, mode: &Mode) -> Option<Warning> {
        let stays_root = match mode.confinement.user {
            User::Muster => nix::unistd::geteuid().is_root(),
            User::Named { user, .. } => user == 0,
            User::Own => false,
        };
        let rights = match mode.confinement.no_new_privileges {
            true => "without root's capabilities",
            false => "with all of Muster's capabilities",
        };
        stays_root.then(|| {
            let text = format!(
                "mode {}: its games run as root, {rights}: they can write root's files; \
                 confinement.user = true, or a user's name, changes that",
                mode.name
            );
            Warning::new(text).at(self, keys_of(mode, &["user", "enabled"]))
        })
    }

    /// Directories in a command that games may not read.
    fn warn_of_wide_paths(&self, mode: &Mode) -> Option<Warning> {
        let program = &self.programs.get(mode.program)?.run;
        let listed = |path: &Path| {
            let lists = [&mode.confinement.read, &mode.confinement.write];
            lists.into_iter().flatten().any(|listed| path.starts_with(listed))
        };
        let path = program.too_wide_paths().find(|path| !listed(path))?;
        mode.confinement.landlock.then(|| {
            let text = format!(
                "mode {}: its command names the directory {}, which is not opened to games, as it holds more than a \
                 game's own files; list it, or a directory below it, in confinement.read",
                mode.name,
                path.display()
            );
            Warning::new(text).at(self, [format!("mode.{}.command", mode.name)])
        })
    }
}

/// The keys of a mode's confinement, and those for all modes.
fn keys_of(mode: &Mode, keys: &[&str]) -> Vec<String> {
    let of_mode = format!("mode.{}.confinement", mode.name);
    keys.iter().flat_map(|key| [format!("{of_mode}.{key}"), format!("confinement.{key}")]).collect()
}
