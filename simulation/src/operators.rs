//! Operators kick players, end games, take drains back, and change the configuration.

use brain::{Config, GameId, GameInput, Input, ModeId, PlayerId, PlayerInput};

use crate::CheckResult;
use crate::world::World;

impl World<'_> {
    /// An operator acts.
    pub(crate) fn operator_acts(&mut self) -> CheckResult {
        match self.choices.below(8) {
            0 => {
                let players: Vec<PlayerId> = self.model.players.keys().copied().collect();
                let seated = self.model.assigned.keys().next_back().copied();
                let player = match players.len() {
                    0 => seated.unwrap_or(PlayerId(0)),
                    count => players[self.choices.index(count)],
                };
                self.apply(Input::Player(PlayerInput::Kick { player }))
            }
            1 => {
                let games: Vec<GameId> = self.model.games.keys().copied().collect();
                let game = match games.len() {
                    0 => GameId(0),
                    count => games[self.choices.index(count)],
                };
                let now = self.choices.one_in(2);
                self.apply(Input::Game(GameInput::End { game, now }))
            }
            2 => self.apply(Input::Undrain),
            _ => {
                let config = self.draw_change();
                self.apply(Input::Reconfigure(Box::new(config)))
            }
        }
    }

    /// The configuration with other bounds, or another mode closed, opened, rolled, kept warm, or of another size.
    fn draw_change(&mut self) -> Config {
        let mut config = self.model.config.clone();
        if self.choices.one_in(6) {
            let largest_match = config.modes.iter().map(|mode| mode.players).max().unwrap_or(1);
            config.queue_max = largest_match + self.choices.index(6);
            config.launching_max = [1, 2, 4][self.choices.index(3)];
            return config;
        }
        let mut waiting = self.model.players.values().filter(|player| player.match_id.is_none());
        let party = waiting.find(|player| player.ticket_size > 1);
        let party = party.map(|player| (player.mode, player.ticket_size));
        if let Some((mode, size)) = party.filter(|_| self.choices.one_in(2)) {
            config.modes[mode.0].party_max = size - 1;
            return config;
        }
        let index = self.choices.index(config.modes.len());
        let mode = &mut config.modes[index];
        match self.choices.below(6) {
            0 if mode.teams.is_empty() => {
                mode.players = (1 + self.choices.index(5)).min(config.queue_max);
                mode.party_max = mode.party_max.min(mode.players);
            }
            0 | 1 => {
                mode.is_closed = !mode.is_closed;
                (mode.warm_min, mode.warm_max) = (0, 0);
            }
            2 => mode.party_max = 1 + self.choices.index(mode.party_max),
            3 => mode.program += 1,
            _ if mode.is_closed => mode.is_closed = false,
            _ => {
                mode.warm_min = self.choices.index(4);
                mode.warm_max = mode.warm_min + self.choices.index(3);
            }
        }
        let open = config.modes.iter().position(|mode| !mode.is_closed);
        let default_is_closed = config.modes[config.default_mode.0].is_closed;
        match open {
            Some(open) if default_is_closed => config.default_mode = ModeId(open),
            Some(_) => {}
            // There has to be one.
            None => return self.model.config.clone(),
        }
        config
    }
}
