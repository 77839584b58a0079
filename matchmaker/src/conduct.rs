//! How the brain charges accounts, and what follows from it; see [`accounts`](crate::accounts).

use std::time::Duration;

use protocol::EvictReason;

use crate::accounts::Charges;
use crate::deadlines::Owner;
use crate::limits::{ARRIVAL_SLACK, SEATS_MIN};
use crate::matches::{Match, MatchPhase};
use crate::matchmaker::Matchmaker;
use crate::players::PlayerPhase;
use crate::queue::Ticket;
use protocol::report::{Event, Exit, MatchEnd};
use protocol::{Account, MatchId, ModeId, PlayerId};

impl Matchmaker {
    /// How many accounts' players are passed over, because their seats are not taken.
    pub fn accounts_held(&self) -> usize {
        self.charges.held_count()
    }

    /// Counts all charges anew, after the brain was read from what was written down.
    pub(crate) fn count_charges(&mut self) {
        if self.charges.are_counted {
            return;
        }
        self.charges = self.charges_of_players();
        self.charges.are_counted = true;
        for account in self.charges.accounts() {
            self.charges.note_changed(account);
        }
        self.review_accounts();
        // Who was passed over when it was written down may not be so now.
        let queued = |id: &PlayerId| self.players[id].phase() == PlayerPhase::Queued;
        let tickets: Vec<Ticket> =
            self.players.keys().filter(|id| queued(id)).map(|id| self.players[id].ticket).collect();
        tickets.into_iter().for_each(|ticket| self.refresh_presence(ticket));
    }

    /// The charges, as they follow from who is there.
    pub(crate) fn charges_of_players(&self) -> Charges {
        let mut charges = Charges::default();
        for (&id, player) in &self.players {
            if !matches!(player.phase(), PlayerPhase::Assigned(_)) {
                charges.add_waiting(player.account, id);
                if player.connection.is_none() {
                    charges.add_away(player.account, player.mode, (player.away_since, id));
                }
            }
            if player.owes_seat {
                charges.add_seat(player.account);
            }
        }
        self.parties.founders().for_each(|account| charges.add_party(account));
        charges
    }

    // ---- Who is passed over ----

    /// Whether all on a ticket are here, and none of them is of an account that is held.
    pub(crate) fn is_present(&self, ticket: Ticket) -> bool {
        self.members(ticket).iter().all(|id| {
            let player = &self.players[id];
            player.connection.is_some() && !self.charges.is_held(player.account)
        })
    }

    /// Tells a queue whether a ticket is to be passed over.
    pub(crate) fn refresh_presence(&mut self, ticket: Ticket) {
        let is_present = self.is_present(ticket);
        let mode = self.players[&self.members(ticket)[0]].mode;
        self.modes[mode.0].queue.set_present(ticket, is_present);
        self.modes[mode.0].fill_is_due |= is_present;
    }

    /// Looks which accounts are held now, and has their players passed over, or not any more. To be called where every
    /// player and every ticket is where it belongs.
    pub(crate) fn review_accounts(&mut self) {
        while let Some(account) = self.charges.take_changed() {
            self.review(account);
        }
    }

    fn review(&mut self, account: Account) {
        let pause = self.pause_of(account);
        self.deadlines.set(Owner::Pause(account), pause);
        let is_held = match self.config.seats_per_account {
            0 => false,
            seats => {
                // Whatever one account does, others find a port.
                let share = (self.config.games_max / 2).max(SEATS_MIN);
                let seats_max = self.conducts.seats_max(account, seats, self.now).min(share);
                pause.is_some() || self.charges.seats(account) >= seats_max
            }
        };
        if !self.charges.set_held(account, is_held) {
            return;
        }
        for id in self.charges.waiting(account) {
            if self.players[&id].phase() == PlayerPhase::Queued {
                self.refresh_presence(self.players[&id].ticket);
            }
        }
    }

    /// Until when an account pauses.
    pub(crate) fn pause_of(&self, account: Account) -> Option<Duration> {
        match self.config.seats_per_account {
            0 => None,
            _ => self.conducts.paused_until(account, self.now),
        }
    }

    // ---- Seats ----

    /// Whether it is counted who comes into the seats of a mode.
    fn counts_seats(&self, mode: ModeId) -> bool {
        self.config.seats_per_account > 0 && self.mode(mode).has_control
    }

    /// A player is given a seat that nobody has come into.
    pub(crate) fn charge_seat(&mut self, id: PlayerId) {
        let player = &self.players[&id];
        if player.owes_seat || !player.account.is_known() || !self.counts_seats(player.mode) {
            return;
        }
        let account = player.account;
        self.player_mut(id).owes_seat = true;
        self.charges.add_seat(account);
        self.charges.note_changed(account);
    }

    /// A player's seat is charged to nobody any more. Whether it was.
    pub(crate) fn release_seat(&mut self, id: PlayerId) -> bool {
        let Some(player) = self.players.get_mut(&id) else { return false };
        if !std::mem::take(&mut player.owes_seat) {
            return false;
        }
        let account = player.account;
        self.charges.remove_seat(account);
        self.charges.note_changed(account);
        true
    }

