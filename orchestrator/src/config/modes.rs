//! Checks of modes that involve several keys.

use std::collections::BTreeSet;

use brain::limits::{PARTY_MAX, PLAYERS_PER_MATCH_MAX};
use launcher::placeholders;

use super::check::Checker;
use super::limits::MODES_MAX;
use super::mode::{Bind, ContractKey, ModeKeys};
use super::{ConfigError, Mode, Transport, raw};

/// The program of the reference games.
const REFERENCE_GAMES: &str = "muster-game";

/// A mode in the file, by its index there.
struct Place<'a> {
    checker: &'a Checker<'a>,
    index: usize,
}

impl Place<'_> {
    /// The path of a key of the mode.
    fn path(&self, key: &str) -> String {
        format!("mode[{}].{key}", self.index)
    }

    fn is_set(&self, key: &str) -> bool {
        self.checker.is_set(&self.path(key))
    }

    fn is_left_out(&self, key: &str) -> bool {
        self.checker.is_left_out(&self.path(key))
    }

    /// Notes a mistake in a key.
    fn note(&self, key: &str, problem: impl Into<String>) {
        let mistake = self.checker.wrong_at(&format!("mode.{key}"), &self.path(key), problem);
        self.checker.note(mistake);
    }

    /// Notes a missing key, unless its value was left out.
    fn note_missing(&self, key: &str, problem: &str) {
        if !self.is_left_out(key) {
            let table = format!("mode[{}]", self.index);
            self.checker.note(self.checker.wrong_at(&format!("mode.{key}"), &table, problem));
        }
    }
}

impl Checker<'_> {
    /// All modes, each under a name of its own.
    pub(super) fn modes(&self, modes: Vec<ModeKeys>, confinement: &raw::Confinement) -> Vec<Mode> {
        if modes.len() > MODES_MAX {
            let problem = format!("there are {}; {MODES_MAX} at most", modes.len());
            self.note(self.wrong_at("mode", &format!("mode[{MODES_MAX}]"), problem));
        }
        let mut names = BTreeSet::new();
        for (index, mode) in modes.iter().enumerate() {
            if !mode.name.is_empty() && !names.insert(&mode.name) {
                let problem = format!("two modes are called \"{}\"", mode.name);
                self.note(self.wrong_at("mode.name", &format!("mode[{index}]"), problem));
            }
        }
        let checked = modes.into_iter().enumerate().filter_map(|(index, mode)| {
            self.kept(self.mode(&Place { checker: self, index }, mode, confinement))
        });
        checked.collect()
    }

    fn mode(
        &self,
        place: &Place<'_>,
        keys: ModeKeys,
        confinement: &raw::Confinement,
    ) -> Result<Mode, ConfigError> {
        if keys.name.is_empty() {
            place.note_missing("name", "is missing: every mode needs a name");
        }
        if keys.command.is_empty() {
            place.note_missing("command", "is missing: every mode needs a program");
        }
        check_players(place, &keys);
        check_skill(place, &keys);
        // Without a known contract, nothing that depends on it can be judged.
        if !["contract", "bind"].iter().any(|key| place.is_left_out(key)) {
            check_contract(place, &keys);
        }
        let longest = keys.max_duration.as_secs();
        let is_reference = keys.command.first().is_some_and(|it| it == REFERENCE_GAMES);
        let confinement =
            self.confinement(&keys.confinement, confinement, longest, is_reference)?;
        Ok(Mode::new(keys, confinement))
    }
}

