//! What the world knows for itself: who stands where, and which process lives on which port.
//!
//! It learns from inputs when they are given to the brain, and from actions when they come out; it never looks
//! into the brain. What follows from an action is judged in [`judge_players`](super::judge_players) and
//! [`judge_games`](super::judge_games), what must hold after each input in [`demands`](super::demands).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{Secret, WaitReason};

use super::moment::Moment;
use super::world::Tally;
use matchmaker::Totals;
use matchmaker::limits;
use matchmaker::{Account, ConnectionId, GameId, MatchId, ModeId, PlayerId};
use matchmaker::{Config, Mode};
use matchmaker::{Exit, Input, LaunchFault};

/// A player who was told QUEUED, and not to go.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Where it is spoken to, if it is here. Who was told where to play is spoken to nowhere.
    pub(super) connection: Option<ConnectionId>,
    /// Since when it is away.
    pub(super) away_since: Option<Duration>,
    /// Whom its place is charged to.
    pub(super) account: Account,
    pub(super) key: Secret,
    pub(super) mode: ModeId,
    /// The number of its READY, from which its place follows for good. A party has one.
    pub(super) rank: u64,
    /// How many are on its ticket.
    pub(super) company: usize,
    pub(super) skill: i32,
    pub(super) joined_at: Duration,
    /// In which round it waits, from 1, and since when: a match that came to nothing begins a round anew.
    pub(super) round: u32,
    pub(super) round_since: Duration,
    pub(super) assigned_at: Duration,
    pub(super) token: Secret,
    pub(super) party: Option<MatchId>,
    /// What it was told that its match waits for.
    pub(super) told: Option<WaitReason>,
    /// How many matches it was told to be ahead of its own.
    pub(super) told_ahead: Option<usize>,
    /// The match that it was asked to accept.
    pub(super) asked: Option<MatchId>,
}

/// A match that was formed and has not come to its end.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) mode: ModeId,
    /// By slot.
    pub(super) players: Vec<PlayerId>,
    /// Who has accepted it, where that is asked.
    pub(super) accepted: BTreeSet<PlayerId>,
    /// The lowest rank among the players.
    pub(super) rank: u64,
    pub(super) formed_at: Duration,
    pub(super) stand: PartyStand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartyStand {
    Offered { until: Duration },
    Waiting,
    Starting(GameId),
    Assigned { game: GameId, since: Duration },
}

