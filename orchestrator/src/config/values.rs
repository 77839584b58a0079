//! Values of the configuration as serde reads and writes them: each function takes a value of the file's type, checks
//! its range, and reports what it must be. `reading` adds the key and the position.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use regex_lite::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use service::endpoint::Endpoint;

use super::limits::{DURATION_MAX, MODE_NAME_MAX};
use crate::address::{self, Prefix};

/// The first port that a process without privileges can bind.
const PORT_MIN: u16 = 1024;

// ---- Numbers ----

/// A whole number in a range.
pub(super) fn number<'de, T, const MIN: i64, const MAX: i64, D>(from: D) -> Result<T, D::Error>
where
    T: TryFrom<i64>,
    D: Deserializer<'de>,
{
    let number = i64::deserialize(from)?;
    let in_range = (MIN..=MAX).contains(&number).then_some(number);
    in_range
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format!("must be {MIN} to {MAX}, is {number}")))
}

/// The same, for a key without a fixed default.
pub(super) fn number_if_set<'de, T, const MIN: i64, const MAX: i64, D>(
    from: D,
) -> Result<Option<T>, D::Error>
where
    T: TryFrom<i64>,
    D: Deserializer<'de>,
{
    // In the saved form of a mode, an absent value is null.
    let number: Option<i64> = Option::deserialize(from)?;
    let check = |number: i64| {
        use serde::de::IntoDeserializer as _;
        self::number::<T, MIN, MAX, _>(number.into_deserializer())
    };
    number.map(check).transpose()
}

// ---- Durations ----

/// A duration of at most a year: `"250ms"`, `"5s"`, `"10m"`.
pub(super) mod duration {
    use super::{
        DURATION_MAX, Deserialize as _, Deserializer, Duration, Serialize as _, Serializer,
    };

    pub(in super::super) fn deserialize<'de, D>(from: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        super::parse_duration(&String::deserialize(from)?)
    }

    pub(in super::super) fn serialize<S>(duration: &Duration, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        debug_assert!(*duration <= DURATION_MAX);
        humantime::format_duration(*duration).to_string().serialize(to)
    }
}

/// A duration over zero.
pub(super) mod timeout {
    use super::{Deserialize as _, Deserializer, Duration};

    pub(in super::super) use super::duration::serialize;

    pub(in super::super) fn deserialize<'de, D>(from: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        super::over_zero(super::parse_duration(&String::deserialize(from)?)?)
    }
}

/// A duration over zero, for a key without a default.
pub(super) mod timeout_if_set {
    use super::{Deserialize as _, Deserializer, Duration, Serialize as _, Serializer};

    pub(in super::super) fn deserialize<'de, D>(from: D) -> Result<Option<Duration>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text: Option<String> = Option::deserialize(from)?;
        let duration = text.map(|text| super::parse_duration(&text)).transpose()?;
        duration.map(super::over_zero).transpose()
    }

    pub(in super::super) fn serialize<S>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        value.map(|it| humantime::format_duration(it).to_string()).serialize(to)
    }
}

fn parse_duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    let parsed = humantime::parse_duration(text).ok().filter(|it| *it <= DURATION_MAX);
    parsed.ok_or_else(|| {
        E::custom(format!(
            "must be a duration of at most a year like \"5s\", \"250ms\" or \"10m\", is \"{text}\""
        ))
    })
}

fn over_zero<E: serde::de::Error>(duration: Duration) -> Result<Duration, E> {
    if duration.is_zero() { Err(E::custom("must be over zero")) } else { Ok(duration) }
}

// ---- Addresses ----

/// A UDP port range: `"20000-20099"`, or one port.
pub(super) fn port_range<'de, D>(from: D) -> Result<RangeInclusive<u16>, D::Error>
where
    D: Deserializer<'de>,
{
    parse_port_range(&String::deserialize(from)?).map_err(D::Error::custom)
}

pub(super) fn parse_port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok();
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first >= PORT_MIN && first <= last => Ok(first..=last),
        _ => Err(format!(
            "must be two ports from {PORT_MIN} to 65535, \"FIRST-LAST\", or one, is \"{text}\""
        )),
    }
}

/// The games' host as players see it; [`address::public_host`].
pub(super) fn public_host<'de, D>(from: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    address::public_host(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// An address to listen on: all addresses of the machine, or one at which it can be reached.
pub(super) fn bind_address<'de, D>(from: D) -> Result<Option<IpAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    let address = parse(&String::deserialize(from)?, "an IP address")?;
    can_be_bound(address).map(Some)
}

/// An address and port to listen on.
pub(super) fn socket_address<'de, D>(from: D) -> Result<SocketAddr, D::Error>
where
    D: Deserializer<'de>,
{
    parse_socket_address(&String::deserialize(from)?)
}

fn parse_socket_address<E: serde::de::Error>(text: &str) -> Result<SocketAddr, E> {
    let mut address: SocketAddr = parse(text, "an address and port")?;
    let has_zone = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    if !has_zone {
        address.set_ip(can_be_bound(address.ip())?);
    }
    Ok(address)
}

