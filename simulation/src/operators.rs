//! What operators do, and what the book makes of it: players are sent out, games ended, drains taken back, and modes
//! closed, opened and given other programs.

use protocol::EvictReason;

use super::book::{Book, PartyStand, Person, Process, Step};
use super::world::World;
use super::{Verdict, demand};
use matchmaker::Config;
use matchmaker::Input;
use matchmaker::{GameId, ModeId, PlayerId};

impl World<'_> {
    /// An operator does something.
    pub(super) fn an_operator_acts(&mut self) -> Verdict {
        match self.choices.below(8) {
            0 => {
                let people: Vec<PlayerId> = self.book.people.keys().copied().collect();
                let seated = self.book.seated.keys().next_back().copied();
                let player = match people.len() {
                    0 => seated.unwrap_or(PlayerId(0)),
                    count => people[self.choices.index(count)],
                };
                self.tell(Input::Kick { player })
            }
            1 => {
                let games: Vec<GameId> = self.book.games.keys().copied().collect();
                let game = match games.len() {
                    0 => GameId(0),
                    count => games[self.choices.index(count)],
                };
                let now = self.choices.one_in(2);
                self.tell(Input::EndGame { game, now })
            }
            2 => self.tell(Input::Undrain),
            _ => {
                let config = self.draw_change();
                self.tell(Input::Reconfigure(Box::new(config)))
            }
        }
    }

    /// The configuration with other bounds, or another mode closed, opened, rolled, kept warm, or of another size.
    fn draw_change(&mut self) -> Config {
        let mut config = self.book.config.clone();
        if self.choices.one_in(6) {
            let largest_match = config.modes.iter().map(|mode| mode.players).max().unwrap_or(1);
            config.queue_max = largest_match + self.choices.index(6);
            config.launching_max = [1, 2, 4][self.choices.index(3)];
            return config;
        }
        let mut waiting = self.book.people.values().filter(|person| person.party.is_none());
        let company = waiting.find(|person| person.company > 1);
        let company = company.map(|person| (person.mode, person.company));
        if let Some((mode, size)) = company.filter(|_| self.choices.one_in(2)) {
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
            None => return self.book.config.clone(),
        }
        config
    }
}

impl Book {
    pub(super) fn end_drain(&mut self) {
        if !self.is_drained && self.draining_since.take().is_some() {
            self.tally.count("drains taken back");
        }
    }

    pub(super) fn note_reconfigured(&mut self, config: &Config) {
        let changes = |mode: ModeId| {
            let (before, now) = (&self.config.modes[mode.0], &config.modes[mode.0]);
            now.is_closed || now.program != before.program
        };
        let is_idle = |it: &&mut Process| it.step == Step::Launching && changes(it.mode);
        let mut unborn = 0;
        for process in self.games.values_mut().filter(is_idle).filter(|it| !it.is_alive) {
            process.step = Step::Ending;
            unborn += 1;
        }
        if unborn > 0 {
            self.tally.count("launches out of date");
        }
        self.tally.count("configurations changed");
        let is_resized = |person: &Person| {
            let sizes = [&self.config, config].map(|it| it.modes[person.mode.0].players);
            sizes[0] != sizes[1]
        };
        let hears = |(_, person): &(&PlayerId, &Person)| {
            let stand = person.party.and_then(|party| self.parties.get(&party)).map(|it| it.stand);
            let waits =
                matches!(stand, None | Some(PartyStand::Offered { .. } | PartyStand::Waiting));
            waits && person.connection.is_some() && is_resized(person)
        };
        self.moment.resized = self.people.iter().filter(hears).map(|(id, _)| *id).collect();
        if !self.moment.resized.is_empty() {
            self.tally.count("queues of another size");
        }
        self.config = config.clone();
    }

    /// What does not exist yet can be told nothing; it is killed when it does.
    pub(super) fn note_to_end(&mut self, game: GameId) {
        let Some(process) = self.games.get_mut(&game) else { return };
        self.tally.count("games ended by operators");
        if process.is_alive {
            self.moment.moves_on = Some((game, process.step));
            return;
        }
        process.step = Step::Ending;
        if let Some(party) = process.party.take() {
            self.take_back(party);
        }
    }

    /// Whether an operator's word is why a game ends.
    pub(super) fn is_ended_by_an_operator(&self, game: GameId) -> bool {
        match self.moment.input {
            Some(Input::EndGame { game: meant, .. }) => meant == game,
            Some(Input::Reconfigure(_)) => true,
            _ => false,
        }
    }

    /// A player is out though it did nothing: it was sent out, or its mode is not played any more.
    pub(super) fn judge_sent_out(
        &mut self,
        id: PlayerId,
        person: &Person,
        reason: EvictReason,
    ) -> Verdict {
        if reason == EvictReason::Kicked {
            self.tally.count("players kicked");
            let is_meant = self.moment.input == Some(Input::Kick { player: id });
            return demand(is_meant, || format!("{id:?} {person:?} is kicked by nobody"));
        }
        self.tally.count("players whose mode was removed");
        let (closed, waited) =
            (self.mode(person.mode).is_closed, self.moment.survivors.remove(&id));
        let stand = person.party.and_then(|party| self.parties.get(&party)).map(|it| it.stand);
        if let Some(PartyStand::Offered { .. } | PartyStand::Waiting) = stand {
            // The first of its players takes it along; nobody else is to be told of it.
            person.party.into_iter().for_each(|party| drop(self.parties.remove(&party)));
        }
        let plays = matches!(stand, Some(PartyStand::Starting(_) | PartyStand::Assigned { .. }));
        demand(closed && !plays, || {
            format!("{id:?} {person:?} is out, waited: {waited}, and its mode is played")
        })
    }
}
