//! The shape of the file. Every value knows where it stands, so that a later check can say so.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

pub(super) type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) listen: Listen,
    pub(super) ports: Ports,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
    pub(super) state: State,
    pub(super) reports: Reports,
    pub(super) log: Log,
    pub(super) confinement: Confinement,
    pub(super) mode: Vec<Spanned<Mode>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listen {
    pub(super) tcp: Key<String>,
    pub(super) admin: Key<String>,
    pub(super) metrics: Key<String>,
    pub(super) proxy_from: Key<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ports {
    pub(super) range: Key<String>,
    pub(super) public_host: Key<String>,
    pub(super) bind: Key<String>,
    pub(super) quarantine: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) clients: Key<i64>,
    pub(super) clients_per_address: Key<i64>,
    pub(super) away_per_address: Key<i64>,
    pub(super) seats_per_address: Key<i64>,
    pub(super) parties_per_address: Key<i64>,
    pub(super) queue: Key<i64>,
    pub(super) handshake_timeout: Key<String>,
    pub(super) line_timeout: Key<String>,
    pub(super) idle_timeout: Key<String>,
    pub(super) write_timeout: Key<String>,
    pub(super) close_timeout: Key<String>,
    pub(super) lost_timeout: Key<String>,
    pub(super) resume_window: Key<String>,
    pub(super) skill_from: Key<Vec<IpAddr>>,
    pub(super) lines_per_second: Key<i64>,
    pub(super) lines_burst: Key<i64>,
    pub(super) write_buffer: Key<i64>,
    pub(super) launching: Key<i64>,
    pub(super) output_lines_per_second: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shutdown {
    pub(super) drain_timeout: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct State {
    pub(super) crash_safe: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reports {
    pub(super) keep: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mode {
    pub(super) name: Key<String>,
    pub(super) players: Key<i64>,
    pub(super) teams: Key<Vec<Vec<i64>>>,
    pub(super) party_max: Key<i64>,
    pub(super) skill: Option<Skill>,
    pub(super) max_wait: Key<String>,
    pub(super) rounds: Key<i64>,
    pub(super) command: Key<Vec<String>>,
    pub(super) env: Key<BTreeMap<String, String>>,
    pub(super) contract: Key<String>,
    pub(super) bind: Key<String>,
    pub(super) ready_line: Key<String>,
    pub(super) template: Key<bool>,
    pub(super) template_games: Key<i64>,
    pub(super) transport: Key<String>,
    pub(super) warm: Key<i64>,
    pub(super) warm_min: Key<i64>,
    pub(super) warm_max: Key<i64>,
    pub(super) ready_timeout: Key<String>,
    pub(super) start_timeout: Key<String>,
    pub(super) accept_timeout: Key<String>,
    pub(super) hello_timeout: Key<String>,
    pub(super) rejoin: Key<bool>,
    pub(super) max_duration: Key<String>,
    pub(super) alive_timeout: Key<String>,
    pub(super) stop_grace: Key<String>,
    #[cfg(feature = "stub-games")]
    pub(super) stub: Key<bool>,
    pub(super) confinement: Confinement,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Skill {
    pub(super) default: Key<i64>,
    pub(super) window: Key<i64>,
    pub(super) widen_by: Key<i64>,
    pub(super) widen_every: Key<String>,
    pub(super) window_max: Key<i64>,
}

/// For all modes, or for one in place of that.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Confinement {
    pub(super) enabled: Key<bool>,
    pub(super) user: Key<User>,
    pub(super) no_new_privileges: Key<bool>,
    pub(super) network: Key<Wall>,
    pub(super) ipc: Key<Wall>,
    pub(super) mount: Key<Wall>,
    pub(super) landlock: Key<bool>,
    pub(super) seccomp: Key<String>,
    pub(super) cgroup: Key<bool>,
    pub(super) read: Key<Vec<PathBuf>>,
    pub(super) write: Key<Vec<PathBuf>>,
    pub(super) first_user: Key<i64>,
    pub(super) memory_max: Key<Amount>,
    pub(super) cpu_time_max: Key<Amount>,
    pub(super) cpu_max: Key<Amount>,
    pub(super) files_max: Key<Amount>,
    pub(super) file_size_max: Key<Amount>,
    pub(super) directory_max: Key<Amount>,
    pub(super) processes_max: Key<Amount>,
}

/// Whether games are kept from something of the host's: in a word, or by the older yes or no, where `true` keeps them.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a word such as \"host\", or true or false")]
pub(super) enum Wall {
    Flag(bool),
    Word(String),
}

/// As whom games run.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false, or a user by name or number")]
pub(super) enum User {
    Flag(bool),
    Number(i64),
    Name(String),
}

/// A limit, with its unit or without.
#[derive(Debug)]
pub(super) enum Amount {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnAmount;

        impl Visitor<'_> for AnAmount {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or an amount in quotes: \"512MiB\", \"30s\", \"150%\" or \"unlimited\"")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount::Text(text.to_owned()))
            }
        }

        from.deserialize_any(AnAmount)
    }
}