/// A process, from the wish for it to the moment at which it and all it left behind are gone.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) mode: ModeId,
    pub(super) port: u16,
    /// Whether it exists yet.
    pub(super) is_alive: bool,
    pub(super) step: Step,
    /// When the step was reached, or the last heartbeat heard.
    pub(super) since: Duration,
    /// When its players were told.
    pub(super) told_at: Option<Duration>,
    pub(super) party: Option<MatchId>,
    /// When it was asked for.
    pub(super) ordered_at: Duration,
    /// Whether it was asked for though no match needed it.
    pub(super) is_refill: bool,
    /// Whether it was born with its players.
    pub(super) is_seated: bool,
    /// When it first said `ready`, though it had its players already.
    pub(super) ready_at: Option<Duration>,
    /// The slots of players who said that they came, once they were told of it.
    pub(super) joined: Vec<usize>,
    /// Those of them who did not go again.
    pub(super) present: BTreeSet<usize>,
    /// The slots whose players came in since they were last told where to play.
    pub(super) arrived: BTreeSet<usize>,
    /// The slots for which it asks for players.
    pub(super) open: BTreeSet<usize>,
    pub(super) has_result: bool,
    /// When `stop` was sent.
    pub(super) stopped_at: Option<Duration>,
    pub(super) is_terminated: bool,
    pub(super) is_killed: bool,
    /// When it was killed last.
    pub(super) killed_at: Duration,
    pub(super) is_mute: bool,
    pub(super) is_stubborn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Launching,
    Warm,
    Starting,
    Running,
    Ending,
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) config: Config,
    pub(super) now: Duration,
    pub(super) draining_since: Option<Duration>,
    pub(super) is_drained: bool,
    /// Who waits, here or away.
    pub(super) people: BTreeMap<PlayerId, Person>,
    /// Those who gather under a code, as they were told last.
    pub(super) rooms: BTreeMap<String, BTreeSet<ConnectionId>>,
    /// What they said of their skill when they came.
    pub(super) skills: BTreeMap<ConnectionId, Option<i32>>,
    /// Who was told where to play, as long as its match lasts.
    pub(super) seated: BTreeMap<PlayerId, Person>,
    pub(super) parties: BTreeMap<MatchId, Party>,
    pub(super) games: BTreeMap<GameId, Process>,
    /// Ports that must be left alone until a time.
    pub(super) resting: BTreeMap<u16, Duration>,
    /// By mode: when it may launch again, as the operator was told.
    pub(super) retry_at: Vec<Option<Duration>>,
    /// The modes whose games failed more than once since one of them started.
    pub(super) failing: Vec<bool>,
    /// By mode: matches that died as soon as their players were told, one after another.
    pub(super) early_ends: Vec<u32>,
    /// By mode: when the match that began last has lasted long enough, where too many died before it.
    pub(super) heals_at: Vec<Option<Duration>>,
    /// By mode: the seconds in which matches were formed, as far back as counts.
    pub(super) formed: Vec<Vec<u64>>,
    /// By mode: how long the last launch took.
    pub(super) launch_took: Vec<Duration>,
    /// By mode: since when there are too many warm games, or the last of them was stopped.
    pub(super) surplus_since: Vec<Option<Duration>>,
    /// Since when a warm game is missing that could be launched.
    pub(super) missing_since: Option<Duration>,
    /// When a match was last formed, given a game to launch, sent to one, or assigned.
    pub(super) last_match_step: Option<Duration>,
    pub(super) totals: Totals,
    pub(super) tally: Tally,
    pub(super) last_rank: u64,
    pub(super) last_game: Option<GameId>,
    pub(super) last_match: Option<MatchId>,
    pub(super) moment: Moment,
}

