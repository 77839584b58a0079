//! The indices of modes and programs. A mode keeps the index that it received first for as long as the daemon runs,
//! upgrades and crashes included, and so does a program: games, matches and counts refer to them by index.

use brain::ModeId;
use serde::{Deserialize, Serialize};

use super::limits::INDICES_MAX;
use super::mode::Program;
use super::{Config, Mode};

/// All modes and programs by index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Places {
    pub(crate) modes: Vec<Mode>,
    programs: Vec<Program>,
    /// The first user of the games, by which running games are recognized. `None`: that of the configuration.
    #[serde(default)]
    first_user: Option<u32>,
}

impl Config {
    /// The indices, for the next daemon or program.
    pub(crate) fn places(&self) -> Places {
        Places {
            modes: self.modes.clone(),
            programs: self.programs.clone(),
            first_user: Some(self.first_user),
        }
    }

    /// Gives each mode the index that it has in the file.
    pub(super) fn take_places(&mut self) {
        self.order = (0..self.modes.len()).map(ModeId).collect();
        self.programs = self.modes.iter().map(Program::from).collect();
        for (place, mode) in self.modes.iter_mut().enumerate() {
            mode.program = place;
        }
    }

    /// Gives each mode the index that it had before, and new modes new ones. Modes that are no longer in the file are
    /// closed.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn keep_places(&mut self, before: &Places) -> Result<(), String> {
        let named = std::mem::take(&mut self.modes);
        self.programs = before.programs.clone();
        self.first_user = before.first_user.unwrap_or(self.first_user);
        self.order.clear();
        for mode in &before.modes {
            self.modes.push(mode.closed());
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
        if self.modes.len().max(self.programs.len()) > INDICES_MAX {
            return Err(format!(
                "more than {INDICES_MAX} modes or programs since the daemon was started; restart it"
            ));
        }
        Ok(())
    }

    /// The index of a mode's program: its own from before, that of an equal program, or a new one.
    fn place_of_program(&mut self, mode: &Mode, before: Option<usize>) -> usize {
        let program = Program::from(mode);
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

    /// All modes: those of the file in its order, then the removed ones.
    pub(crate) fn all_in_order(&self) -> impl Iterator<Item = ModeId> {
        let removed = self.modes.iter().enumerate().filter(|(_, mode)| mode.is_closed);
        self.order.iter().copied().chain(removed.map(|(place, _)| ModeId(place)))
    }

    /// The program for new games of a mode.
    pub(crate) fn program_of(&self, mode: ModeId) -> &Program {
        &self.programs[self.modes[mode.0].program]
    }

    /// The mode that a program belongs to.
    pub(crate) fn mode_of_program(&self, program: usize) -> Option<ModeId> {
        let name = &self.programs.get(program)?.run.mode;
        self.modes.iter().position(|mode| mode.name == *name).map(ModeId)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::Transport;
    use super::super::mode::ModeKeys;
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
    fn modes_and_programs_keep_their_indices() {
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
        assert_eq!(back.modes[0].program, 0, "a program keeps its index");
        assert_eq!(back.mode_of_program(3), Some(ModeId(0)));
    }

    /// The transport and the ready line make another program; the ready timeout does not.
    #[test]
    fn a_program_is_what_its_games_keep() {
        let first = config(&[("a", "x")]);
        let place = |change: fn(&mut ModeKeys)| {
            let mut config = config(&[("a", "x")]);
            change(config.modes[0].keys_mut());
            config.keep_places(&first.places()).unwrap();
            (config.modes[0].program, config.programs[0].run.ready_timeout.as_secs())
        };
        assert_eq!(place(|_| ()), (0, 5));
        assert_eq!(place(|mode| mode.ready_timeout = Duration::from_secs(9)), (0, 9));
        assert_eq!(place(|mode| mode.transport = Transport::Netcode), (1, 5));
        assert_eq!(place(|mode| mode.ready_line = Some("go".parse().unwrap())), (1, 5));
    }

    #[test]
    fn indices_survive_being_saved() {
        let mut before = config(&[("a", "x")]);
        before.modes[0].keys_mut().ready_line = Some("go+".parse().unwrap());
        let text = serde_json::to_string(&before.places()).unwrap();
        let read: Places = serde_json::from_str(&text).unwrap();
        assert_eq!(read, before.places());
    }
}
