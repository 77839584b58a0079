//! The charges of accounts: positions of absent players, untaken seats, parties.
//!
//! A connection ends, but what it caused does not: a position is kept for the resume window, a seat occupies a game
//! until the game gives up. So these are counted by account, an address or a prefix, not by connection, and bounded.
//!
//! - **Positions.** The positions of absent players are bounded for each account; the oldest gives way to the newest.
//!   In a full queue, a present player takes the position of an absent one, of the account with most such positions in
//!   that queue. See [`Charges`].
//! - **Seats.** If games report who joins, an account may hold a number of untaken seats. If it holds all of them, its
//!   players keep their positions in the queue and are passed over, so the players of other accounts are matched with
//!   each other. A few seats that are never taken are free. Each further one makes the account pause, twice as long
//!   each time; players who join pay that back, so that many players behind one address do not suffer from a few. See
//!   [`Conduct`].
//! - **Offers.** A match that is declined, not answered in time, or left while it is offered, counts as an untaken
//!   seat.
//!
//! The charges follow from the players and are counted again when a brain is restored. The conduct is saved.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::brief;
use crate::limits::{
    ACCOUNTS_MAX, CREDIT_MAX, CREDIT_MIN, CREDIT_STEP, FREE_FAULTS, GUESS_REST, GUESSES_MAX,
    NO_SHOW_COST, PAUSE_DOUBLINGS_MAX, PAUSE_MAX, PAUSE_MIN,
};
use protocol::{Account, ModeId, PlayerId};

/// The position of an absent player: since when, and whose. The first is the oldest.
type AwayPlace = (Duration, PlayerId);

/// The charges of all accounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charges {
    /// Whether they were counted since the brain was restored.
    pub(crate) are_counted: bool,
    by_account: BTreeMap<Account, Charge>,
    /// By [`ModeId`].
    away: Vec<AwayRanks>,
    /// Accounts whose charges changed. Whether they are held is reviewed at the end of the step.
    changed: BTreeSet<Account>,
}

/// The charges of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Charge {
    /// Waiting players, present or absent.
    waiting: BTreeSet<PlayerId>,
    /// The absent ones, in all modes.
    away: BTreeSet<AwayPlace>,
    /// Untaken seats in matches, from the match's forming on.
    seats: usize,
    parties: usize,
    /// Whether its players are passed over.
    is_held: bool,
}

/// The absent players' positions in one mode, sorted to find those of the account with most.
#[derive(Debug, Clone, Default)]
struct AwayRanks {
    by_account: BTreeMap<Account, BTreeSet<AwayPlace>>,
    /// The last account has most; of those with as many, the one whose oldest position is the oldest.
    ranks: BTreeSet<(usize, Reverse<AwayPlace>, Account)>,
}

impl AwayRanks {
    fn change(&mut self, account: Account, change: impl FnOnce(&mut BTreeSet<AwayPlace>) -> bool) {
        let places = self.by_account.entry(account).or_default();
        let rank = |places: &BTreeSet<AwayPlace>| {
            places.first().map(|&oldest| (places.len(), Reverse(oldest), account))
        };
        let before = rank(places);
        change(places);
        let after = rank(places);
        if let Some(before) = before {
            self.ranks.remove(&before);
        }
        match after {
            Some(after) => drop(self.ranks.insert(after)),
            None => drop(self.by_account.remove(&account)),
        }
    }

    fn first_to_give_way(&self) -> Option<PlayerId> {
        self.ranks.last().map(|&(_, Reverse((_, player)), _)| player)
    }
}

impl Charges {
    /// Changes the charges of an account, and returns the result of `change`.
    fn change<T>(&mut self, account: Account, change: impl FnOnce(&mut Charge) -> T) {
        let charge = self.by_account.entry(account).or_default();
        change(charge);
        if *charge == Charge::default() {
            self.by_account.remove(&account);
        }
    }

    pub(crate) fn add_waiting(&mut self, account: Account, player: PlayerId) {
        if account.is_known() {
            self.change(account, |it| it.waiting.insert(player));
        }
    }

    pub(crate) fn remove_waiting(&mut self, account: Account, player: PlayerId) {
        if account.is_known() {
            self.change(account, |it| it.waiting.remove(&player));
        }
    }

    /// The waiting players of an account.
    pub(crate) fn waiting(&self, account: Account) -> Vec<PlayerId> {
        let charge = self.by_account.get(&account);
        charge.map(|it| it.waiting.iter().copied().collect()).unwrap_or_default()
    }

    pub(crate) fn add_away(&mut self, account: Account, mode: ModeId, place: AwayPlace) {
        self.ranks_of(mode).change(account, |places| places.insert(place));
        if account.is_known() {
            self.change(account, |it| it.away.insert(place));
        }
    }

    pub(crate) fn remove_away(&mut self, account: Account, mode: ModeId, place: AwayPlace) {
        self.ranks_of(mode).change(account, |places| places.remove(&place));
        if account.is_known() {
            self.change(account, |it| it.away.remove(&place));
        }
    }