impl Book {
    pub(super) fn new(config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            draining_since: None,
            is_drained: false,
            people: BTreeMap::new(),
            seated: BTreeMap::new(),
            rooms: BTreeMap::new(),
            skills: BTreeMap::new(),
            parties: BTreeMap::new(),
            games: BTreeMap::new(),
            resting: BTreeMap::new(),
            retry_at: vec![None; config.modes.len()],
            failing: vec![false; config.modes.len()],
            early_ends: vec![0; config.modes.len()],
            heals_at: vec![None; config.modes.len()],
            formed: vec![Vec::new(); config.modes.len()],
            launch_took: vec![Duration::ZERO; config.modes.len()],
            surplus_since: vec![None; config.modes.len()],
            missing_since: None,
            last_match_step: None,
            totals: Totals::default(),
            tally: Tally::default(),
            last_rank: 0,
            last_game: None,
            last_match: None,
            moment: Moment::default(),
            config,
        }
    }

    /// Takes note of what the brain is about to be told: an input, or at `None` that time has passed.
    pub(super) fn begin(&mut self, now: Duration, input: Option<&Input>) {
        self.now = now;
        self.resting.retain(|_, until| *until > now);
        let oldest = now.as_secs().saturating_sub(limits::ARRIVALS_WINDOW_SECONDS - 1);
        self.formed.iter_mut().for_each(|formed| formed.retain(|second| *second >= oldest));
        self.moment = Moment {
            input: input.cloned(),
            // Everyone may hear a few words, every game and port may be acted on a few times.
            actions_max: 12 + 5 * self.people.len() + 5 * (self.games.len() + self.port_count()),
            ..Moment::default()
        };
        match input {
            None => {
                let is_ahead = |at: &Duration| *at > now;
                self.retry_at.iter_mut().for_each(|at| *at = at.filter(is_ahead));
                for mode in self.mode_ids() {
                    if self.heals_at[mode.0].is_some_and(|at| at <= now) {
                        self.note_good_match(mode);
                    }
                }
                self.note_rounds_of_the_absent();
            }
            Some(Input::Lost { connection }) => self.note_lost(*connection),
            Some(Input::Answer { connection, accepts: true }) => self.note_accepted(*connection),
            Some(Input::Drain | Input::Stop) => self.begin_drain(),
            Some(Input::Undrain) => self.end_drain(),
            Some(Input::Reconfigure(config)) => self.note_reconfigured(config),
            Some(Input::EndGame { game, .. }) => self.note_to_end(*game),
            Some(Input::Launched { game }) => self.note_launched(*game),
            Some(Input::LaunchFailed { game, fault }) => self.note_launch_failed(*game, fault),
            Some(Input::GameReady { game }) => self.note_ready(*game),
            Some(Input::GameStarted { game }) => self.expect_move(*game, Step::Starting),
            Some(Input::GameJoined { game, slot }) => self.note_joined(*game, *slot),
            Some(Input::GameLeft { game, slot }) => {
                if let Some(process) = self.games.get_mut(game) {
                    process.present.remove(slot);
                }
            }
            Some(Input::GameBackfill { game, slots }) => self.note_open(*game, slots),
            Some(Input::GameAlive { game }) => self.note_alive(*game),
            Some(Input::GameResult { game, .. }) => self.note_result(*game),
            Some(Input::GameBroken { game, .. }) => {
                self.moment.moves_on = self.games.get(game).map(|process| (*game, process.step));
            }
            // Nobody here takes a port from a game that had it.
            Some(Input::PortTaken { .. }) => {}
            Some(Input::GameExited { game, exit }) => self.note_exited(*game, *exit),
            Some(
                Input::Ready { .. }
                | Input::ReadyParty { .. }
                | Input::CreateParty { .. }
                | Input::JoinParty { .. }
                | Input::LeaveParty { .. }
                | Input::Resume { .. }
                | Input::Leave { .. }
                | Input::Quit { .. }
                | Input::Kick { .. }
                | Input::Answer { accepts: false, .. },
            ) => {}
        }
        self.expect_replacement();
        self.note_rooms(input);
        if let Some(Input::Quit { connection }) = input
            && let Some(id) = self.person_on(*connection)
        {
            self.take_out(id);
            self.totals.left += 1;
        }
    }

    /// Who gathers, and who goes from there.
    fn note_rooms(&mut self, input: Option<&Input>) {
        match input {
            Some(
                Input::CreateParty { connection, skill, .. }
                | Input::JoinParty { connection, skill, .. },
            ) if !self.rooms.values().any(|room| room.contains(connection)) => {
                self.skills.insert(*connection, *skill);
            }
            Some(Input::Quit { connection } | Input::Lost { connection }) => {
                self.leave_room(*connection);
            }
            // Who is queued has to leave the queue first.
            Some(Input::LeaveParty { connection }) if self.person_on(*connection).is_none() => {
                self.leave_room(*connection);
            }
            _ => {}
        }
    }

    fn begin_drain(&mut self) {
        if self.draining_since.is_some() {
            return;
        }
        self.draining_since = Some(self.now);
        self.tally.count("drains begun");
        // Who is away cannot be told, and is kept no longer.
        let before = self.people.len();
        self.people.retain(|_, person| person.connection.is_some());
        self.totals.refused += (before - self.people.len()) as u64;
        // What does not exist yet can be told nothing; it is killed when it does. Who has players goes on.
        let is_idle = |process: &&mut Process| !process.is_alive && process.party.is_none();
        for process in self.games.values_mut().filter(is_idle) {
            process.step = Step::Ending;
        }
    }

    fn note_lost(&mut self, connection: ConnectionId) {
        let Some(id) = self.person_on(connection) else { return };
        if self.config.resume_window.is_zero() || !self.is_serving() {
            // It expires at once, as the brain has to report.
            return;
        }
        let now = self.now;
        self.leave_party(id);
        if let Some(person) = self.people.get_mut(&id) {
            person.connection = None;
            person.away_since = Some(now);
            person.told = None;
            person.asked = None;
        }
        self.tally.count("players away");
    }

    fn note_accepted(&mut self, connection: ConnectionId) {
        let offer = |id| self.offer_to(id).map(|match_id| (id, match_id));
        let Some((id, match_id)) = self.person_on(connection).and_then(offer) else { return };
        let Some(party) = self.parties.get_mut(&match_id) else { return };
        party.accepted.insert(id);
        if party.accepted.len() == party.players.len() {
            party.stand = PartyStand::Waiting;
            self.tally.count("matches accepted by all");
        }
    }

    /// A player goes out of its match, which has to come to nothing.
    pub(super) fn leave_party(&mut self, id: PlayerId) {
        let now = self.now;
        let party = self.people.get_mut(&id).and_then(|person| {
            let party = person.party.take()?;
            person.round_since = now;
            Some(party)
        });
        self.moment.went.extend(party.map(|match_id| (id, match_id)));
    }

    /// A player goes for good.
    pub(super) fn take_out(&mut self, id: PlayerId) -> Option<Person> {
        self.leave_party(id);
        self.people.remove(&id)
    }

    fn note_launched(&mut self, game: GameId) {
        if let Some(process) = self.games.get_mut(&game) {
            process.is_alive = true;
        }
    }

    fn note_launch_failed(&mut self, game: GameId, fault: &LaunchFault) {
        if self.games.get(&game).is_none_or(|process| process.is_alive) {
            return;
        }
        let Some(process) = self.games.remove(&game) else { return };
        if *fault == LaunchFault::PortBusy {
            let rest = self.config.quarantine.max(limits::BUSY_PORT_REST_MIN);
            self.resting.insert(process.port, self.now + rest);
            self.tally.count("ports found busy");
        }
        if *fault == LaunchFault::Interrupted {
            self.tally.count("launches interrupted");
        }
        if let Some(party) = process.party {
            self.take_back(party);
            self.tally.count("seated games not launched");
        }
        self.moment.ended = Some((game, process));
    }

    fn note_ready(&mut self, game: GameId) {
        self.expect_move(game, Step::Launching);
        let now = self.now;
        let is_new = |process: &&mut Process| process.is_alive && process.ready_at.is_none();
        if let Some(process) = self.games.get_mut(&game).filter(is_new) {
            process.ready_at = Some(now);
        }
    }

    fn expect_move(&mut self, game: GameId, from: Step) {
        let moves = |process: &&Process| process.is_alive && process.step == from;
        self.moment.moves_on = self.games.get(&game).filter(moves).map(|_| (game, from));
    }

    fn note_joined(&mut self, game: GameId, slot: usize) {
        let size = self.players_of(game);
        let Some(process) = self.games.get_mut(&game) else { return };
        if process.told_at.is_none() || slot >= size {
            return;
        }
        process.present.insert(slot);
        process.arrived.insert(slot);
        process.open.remove(&slot);
        if !process.joined.contains(&slot) {
            process.joined.push(slot);
            process.joined.sort_unstable();
        }
    }

    fn note_open(&mut self, game: GameId, slots: &[usize]) {
        let Some(process) = self.games.get(&game).filter(|it| it.step == Step::Running) else {
            return;
        };
        let size = self.players_of(game);
        let is_open = |slot: &usize| {
            *slot < size && !process.present.contains(slot) && !self.is_awaited(process, *slot)
        };
        let open = slots.iter().copied().filter(is_open).collect();
        if let Some(process) = self.games.get_mut(&game) {
            process.open = open;
        }
    }

    /// How many play in a game.
    fn players_of(&self, game: GameId) -> usize {
        let party = self.games.get(&game).and_then(|process| process.party);
        party.and_then(|id| self.parties.get(&id)).map_or(0, |party| party.players.len())
    }

    /// Whether a player was told to come into a slot, has not come, and has time to.
    pub(super) fn is_awaited(&self, process: &Process, slot: usize) -> bool {
        let party = process.party.and_then(|id| self.parties.get(&id));
        let person = party.and_then(|party| self.seated.get(party.players.get(slot)?));
        let Some(person) = person.filter(|_| !process.arrived.contains(&slot)) else {
            return false;
        };
        self.now < person.assigned_at + self.mode(process.mode).hello_timeout
    }

    fn leave_room(&mut self, connection: ConnectionId) {
        for members in self.rooms.values_mut() {
            members.remove(&connection);
        }
        self.rooms.retain(|_, members| !members.is_empty());
    }

    fn note_alive(&mut self, game: GameId) {
        let now = self.now;
        if let Some(process) = self.games.get_mut(&game).filter(|p| p.step == Step::Running) {
            process.since = now;
        }
    }

    fn note_result(&mut self, game: GameId) {
        let is_new = |process: &&mut Process| process.told_at.is_some() && !process.has_result;
        if let Some(process) = self.games.get_mut(&game).filter(is_new) {
            process.has_result = true;
            self.moment.result_due = process.party;
        }
    }

    fn note_exited(&mut self, game: GameId, exit: Exit) {
        if !self.games.get(&game).is_some_and(|process| process.is_alive) {
            return;
        }
        let Some(process) = self.games.remove(&game) else { return };
        self.moment.return_due = Some(process.port);
        let played = process.party.filter(|_| process.told_at.is_some());
        self.moment.game_end_due = Some((game, played, exit, process.joined.clone()));
        if process.told_at.is_some() {
            self.moment.end_due = process.party.map(|party| (party, exit));
            if !self.config.quarantine.is_zero() {
                self.resting.insert(process.port, self.now + self.config.quarantine);
            }
        } else if let Some(party) = process.party {
            self.take_back(party);
        }
        self.moment.ended = Some((game, process));
    }

    /// A match of a mode lasted, or ended well.
    pub(super) fn note_good_match(&mut self, mode: ModeId) {
        if std::mem::take(&mut self.early_ends[mode.0]) >= limits::EARLY_ENDS_MAX {
            self.retry_at[mode.0] = None;
            self.failing[mode.0] = false;
            self.tally.count("modes healed");
        }
        self.heals_at[mode.0] = None;
    }

    /// A match lost its game before its players were told: it waits again.
    pub(super) fn take_back(&mut self, match_id: MatchId) {
        let Some(party) = self.parties.get_mut(&match_id) else { return };
        party.stand = PartyStand::Waiting;
        self.tally.count("matches taken back");
    }

    // ---- What follows from the book ----

    /// Who waits and speaks on a connection.
    pub(super) fn person_on(&self, connection: ConnectionId) -> Option<PlayerId> {
        let speaks = |person: &Person| person.connection == Some(connection);
        self.people.iter().find(|(_, person)| speaks(person)).map(|(id, _)| *id)
    }

    /// Who waits and named its session so, and is not away for too long.
    pub(super) fn waiting_with(&self, key: &Secret) -> Option<PlayerId> {
        let (id, person) = self.people.iter().find(|(_, person)| person.key == *key)?;
        let is_kept = person.away_since.is_none_or(|since| !self.is_over(since));
        (is_kept && !self.was_silent(*id, person)).then_some(*id)
    }

    /// Whether a player was asked to accept a match, and has not while there was time.
    fn was_silent(&self, id: PlayerId, person: &Person) -> bool {
        let Some(party) = person.party.and_then(|id| self.parties.get(&id)) else { return false };
        let PartyStand::Offered { until } = party.stand else { return false };
        until <= self.now && !party.accepted.contains(&id)
    }

    /// Whether the window of a player is over who is away since then.
    pub(super) fn is_over(&self, since: Duration) -> bool {
        since + self.config.resume_window <= self.now
    }

    /// The match that a player who waits is asked to accept, while there is time.
    pub(super) fn offer_to(&self, id: PlayerId) -> Option<MatchId> {
        let match_id = self.people[&id].party?;
        let PartyStand::Offered { until } = self.parties[&match_id].stand else { return None };
        (until > self.now).then_some(match_id)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.draining_since.is_none()
    }

    pub(super) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    pub(super) fn mode_ids(&self) -> impl Iterator<Item = ModeId> + use<> {
        (0..self.config.modes.len()).map(ModeId)
    }

    pub(super) fn mode_named(&self, queue: Option<&str>) -> Option<ModeId> {
        let Some(name) = queue else { return Some(self.config.default_mode) };
        let is_it = |mode: &Mode| mode.name == name && !mode.is_closed;
        self.config.modes.iter().position(is_it).map(ModeId)
    }

    fn port_count(&self) -> usize {
        self.config.ports.len()
    }

    pub(super) fn free_ports(&self) -> usize {
        self.port_count() - self.resting.len() - self.games.len()
    }

    /// The players of a mode who are here and wait for a match, first to last.
    pub(super) fn queue(&self, mode: ModeId) -> Vec<PlayerId> {
        let is_queued = |person: &Person| {
            person.mode == mode && person.party.is_none() && self.is_present(person)
        };
        let queued = self.people.iter().filter(|(_, person)| is_queued(person));
        let mut queued: Vec<_> = queued.map(|(id, person)| (person.rank, *id)).collect();
        queued.sort_unstable();
        queued.into_iter().map(|(_, id)| id).collect()
    }

    /// The players of a mode who are here and wait for a match or a game, first to last.
    pub(super) fn waiting_people(&self, mode: ModeId) -> Vec<PlayerId> {
        let waits = |person: &Person| match person.party {
            None => person.connection.is_some(),
            Some(id) => self.parties.get(&id).is_some_and(|p| p.stand == PartyStand::Waiting),
        };
        let of_mode = |person: &Person| person.mode == mode && waits(person);
        let waiting = self.people.iter().filter(|(_, person)| of_mode(person));
        let mut waiting: Vec<_> = waiting.map(|(id, person)| (person.rank, *id)).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    /// A queued player's place, from 1: that of its ticket.
    pub(super) fn position(&self, person: &Person) -> usize {
        let is_before = |other: &&Person| {
            let is_queued = other.party.is_none() && self.is_present(other);
            other.mode == person.mode && is_queued && other.rank < person.rank
        };
        self.people.values().filter(is_before).count() + 1
    }

    /// A queued player's place, and how many are in a match.
    pub(super) fn place(&self, person: &Person) -> (usize, usize) {
        (self.position(person), self.mode(person.mode).players)
    }

    /// Those on one ticket.
    pub(super) fn company(&self, person: &Person) -> impl Iterator<Item = (&PlayerId, &Person)> {
        let rank = person.rank;
        self.people.iter().filter(move |(_, other)| other.rank == rank)
    }

    /// Whether all on a player's ticket are here.
    pub(super) fn is_present(&self, person: &Person) -> bool {
        self.company(person).all(|(_, other)| other.connection.is_some())
    }

    /// The ranks of a mode's matches that wait for a game, first to last.
    pub(super) fn line(&self, mode: ModeId) -> Vec<u64> {
        let waits =
            |party: &&Party| party.mode == mode && matches!(party.stand, PartyStand::Waiting);
        let mut line: Vec<u64> = self.parties.values().filter(waits).map(|p| p.rank).collect();
        line.sort_unstable();
        line
    }

    pub(super) fn games_at(&self, mode: ModeId, step: Step) -> usize {
        self.games.values().filter(|process| process.mode == mode && process.step == step).count()
    }

    /// A mode's games that have their players and have not started since their launch.
    pub(super) fn launching_seated(&self, mode: ModeId) -> usize {
        let is_one = |process: &&Process| {
            process.mode == mode && process.step == Step::Starting && process.is_seated
        };
        self.games.values().filter(is_one).count()
    }

    /// Games that load, in all modes together.
    pub(super) fn launching(&self) -> usize {
        let of_mode = |mode| self.games_at(mode, Step::Launching) + self.launching_seated(mode);
        self.mode_ids().map(of_mode).sum()
    }

    /// Whether a mode neither pauses nor, while its games keep failing, has one launching.
    pub(super) fn may_launch(&self, mode: ModeId) -> bool {
        let launching = self.games_at(mode, Step::Launching) + self.launching_seated(mode);
        let is_trying = self.failing[mode.0] && launching > 0;
        self.retry_at[mode.0].is_none() && !is_trying
    }

    /// The mode of the first match for which no game is launching, among modes that may launch.
    pub(super) fn first_in_need(&self) -> Option<ModeId> {
        let in_need = |mode: &ModeId| {
            let launching = self.games_at(*mode, Step::Launching);
            self.line(*mode).get(launching).map(|rank| (*rank, *mode))
        };
        let launchable = self.mode_ids().filter(|mode| self.may_launch(*mode));
        launchable.filter_map(|mode| in_need(&mode)).min().map(|(_, mode)| mode)
    }

    /// Whether a mode that may launch has fewer games coming or warm than it wants.
    pub(super) fn lacks_warm(&self, mode: ModeId) -> bool {
        let supply = self.games_at(mode, Step::Launching) + self.games_at(mode, Step::Warm);
        self.may_launch(mode) && supply < self.warm_wanted(mode) + self.line(mode).len()
    }

    /// As many games as matches came while one was launched, at the busiest time of the last minute.
    pub(super) fn warm_wanted(&self, mode: ModeId) -> usize {
        let took = self.launch_took[mode.0];
        let seconds = (took.as_secs() + u64::from(took.subsec_nanos() > 0)).max(1);
        let formed = &self.formed[mode.0];
        let since = |&start: &u64| {
            formed.iter().filter(|&&second| second >= start && second < start + seconds).count()
        };
        let busiest = formed.iter().map(since).max().unwrap_or_default();
        busiest.clamp(self.mode(mode).warm_min, self.mode(mode).warm_max)
    }

    /// How many warm games of a mode are too many.
    pub(super) fn surplus(&self, mode: ModeId) -> usize {
        self.games_at(mode, Step::Warm).saturating_sub(self.warm_wanted(mode))
    }

    /// Games that were asked for though no match needed them, and do not exist yet.
    pub(super) fn refills_ordered(&self) -> usize {
        self.games.values().filter(|process| process.is_refill && !process.is_alive).count()
    }

    /// Whether a warm game is missing and there is a port for it.
    pub(super) fn is_warm_game_missing(&self) -> bool {
        self.is_serving()
            && self.free_ports() > 0
            && self.mode_ids().any(|mode| self.lacks_warm(mode))
    }

    /// Whether no match has taken a step for long enough to launch games that nobody waits for.
    pub(super) fn is_quiet(&self) -> bool {
        self.last_match_step.is_none_or(|at| at + limits::REFILL_PAUSE <= self.now)
    }

    /// Whether warm games have been missing for too long to wait for a quiet moment.
    pub(super) fn is_refill_overdue(&self) -> bool {
        self.missing_since.is_some_and(|since| since + limits::REFILL_DELAY_MAX <= self.now)
    }
}
