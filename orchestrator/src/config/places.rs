//! The places of modes and programs. A mode has the place that it got first for as long as there is the daemon, upgrades
//! and crashes included, and so has a program: games, matches and figures name them by it.

use matchmaker::ModeId;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::{Config, Mode, Transport};

/// Modes and programs that there ever were, at most: the launcher has users for so many, and they are cheap.
const PLACES_MAX: usize = 1_000;

/// What a game is made of and how it is spoken with: its own for its life, whatever becomes of its mode meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// What the launcher runs.
    pub(crate) run: launcher::Program,
    pub(crate) transport: Transport,
    /// For a program that knows nothing of Muster: what it prints when it can be played with.
    #[serde(with = "pattern")]
    pub(crate) ready_line: Option<Regex>,
}

/// What is at each place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Places {
    pub(crate) modes: Vec<Mode>,
    programs: Vec<Program>,
    /// The first user of the games: those that run are known by theirs. `None`: that of the configuration.
    #[serde(default)]
    first_user: Option<u32>,
}

impl Config {
    /// What is at each place, for whoever goes on.
    pub(crate) fn places(&self) -> Places {
        Places {
            modes: self.modes.clone(),
            programs: self.programs.clone(),
            first_user: Some(self.first_user),
        }
    }

    /// Gives each mode the place that it has in the file.
    pub(super) fn take_places(&mut self) {
        self.order = (0..self.modes.len()).map(ModeId).collect();
        self.programs = self.modes.iter().map(Mode::as_program).collect();
        for (place, mode) in self.modes.iter_mut().enumerate() {
            mode.program = place;
        }
    }

    /// Gives each mode the place that it has had, and a new one to those that are new. Modes that are there no more are
    /// closed.
    ///
    /// # Errors
    /// When there were too many.
    pub(crate) fn keep_places(&mut self, before: &Places) -> Result<(), String> {
        let named = std::mem::take(&mut self.modes);
        self.programs = before.programs.clone();
        self.first_user = before.first_user.unwrap_or(self.first_user);
        self.order.clear();
        for mode in &before.modes {
            let closed = Mode { is_closed: true, warm_min: 0, warm_max: 0, ..mode.clone() };
            self.modes.push(closed);
        }
        for mut mode in named {
            let place = self.modes.iter().position(|known| known.name == mode.name);
            let before = place.map(|place| self.modes[place].program);
            mode.program = self.place_of_program(&mode, before);
            let place = place.unwrap_or(self.modes.len());
            match self.modes.get_mut(place) {
                Some(known) => *known = mode,
                None => self.modes.push(mode),
            }
            self.order.push(ModeId(place));
        }
        if self.modes.len().max(self.programs.len()) > PLACES_MAX {
            return Err(format!(
                "more than {PLACES_MAX} modes or programs since the daemon was started; that takes a stop and a start"
            ));
        }
        Ok(())
    }

    /// The place of a mode's program: its own from before, that of the same program, or a new one.
    fn place_of_program(&mut self, mode: &Mode, before: Option<usize>) -> usize {
        let program = mode.as_program();
        let is_same = |place: &usize| {
            self.programs.get(*place).is_some_and(|it| it.same_program_as(&program))
        };
        let same = before.filter(is_same).or_else(|| (0..self.programs.len()).find(is_same));
        let place = same.unwrap_or(self.programs.len());
        match self.programs.get_mut(place) {
            Some(known) => *known = program,
            None => self.programs.push(program),
        }
        place
    }

    /// All modes: those that are played as the operator has ordered them, then those that were removed.
    pub(crate) fn all_in_order(&self) -> impl Iterator<Item = ModeId> {
        let removed = self.modes.iter().enumerate().filter(|(_, mode)| mode.is_closed);
        self.order.iter().copied().chain(removed.map(|(place, _)| ModeId(place)))
    }

    /// What a game of a mode is launched as from here on.
    pub(crate) fn program_of(&self, mode: ModeId) -> &Program {
        &self.programs[self.modes[mode.0].program]
    }

    /// The mode that a program is of.
    pub(crate) fn mode_of_program(&self, program: usize) -> Option<ModeId> {
        let name = &self.programs.get(program)?.run.mode;
        self.modes.iter().position(|mode| mode.name == *name).map(ModeId)
    }
}

impl Program {
    /// Whether games of both are the same to whoever meets them.
    fn same_program_as(&self, other: &Self) -> bool {
        let pattern = |it: &Self| it.ready_line.as_ref().map(|line| line.as_str().to_owned());
        self.run.same_process_as(&other.run)
            && self.transport == other.transport
            && pattern(self) == pattern(other)
    }
}

/// A pattern as it is written down.
pub(super) mod pattern {
    use regex_lite::Regex;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        pattern: &Option<Regex>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        pattern.as_ref().map(Regex::as_str).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Regex>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| Regex::new(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn config(modes: &[(&str, &str)]) -> Config {
        let mode = |(name, command): &(&str, &str)| {
            format!("[[mode]]\nname = \"{name}\"\ncommand = [\"{command}\"]\n")
        };
        let text: String = modes.iter().map(mode).collect();
        Config::from_text(&text, Path::new("muster.toml")).unwrap()
    }

    fn after(before: &Config, modes: &[(&str, &str)]) -> Config {
        let mut config = config(modes);
        config.keep_places(&before.places()).unwrap();
        config.for_brain().assert_valid();
        config
    }

    #[test]
    fn modes_keep_their_places_and_programs_too() {
        let first = config(&[("a", "x"), ("b", "y")]);
        let second = after(&first, &[("c", "z"), ("b", "y")]);
        let shown = |config: &Config| -> Vec<(String, bool, usize)> {
            let modes = config.modes.iter();
            modes.map(|mode| (mode.name.clone(), mode.is_closed, mode.program)).collect()
        };
        let mode = |name: &str, is_closed, program| (name.to_owned(), is_closed, program);
        assert_eq!(shown(&second), [mode("a", true, 0), mode("b", false, 1), mode("c", false, 2)]);
        assert_eq!(second.order, [ModeId(2), ModeId(1)]);
        let third = after(&second, &[("a", "other"), ("b", "y")]);
        assert_eq!(shown(&third), [mode("a", false, 3), mode("b", false, 1), mode("c", true, 2)]);
        let back = after(&third, &[("a", "x")]);
        assert_eq!(back.modes[0].program, 0, "a program that was there before has its place");
        assert_eq!(back.mode_of_program(3), Some(ModeId(0)));
    }

    /// What is spoken with a game is a part of what it is; how long it may take to be there is not.
    #[test]
    fn a_program_is_what_its_games_keep_for_their_life() {
        let first = config(&[("a", "x")]);
        let place = |change: fn(&mut Mode)| {
            let mut config = config(&[("a", "x")]);
            change(&mut config.modes[0]);
            config.keep_places(&first.places()).unwrap();
            (config.modes[0].program, config.programs[0].run.ready_timeout.as_secs())
        };
        assert_eq!(place(|_| ()), (0, 5));
        assert_eq!(place(|mode| mode.ready_timeout = Duration::from_secs(9)), (0, 9));
        assert_eq!(place(|mode| mode.transport = Transport::Netcode), (1, 5));
        assert_eq!(place(|mode| mode.ready_line = Some(Regex::new("go").unwrap())), (1, 5));
    }

    #[test]
    fn places_are_written_down_and_read() {
        let mut before = config(&[("a", "x")]);
        before.modes[0].ready_line = Some(regex_lite::Regex::new("go+").unwrap());
        let text = serde_json::to_string(&before.places()).unwrap();
        let read: Places = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", before.places()));
    }
}