    fn ranks_of(&mut self, mode: ModeId) -> &mut AwayRanks {
        if self.away.len() <= mode.0 {
            self.away.resize_with(mode.0 + 1, AwayRanks::default);
        }
        &mut self.away[mode.0]
    }

    /// The oldest absent player of an account that has more than `away_max`.
    pub(crate) fn away_beyond(&self, account: Account, away_max: usize) -> Option<PlayerId> {
        let away = &self.by_account.get(&account)?.away;
        away.first().filter(|_| away.len() > away_max).map(|&(_, player)| player)
    }

    /// The absent player in a mode whose position is given to a present player.
    pub(crate) fn first_to_give_way(&self, mode: ModeId) -> Option<PlayerId> {
        self.away.get(mode.0).and_then(AwayRanks::first_to_give_way)
    }

    pub(crate) fn add_seat(&mut self, account: Account) {
        self.change(account, |it| it.seats += 1);
    }

    pub(crate) fn remove_seat(&mut self, account: Account) {
        self.change(account, |it| it.seats -= 1);
    }

    pub(crate) fn seats(&self, account: Account) -> usize {
        self.by_account.get(&account).map_or(0, |it| it.seats)
    }

    pub(crate) fn add_party(&mut self, account: Account) {
        if account.is_known() {
            self.change(account, |it| it.parties += 1);
        }
    }

    pub(crate) fn remove_party(&mut self, account: Account) {
        if account.is_known() {
            self.change(account, |it| it.parties = it.parties.saturating_sub(1));
        }
    }

    pub(crate) fn parties(&self, account: Account) -> usize {
        self.by_account.get(&account).map_or(0, |it| it.parties)
    }

    pub(crate) fn is_held(&self, account: Account) -> bool {
        self.by_account.get(&account).is_some_and(|it| it.is_held)
    }

    /// Notes whether an account's players are passed over; returns whether that has changed.
    pub(crate) fn set_held(&mut self, account: Account, is_held: bool) -> bool {
        if self.is_held(account) == is_held {
            return false;
        }
        self.change(account, |it| it.is_held = is_held);
        true
    }

    /// Has an account reviewed.
    pub(crate) fn note_changed(&mut self, account: Account) {
        if account.is_known() {
            self.changed.insert(account);
        }
    }

    pub(crate) fn take_changed(&mut self) -> Option<Account> {
        self.changed.pop_first()
    }

    /// All accounts with charges.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.by_account.keys().copied().collect()
    }

    /// The number of accounts whose players are passed over.
    pub(crate) fn held_count(&self) -> usize {
        self.by_account.values().filter(|it| it.is_held).count()
    }

    /// Whether these are equal, except for which accounts are held.
    pub(crate) fn agree_with(&self, other: &Self) -> bool {
        let counted = |all: &Self| -> BTreeMap<Account, Charge> {
            let of = all.by_account.iter();
            of.map(|(&account, it)| (account, Charge { is_held: false, ..it.clone() }))
                .filter(|(_, it)| *it != Charge::default())
                .collect()
        };
        let mut ranks = self.away.iter().map(|it| &it.ranks).filter(|it| !it.is_empty());
        let others = other.away.iter().map(|it| &it.ranks).filter(|it| !it.is_empty());
        counted(self) == counted(other) && ranks.by_ref().eq(others)
    }
}

/// The recent conduct of an account's players.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conduct {
    /// Positive for players who took many seats at once, negative for untaken seats and failed offers. It approaches
    /// zero as time passes.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    credit: i32,
    #[serde(default, skip_serializing_if = "brief::is_default")]
    credit_since: Duration,
    /// Until when its players are passed over.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    paused_until: Duration,
    /// Unknown party codes.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    guesses: u32,
    #[serde(default, skip_serializing_if = "brief::is_default")]
    guesses_since: Duration,
    /// When it last changed.
    touched_at: Duration,
}

impl Conduct {
    /// Applies the passing of time.
    fn age(&mut self, now: Duration) {
        let steps = now.saturating_sub(self.credit_since).as_secs() / CREDIT_STEP.as_secs();
        self.credit_since += CREDIT_STEP * u32::try_from(steps).unwrap_or(u32::MAX);
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        self.credit = match self.credit {
            credit @ 0.. => credit.saturating_sub(steps).max(0),
            credit => credit.saturating_add(steps).min(0),
        };
        let rests = now.saturating_sub(self.guesses_since).as_secs() / GUESS_REST.as_secs();
        self.guesses_since += GUESS_REST * u32::try_from(rests).unwrap_or(u32::MAX);
        self.guesses = self.guesses.saturating_sub(u32::try_from(rests).unwrap_or(u32::MAX));
    }

    fn is_forgotten(&self, now: Duration) -> bool {
        self.credit == 0 && self.guesses == 0 && self.paused_until <= now
    }

