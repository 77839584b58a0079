//! The sections of the file. Each field is a key, with its default in `Default`; [`values`] checks its value.

use std::fmt;
use std::path::PathBuf;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::mode::ModeKeys;
use super::{Limits, Listen, Log, Ports, Reports, Shutdown, State, values};

/// A key whose value knows its position, for checks that need other keys.
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
    pub(super) mode: Vec<ModeKeys>,
}

/// Confinement, for all modes or for one. A key of a mode takes precedence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
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
    #[serde(deserialize_with = "values::number_if_set::<u32, 1_000, FIRST_USER, _>")]
    pub(super) first_user: Option<u32>,
    pub(super) memory_max: Key<Amount>,
    pub(super) cpu_time_max: Key<Amount>,
    pub(super) cpu_max: Key<Amount>,
    pub(super) files_max: Key<Amount>,
    pub(super) file_size_max: Key<Amount>,
    pub(super) directory_max: Key<Amount>,
    pub(super) processes_max: Key<Amount>,
}

const FIRST_USER: i64 = launcher::DEFAULT_FIRST_USER as i64;

/// A namespace of a game: a word, or `true` for its own and `false` for the host's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a word such as \"host\", or true or false")]
pub(super) enum Wall {
    Flag(bool),
    Word(String),
}

/// The user that games run as.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected true, false, or a user by name or number")]
pub(super) enum User {
    Flag(bool),
    Number(i64),
    Name(String),
}

/// A limit, with or without a unit.
#[derive(Debug, Clone, PartialEq)]
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
