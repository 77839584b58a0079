//! How Muster goes down: nobody is taken in, who waits is sent off, and games end, by themselves or in time.

use protocol::Refusal;

use crate::deadlines::Owner;
use crate::io::{Action, Event};
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::{Player, PlayerPhase};
use protocol::{GameId, PlayerId};

impl Matchmaker {
    pub(crate) fn handle_drain(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Draining;
        for mode in self.mode_ids() {
            let telling = Owner::Telling(mode);
            for owner in [Owner::Mode(mode), Owner::Surplus(mode), Owner::Windows(mode), telling] {
                self.deadlines.set(owner, None);
            }
        }
        self.deadlines.set(Owner::Refill, None);
        self.deadlines.set(Owner::Drain, Some(self.after(self.config.drain_timeout)));
        let is_sent_off = |player: &Player| match player.phase() {
            PlayerPhase::Queued => true,
            PlayerPhase::Matched(id) => {
                !matches!(self.matches[&id].phase(), MatchPhase::Starting(_))
            }
            PlayerPhase::Assigned(_) => false,
        };
        let sent_off = self.players.iter().filter(|(_, player)| is_sent_off(player));
        let refused: Vec<PlayerId> = sent_off.map(|(&id, _)| id).collect();
        self.refuse_waiting(&refused);
        self.stop_idle_games();
        let games = self.games.values().filter(|game| game.match_id().is_some()).count();
        let timeout = self.config.drain_timeout;
        self.act(Action::Report(Event::Draining { games, timeout }));
    }

    /// Takes players in again. Games that were told to end do so, and others are launched in their place.
    pub(crate) fn handle_undrain(&mut self) {
        if self.phase == Phase::Draining {
            self.phase = Phase::Serving;
            self.deadlines.set(Owner::Drain, None);
            self.missing_since = None;
            self.modes.iter_mut().for_each(|mode| mode.surplus_since = None);
        }
    }

    /// Takes a player out of its queue, or forgets its match, which has no game.
    pub(crate) fn unqueue(&mut self, id: PlayerId) {
        let player = &self.players[&id];
        let (mode, ticket, phase) = (&mut self.modes[player.mode.0], player.ticket, player.phase());
        match phase {
            // The first on its ticket takes the ticket along, and the first in a match the match.
            PlayerPhase::Queued if !mode.queue.contains(ticket) => {}
            PlayerPhase::Queued => mode.queue.remove(ticket),
            PlayerPhase::Matched(match_id) => {
                if let Some(forgotten) = self.matches.remove(&match_id) {
                    mode.waiting.remove(&forgotten.ticket);
                    self.deadlines.set(Owner::Offer(match_id), None);
                }
            }
            PlayerPhase::Assigned(_) => unreachable!("an assigned player waits for nothing"),
        }
        self.companies.remove(&ticket);
    }

    /// Sends players off who were not assigned yet, and forgets their matches, none of which has a game.
    pub(crate) fn refuse_waiting(&mut self, players: &[PlayerId]) {
        for id in players {
            self.unqueue(*id);
            let Some(player) = self.forget(*id) else {
                unreachable!("{id:?} is refused and does not exist");
            };
            self.totals.refused += 1;
            if let Some(connection) = player.connection {
                self.refuse(connection, Refusal::Draining);
            }
        }
    }

    pub(crate) fn handle_stop(&mut self) {
        self.handle_drain();
        let games: Vec<GameId> = self.games.keys().copied().collect();
        for game in games {
            self.kill(game);
        }
    }
}
