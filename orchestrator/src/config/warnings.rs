//! What is allowed and likely to be a mistake, or protects less than the defaults do.
//!
//! One list for everybody who says it: the daemon when it starts, after a crash and after an upgrade; a reload, which
//! says what is new; and `muster check-config`. A warning of another kind is added in [`Config::warnings`].

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use launcher::User;

use super::confinement::left_out;
use super::positions::Position;
use super::{Config, Mode, Program, Transport};
use crate::address::{self, Prefix};

/// One warning: what is the matter, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    text: String,
    position: Option<Position>,
    /// Whether nothing can come of it as long as it is so.
    is_mistake: bool,
}

impl Warning {
    /// A warning that belongs to no line of the file.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), position: None, is_mistake: false }
    }

    /// The same, with the position of the first of some keys that the file sets, if it sets one. See
    /// [`Positions`](super::positions::Positions) for how keys are named.
    fn at<K: AsRef<str>>(mut self, config: &Config, keys: impl IntoIterator<Item = K>) -> Self {
        self.position = keys.into_iter().find_map(|key| config.positions.of(key.as_ref()));
        self
    }

    /// The same, of something that cannot go well: `muster check-config` takes it for an error. A daemon does not, as it
    /// may be mended while the daemon runs.
    fn into_mistake(self) -> Self {
        Self { is_mistake: true, ..self }
    }

    /// Whether nothing can come of it as long as it is so.
    pub(crate) fn is_mistake(&self) -> bool {
        self.is_mistake
    }

    /// Where the cause stands in a file: line and column, or the file alone.
    pub(crate) fn place(&self, file: &Path) -> String {
        match &self.position {
            Some(position) => position.to_string(),
            None => file.display().to_string(),
        }
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
        warnings.extend(self.warn_of_loopback_host());
        warnings.extend(self.warn_of_bind());
        warnings.extend(self.warn_of_proxies());
        for mode in self.modes.iter().filter(|mode| !mode.is_closed) {
            warnings.extend(self.warn_of_program(mode));
            warnings.extend(self.warn_of_named_paths(mode));
            warnings.extend(self.warn_of_transport(mode));
            warnings.extend(self.warn_of_open_walls(mode));
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
            "ports.range overlaps the kernel's own ports {kernels}, the first of them {port}: other programs will sit on \
             some; choose another range, or reserve it in net.ipv4.ip_local_reserved_ports"
        );
        Some(Warning::new(text).at(self, ["ports.range"]))
    }

    /// Players from other machines get in and are sent to their own.
    fn warn_of_loopback_host(&self) -> Option<Warning> {
        let (host, listens_on) = (&self.ports.public_host, self.listen.listens_on());
        let is_world = !address::canonical(listens_on.ip()).is_loopback();
        (is_world && address::is_loopback_host(host)).then(|| {
            let text = format!(
                "players may come from other machines ({listens_on}) and are told that games are on {host}, which is \
                 their own machine: set ports.public_host to the address or name by which they reach this one"
            );
            Warning::new(text).at(self, ["ports.public_host", "listen.tcp"])
        })
    }

    /// Players are sent to where no game listens.
    fn warn_of_bind(&self) -> Option<Warning> {
        let (bind, host) = (self.ports.bind?, &self.ports.public_host);
        let to = host.parse::<IpAddr>().ok().map(address::canonical);
        let is_elsewhere = bind.is_loopback() && !address::is_loopback_host(host);
        let is_other_family = to.is_some_and(|to| to.is_ipv6() && bind.is_ipv4())
            || to.is_some_and(|to| to.is_ipv4() && bind.is_ipv6() && !bind.is_unspecified());
        (is_elsewhere || is_other_family).then(|| {
            let text = format!(
                "games listen on {bind} (ports.bind) and players are told {host} (ports.public_host): without something \
                 between that forwards datagrams, nobody gets in"
            );
            Warning::new(text).at(self, ["ports.bind", "ports.public_host"])
        })
    }

    fn warn_of_proxies(&self) -> Option<Warning> {
        let is_everybody = self.listen.proxy_from.iter().any(Prefix::is_everybody);
        is_everybody.then(|| {
            let text = "listen.proxy_from names everybody: who connects says by itself which address counts for it; name \
                        the proxies alone";
            Warning::new(text).at(self, ["listen.proxy_from"])
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

    fn warn_of_program(&self, mode: &Mode) -> Option<Warning> {
        let error = launcher::check_program(&Program::from(mode).run).err()?;
        let text = format!("mode {}: cannot run {}: {error}", mode.name, mode.command[0]);
        let key = format!("mode.{}.command", mode.name);
        Some(Warning::new(text).at(self, [key]).into_mistake())
    }

    /// Files and directories that the arguments name and that are not there.
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
        let keys = [layers, vec!["enabled"]].concat();
        Some(Warning::new(text).at(self, keys_of(mode, &keys)))
    }
}

impl Config {
    /// Games that are root, where Muster is.
    fn warn_of_root(&self, mode: &Mode) -> Option<Warning> {
        let stays_root = match mode.confinement.user {
            User::Muster => nix::unistd::geteuid().is_root(),
            User::Named { user, .. } => user == 0,
            User::Own => false,
        };
        let rights = match mode.confinement.no_new_privileges {
            true => "although without root's capabilities",
            false => "with all of Muster's capabilities",
        };
        stays_root.then(|| {
            let text = format!(
                "mode {}: its games run as root, {rights}: they own root's files; \
                 confinement.user = true, or a user's name, makes them somebody else",
                mode.name
            );
            Warning::new(text).at(self, keys_of(mode, &["user", "enabled"]))
        })
    }

    /// Directories that a command names and that are not opened for it.
    fn warn_of_wide_paths(&self, mode: &Mode) -> Option<Warning> {
        let program = &self.programs.get(mode.program)?.run;
        let listed = |path: &Path| {
            let lists = [&mode.confinement.read, &mode.confinement.write];
            lists.into_iter().flatten().any(|listed| path.starts_with(listed))
        };
        let path = program.too_wide_paths().find(|path| !listed(path))?;
        mode.confinement.landlock.then(|| {
            let text = format!(
                "mode {}: its command names the directory {}, which games cannot read for that: it holds more than \
                 a game's own files; name it in confinement.read, or one below it",
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