    /// Notes a fault. Returns the pause that follows; zero for the first few faults.
    fn note_fault(&mut self, now: Duration) -> Duration {
        self.credit = self.credit.saturating_sub(NO_SHOW_COST).max(CREDIT_MIN);
        let beyond = -self.credit - FREE_FAULTS * NO_SHOW_COST;
        if beyond <= 0 {
            return Duration::ZERO;
        }
        let doublings = u32::try_from((beyond - 1) / NO_SHOW_COST).unwrap_or_default();
        let pause = (PAUSE_MIN * 2_u32.pow(doublings.min(PAUSE_DOUBLINGS_MAX))).min(PAUSE_MAX);
        self.paused_until = self.paused_until.max(now.saturating_add(pause));
        pause
    }

    /// The number of seats that it may hold at once; one at a time after too many faults.
    fn seats_max(&self, seats_per_account: usize) -> usize {
        match usize::try_from(self.credit) {
            Ok(credit) => seats_per_account.saturating_add(credit),
            Err(_) if self.credit >= -FREE_FAULTS * NO_SHOW_COST => seats_per_account,
            Err(_) => 1,
        }
    }
}

/// The conduct of all accounts with a record: the [`ACCOUNTS_MAX`] that changed last.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<(Account, Conduct)>")]
pub(crate) struct Conducts {
    by_account: BTreeMap<Account, Conduct>,
    by_touch: BTreeSet<(Duration, Account)>,
}

impl Conducts {
    /// The current conduct of an account.
    fn of(&self, account: Account, now: Duration) -> Conduct {
        let mut conduct = self.by_account.get(&account).copied().unwrap_or_default();
        conduct.age(now);
        conduct
    }

    fn change<T>(
        &mut self,
        account: Account,
        now: Duration,
        change: impl FnOnce(&mut Conduct) -> T,
    ) -> T {
        let before = self.by_account.get(&account).copied();
        let mut conduct = before.unwrap_or(Conduct {
            credit_since: now,
            guesses_since: now,
            ..Conduct::default()
        });
        conduct.age(now);
        let changed = change(&mut conduct);
        conduct.touched_at = now;
        if let Some(before) = before {
            self.by_touch.remove(&(before.touched_at, account));
        }
        if conduct.is_forgotten(now) {
            self.by_account.remove(&account);
        } else {
            self.by_account.insert(account, conduct);
            self.by_touch.insert((now, account));
        }
        if self.by_account.len() > ACCOUNTS_MAX
            && let Some((_, oldest)) = self.by_touch.pop_first()
        {
            self.by_account.remove(&oldest);
        }
        changed
    }

    /// Until when an account pauses; `None` if it does not.
    pub(crate) fn paused_until(&self, account: Account, now: Duration) -> Option<Duration> {
        let until = self.by_account.get(&account)?.paused_until;
        (until > now).then_some(until)
    }

    /// The number of seats that an account may hold at once.
    pub(crate) fn seats_max(
        &self,
        account: Account,
        seats_per_account: usize,
        now: Duration,
    ) -> usize {
        self.of(account, now).seats_max(seats_per_account)
    }

    /// Notes that a player took a seat, or joined an offered match. That pays back faults, and lets an account with
    /// many seats at once, `has_many`, have more.
    pub(crate) fn note_good(&mut self, account: Account, has_many: bool, now: Duration) {
        if has_many || self.by_account.get(&account).is_some_and(|it| it.credit < 0) {
            self.change(account, now, |it| it.credit = (it.credit + 1).min(CREDIT_MAX));
        }
    }

    /// Notes a fault. Returns the pause that follows; zero for the first few faults.
    pub(crate) fn note_fault(&mut self, account: Account, now: Duration) -> Duration {
        self.change(account, now, |it| it.note_fault(now))
    }

    /// Notes an unknown party code.
    pub(crate) fn note_guess(&mut self, account: Account, now: Duration) {
        self.change(account, now, |it| it.guesses = it.guesses.saturating_add(1));
    }

    /// How long an account has to wait before it may try another code; zero if it may now.
    pub(crate) fn guess_rest(&self, account: Account, now: Duration) -> Duration {
        let conduct = self.of(account, now);
        if conduct.guesses < GUESSES_MAX {
            return Duration::ZERO;
        }
        (conduct.guesses_since + GUESS_REST).saturating_sub(now)
    }

    /// Whether the two indexes of accounts agree and are bounded.
    pub(crate) fn are_whole(&self) -> bool {
        let touches = self.by_account.iter().map(|(&account, it)| (it.touched_at, account));
        self.by_account.len() <= ACCOUNTS_MAX && touches.collect::<BTreeSet<_>>() == self.by_touch
    }
}

impl From<Vec<(Account, Conduct)>> for Conducts {
    fn from(saved: Vec<(Account, Conduct)>) -> Self {
        let by_account: BTreeMap<Account, Conduct> = saved.into_iter().collect();
        let by_touch = by_account.iter().map(|(&account, it)| (it.touched_at, account)).collect();
        Self { by_account, by_touch }
    }
}

impl Serialize for Conducts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.by_account)
    }
}