    /// A player came into its game.
    pub(crate) fn note_arrival(&mut self, id: PlayerId) {
        let Some(player) = self.players.get(&id) else { return };
        let account = player.account;
        let has_many = 2 * self.charges.seats(account) >= self.config.seats_per_account;
        if self.release_seat(id) {
            self.conducts.note_good(account, has_many, self.now);
            self.charges.note_changed(account);
        }
    }

    /// Has it looked at later who has come into a match.
    pub(crate) fn await_arrivals(&mut self, match_id: MatchId) {
        let found = &self.matches[&match_id];
        if found.players.iter().any(|id| self.players[id].owes_seat) {
            let span = self.mode(found.mode).hello_timeout.saturating_add(ARRIVAL_SLACK);
            self.deadlines.set(Owner::Arrivals(match_id), Some(self.after(span)));
        }
    }

    /// The players of a match had time to come in.
    pub(crate) fn handle_arrivals_due(&mut self, match_id: MatchId) {
        let found = &self.matches[&match_id];
        let span = self.mode(found.mode).hello_timeout.saturating_add(ARRIVAL_SLACK);
        let owing = found.players.iter().copied().filter(|id| self.players[id].owes_seat);
        let owing: Vec<PlayerId> = owing.collect();
        for id in owing {
            if self.players[&id].assigned_at.saturating_add(span) <= self.now {
                self.note_no_show(id);
            }
        }
        // Others came into it later.
        self.await_arrivals(match_id);
    }

    /// A match is over, before or after the time in which its players were to come. It is held against those who never
    /// came, unless the game failed or was stopped.
    pub(crate) fn settle_seats(&mut self, ended: &Match, end: MatchEnd) {
        let hello_timeout = self.mode(ended.mode).hello_timeout;
        let has_waited = matches!(end, MatchEnd::Finished(Exit::Status(0)));
        for &id in &ended.players {
            let Some(player) = self.players.get(&id).filter(|player| player.owes_seat) else {
                continue;
            };
            match has_waited && self.now >= player.assigned_at.saturating_add(hello_timeout / 2) {
                true => self.note_no_show(id),
                false => drop(self.release_seat(id)),
            }
        }
    }

    /// A player never came into its seat.
    fn note_no_show(&mut self, id: PlayerId) {
        let account = self.players[&id].account;
        if self.release_seat(id) {
            self.note_fault(account);
        }
    }

    /// An account's player did not do what it was there for.
    pub(crate) fn note_fault(&mut self, account: Account) {
        if self.config.seats_per_account == 0 || !account.is_known() {
            return;
        }
        let pause = self.conducts.note_fault(account, self.now);
        if !pause.is_zero() {
            self.report(Event::AccountPaused { account, pause });
        }
        self.charges.note_changed(account);
    }

    /// A player goes, or does not answer, while a match is offered to it.
    pub(crate) fn note_if_offered(&mut self, id: PlayerId) {
        let Some(player) = self.players.get(&id) else { return };
        if let PlayerPhase::Matched(match_id) = player.phase()
            && matches!(self.matches[&match_id].phase(), MatchPhase::Offered { .. })
        {
            self.note_fault(player.account);
        }
    }

    /// A match was accepted by all to whom it was offered.
    pub(crate) fn note_accepted(&mut self, match_id: MatchId) {
        for id in self.matches[&match_id].players.clone() {
            let account = self.players[&id].account;
            self.conducts.note_good(account, false, self.now);
        }
    }

    // ---- Places of those who are away ----

    /// A player is away from now on. The account's oldest such place goes where it has too many.
    pub(crate) fn charge_away(&mut self, id: PlayerId) {
        let now = self.now;
        let player = self.player_mut(id);
        player.away_since = now;
        let (account, mode) = (player.account, player.mode);
        self.charges.add_away(account, mode, (now, id));
    }

    pub(crate) fn release_away(&mut self, id: PlayerId) {
        let player = &self.players[&id];
        let place = (player.away_since, id);
        self.charges.remove_away(player.account, player.mode, place);
    }

    /// Keeps an account within its away places: the oldest go.
    pub(crate) fn bound_away(&mut self, account: Account) {
        while let Some(oldest) = self.charges.away_beyond(account, self.config.away_per_account) {
            self.send_out(oldest, EvictReason::Displaced);
        }
    }

    /// Makes room in a queue for so many who are here: those who are away go, if that is enough.
    pub(crate) fn make_room(&mut self, mode: ModeId, size: usize) {
        let missing = |it: &Self| {
            (it.modes[mode.0].players_waiting + size).saturating_sub(it.config.queue_max)
        };
        if missing(self) > self.modes[mode.0].players_away {
            return;
        }
        while missing(self) > 0 {
            let Some(oldest) = self.charges.first_to_give_way(mode) else { return };
            self.send_out(oldest, EvictReason::Displaced);
        }
    }

    /// A player who waits is of another account from now on: it came back from elsewhere.
    pub(crate) fn move_to(&mut self, id: PlayerId, account: Account) {
        let player = self.player_mut(id);
        let before = std::mem::replace(&mut player.account, account);
        if before == account {
            return;
        }
        let owed = std::mem::take(&mut player.owes_seat);
        self.charges.remove_waiting(before, id);
        self.charges.add_waiting(account, id);
        if owed {
            self.charges.remove_seat(before);
            self.charges.note_changed(before);
            self.charge_seat(id);
        }
    }
}