fn can_be_bound<E: serde::de::Error>(address: IpAddr) -> Result<IpAddr, E> {
    match address::unreachable(address) {
        Some(why) if !address::canonical(address).is_unspecified() => {
            Err(E::custom(format!("players cannot connect to {address}, which {why}")))
        }
        Some(_) | None => Ok(address::canonical(address)),
    }
}

/// The path of the admin socket, or `"off"`.
pub(super) fn admin<'de, D>(from: D) -> Result<Endpoint<PathBuf>, D::Error>
where
    D: Deserializer<'de>,
{
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// The address of the HTTP listener, or `"off"`.
pub(super) fn metrics<'de, D>(from: D) -> Result<Endpoint<SocketAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    match String::deserialize(from)?.as_str() {
        "off" => Ok(Endpoint::Off),
        text => parse_socket_address(text).map(Endpoint::At),
    }
}

/// Addresses, IPv4-mapped ones as IPv4.
pub(super) fn addresses<'de, D>(from: D) -> Result<Vec<IpAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Vec::<IpAddr>::deserialize(from)?.into_iter().map(address::canonical).collect())
}

/// Addresses and prefixes.
pub(super) fn prefixes<'de, D>(from: D) -> Result<Vec<Prefix>, D::Error>
where
    D: Deserializer<'de>,
{
    let prefix = |text: &String| {
        let what = "an IP address, or a prefix like \"10.0.0.0/8\"";
        text.parse().map_err(|()| D::Error::custom(format!("must be {what}, is \"{text}\"")))
    };
    Vec::<String>::deserialize(from)?.iter().map(prefix).collect()
}

fn parse<T: FromStr, E: serde::de::Error>(text: &str, what: &str) -> Result<T, E> {
    text.parse().map_err(|_| E::custom(format!("must be {what}, is \"{text}\"")))
}

// ---- Words ----

/// A log level.
pub(super) fn level<'de, D>(from: D) -> Result<LevelFilter, D::Error>
where
    D: Deserializer<'de>,
{
    parse(&String::deserialize(from)?, "off, error, warn, info, debug or trace")
}

/// One of some words, each with its value.
fn word<'de, D, T>(from: D, words: &[(&str, T)]) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy,
{
    let text = String::deserialize(from)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        D::Error::custom(format!("must be {}, is \"{text}\"", words.join(" or ")))
    })
}

/// A type whose values are words in the file.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Each word with its value.
    const WORDS: &'static [(&'static str, Self)];
}

/// The word of a value, both ways.
pub(super) mod words {
    use super::{Deserializer, Serialize as _, Serializer, Word};

    pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: Word,
    {
        super::word(from, T::WORDS)
    }

    pub(in super::super) fn serialize<S, T>(value: &T, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Word,
    {
        let found = T::WORDS.iter().find(|(_, it)| it == value).map(|(word, _)| *word);
        found.unwrap_or_default().serialize(to)
    }
}

/// A regular expression. Two are equal if their texts are.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// The expression.
    pub(crate) fn regex(&self) -> &Regex {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = regex_lite::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Regex::new(text).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let problem = |error| D::Error::custom(format!("must be a regular expression: {error}"));
        String::deserialize(from)?.parse().map_err(problem)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.as_str().serialize(to)
    }
}

// ---- Modes ----

/// The name of a mode.
pub(super) fn mode_name<'de, D>(from: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    let name = String::deserialize(from)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=MODE_NAME_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name);
    }
    Err(D::Error::custom(format!("must be 1 to {MODE_NAME_MAX} letters, digits, '-' or '_'")))
}

/// A program, then its arguments.
pub(super) fn command<'de, D>(from: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let words = Vec::<String>::deserialize(from)?;
    let has_program = words.first().is_some_and(|word| !word.is_empty());
    if has_program && !words.iter().any(|word| word.contains('\0')) {
        return Ok(words);
    }
    Err(D::Error::custom("must be a list: the program, then its arguments"))
}

/// Environment variables that Muster does not set itself.
pub(super) fn variables<'de, D>(from: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    let variables = BTreeMap::<String, String>::deserialize(from)?;
    let is_bad = |(name, value): &(&String, &String)| {
        name.is_empty()
            || name.contains(['=', '\0'])
            || value.contains('\0')
            || name.starts_with("MUSTER_")
            || name.starts_with("LISTEN_")
    };
    match variables.iter().find(is_bad) {
        None => Ok(variables),
        Some((name, _)) => Err(D::Error::custom(format!(
            "cannot set \"{name}\": not a name, or one that Muster sets itself"
        ))),
    }
}

/// The squads of each team, by size.
pub(super) fn teams<'de, D>(from: D) -> Result<Vec<Vec<usize>>, D::Error>
where
    D: Deserializer<'de>,
{
    let teams = Vec::<Vec<i64>>::deserialize(from)?;
    let size = |size: &i64| usize::try_from(*size).ok().filter(|size| *size > 0);
    let sizes = |team: &Vec<i64>| {
        let squads: Option<Vec<usize>> = team.iter().map(size).collect();
        squads.filter(|squads| !squads.is_empty())
    };
    let checked: Option<Vec<Vec<usize>>> = teams.iter().map(sizes).collect();
    checked.ok_or_else(|| {
        D::Error::custom(
            "must be a list of teams, each a list of squad sizes: [[3], [3]] is three against three",
        )
    })
}