/// Teams, players and parties fit each other.
fn check_players(place: &Place<'_>, keys: &ModeKeys) {
    if keys.teams.is_empty() && place.is_set("teams") && !place.is_left_out("teams") {
        place.note("teams", "must be a list of teams: [[3], [3]] is three against three");
    }
    let in_teams = ModeKeys { players: None, teams: keys.teams.clone(), ..ModeKeys::default() };
    let in_teams = in_teams.players();
    match keys.players {
        _ if keys.teams.is_empty() => {}
        _ if in_teams > PLAYERS_PER_MATCH_MAX => {
            let problem = format!("are {in_teams} players; {PLAYERS_PER_MATCH_MAX} at most");
            place.note("teams", problem);
        }
        Some(players) if players != in_teams => {
            let problem = format!("is {players}, and the teams are {in_teams}; leave it out");
            place.note("players", problem);
        }
        Some(_) | None => {}
    }
    let party_max = keys.squad_max().min(PARTY_MAX);
    if keys.party_max > party_max && !place.is_left_out("players") {
        place.note("party_max", format!("must be 1 to {party_max}, is {}", keys.party_max));
    }
}

fn check_skill(place: &Place<'_>, keys: &ModeKeys) {
    let Some(skill) = &keys.skill else { return };
    let (first, last) = (skill.window, skill.window_max());
    if last < first {
        let problem = format!("is {last}, less than the first window, which is {first}");
        place.note("skill.window_max", problem);
    }
}

/// Everything that depends on what the program knows of Muster.
fn check_contract(place: &Place<'_>, keys: &ModeKeys) {
    let is_plain = keys.contract == ContractKey::Plain;
    if keys.bind == Bind::Game && !is_plain {
        let problem = "\"game\" goes with contract = \"plain\": other games inherit their socket";
        return place.note("bind", problem);
    }
    check_placeholders(place, keys);
    let (min, max) = keys.warm();
    if is_plain {
        if keys.template {
            let problem = "cannot go with contract = \"plain\": a template needs a control channel";
            place.note("template", problem);
        }
        if keys.transport == Transport::Netcode {
            let problem = "\"netcode\" cannot go with contract = \"plain\": such a game cannot receive its key";
            place.note("transport", problem);
        }
        if keys.rejoin {
            let problem =
                "a game with contract = \"plain\" cannot be notified of returning players";
            place.note("rejoin", problem);
        }
    } else if keys.ready_line.is_some() {
        place.note(
            "ready_line",
            "goes with contract = \"plain\": other games report that they are ready",
        );
    }
    let min_key = if keys.warm_min.is_some() { "warm_min" } else { "warm" };
    for (key, value) in [("warm_max", keys.warm_max), (min_key, keys.warm_min.or(keys.warm))] {
        let Some(value) = value else { continue };
        let shown = if key == "warm" { "warm_min" } else { key };
        let note = |problem: String| {
            let mistake =
                place.checker.wrong_at(&format!("mode.{shown}"), &place.path(key), problem);
            place.checker.note(mistake);
        };
        if max < min {
            return note(format!("warm_max = {max} is below warm_min = {min}"));
        }
        if is_plain && value > 0 {
            return note(
                "must be 0 with contract = \"plain\": such a game cannot wait for players"
                    .to_owned(),
            );
        }
    }
}

/// Every placeholder in the command and in variables is one that Muster replaces.
fn check_placeholders(place: &Place<'_>, keys: &ModeKeys) {
    let known = placeholders::known(keys.contract());
    for unknown in keys.command.iter().skip(1).flat_map(|word| placeholders::unknown(word, known)) {
        let problem = match known {
            [] => format!(
                "there is no placeholder {{{unknown}}}: a game of {} receives everything in its environment and on its \
                 control channel; {{{{{unknown}}}}} stands for itself",
                protocol::GAME_PROTOCOL
            ),
            known => format!(
                "there is no placeholder {{{unknown}}}, only {}; {{{{{unknown}}}}} stands for itself",
                placeholders::list(known)
            ),
        };
        place.note("command", problem);
    }
    for (name, value) in &keys.env {
        for unknown in placeholders::unknown(value, &[]) {
            let problem = format!(
                "{name}: there is no placeholder {{{unknown}}} in a variable; MUSTER_PORT holds the port, and \
                 {{{{{unknown}}}}} stands for itself"
            );
            place.note("env", problem);
        }
    }
}
