//! The state of the world, known from inputs and actions alone: where each player is, and which process has which
//! port.
//!
//! [`inputs`](crate::inputs) follows the inputs, [`checkers`](crate::checkers) the actions. Neither looks into the brain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brain::{
    Config, ConnectionId, GameId, GameInput, Input, MatchId, Mode, ModeId, PlayerId, Totals,
};
use protocol::{Secret, WaitReason};

use crate::step_context::StepContext;
use crate::tally::Tally;

/// A player who has a position, or a seat in a match that is not over.
#[derive(Debug, Clone)]
pub(crate) struct PlayerModel {
    /// `None` while the player is away, and once they are assigned.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) away_since: Option<Duration>,
    pub(crate) key: Secret,
    pub(crate) mode: ModeId,
    /// The number of the ticket, which decides the order for good. A party has one ticket.
    pub(crate) rank: u64,
    /// Players on the ticket.
    pub(crate) ticket_size: usize,
    pub(crate) skill: i32,
    pub(crate) joined_at: Duration,
    /// The round in which the player waits, from 1.
    pub(crate) round: u32,
    /// When it began; the failure of a match restarts it.
    pub(crate) round_since: Duration,
    pub(crate) assigned_at: Duration,
    pub(crate) token: Secret,
    pub(crate) match_id: Option<MatchId>,
    /// The reason of the last notice about why the match waits.
    pub(crate) notified: Option<WaitReason>,
    /// The match that the player was asked to accept.
    pub(crate) asked: Option<MatchId>,
}

/// A match that was formed and is not over.
#[derive(Debug, Clone)]
pub(crate) struct MatchModel {
    pub(crate) mode: ModeId,
    /// By slot.
    pub(crate) players: Vec<PlayerId>,
    /// Players who have accepted it, in a mode with a ready check.
    pub(crate) accepted: BTreeSet<PlayerId>,
    /// The lowest rank among the players.
    pub(crate) rank: u64,
    pub(crate) formed_at: Duration,
    pub(crate) phase: MatchPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchPhase {
    Offered { until: Duration },
    Waiting,
    Starting(GameId),
    Assigned { game: GameId, since: Duration },
}

/// A game's process, from the order to launch it until it and all its leftovers are gone.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) mode: ModeId,
    pub(crate) port: u16,
    /// Whether it exists yet.
    pub(crate) is_alive: bool,
    pub(crate) phase: GamePhase,
    /// When the phase was reached, or the last heartbeat arrived.
    pub(crate) since: Duration,
    /// When its players were assigned.
    pub(crate) assigned_at: Option<Duration>,
    pub(crate) match_id: Option<MatchId>,
    /// When its launch was ordered.
    pub(crate) ordered_at: Duration,
    /// Whether it was launched with its players. Any other is launched to be warm.
    pub(crate) is_seated: bool,
    /// When it first said `ready` although it had its players already.
    pub(crate) ready_at: Option<Duration>,
    /// The slots of all players who ever joined, once they were assigned.
    pub(crate) joined: Vec<usize>,
    /// The slots of players who are in the game.
    pub(crate) present: BTreeSet<usize>,
    /// The slots whose players have joined since they were last assigned.
    pub(crate) arrived: BTreeSet<usize>,
    /// The slots for which it wants players.
    pub(crate) open: BTreeSet<usize>,
    pub(crate) has_result: bool,
    /// When it was first asked to stop.
    pub(crate) stopped_at: Option<Duration>,
    pub(crate) is_terminated: bool,
    pub(crate) is_killed: bool,
    /// When it was killed last.
    pub(crate) killed_at: Duration,
    /// Whether it never takes the next step by itself.
    pub(crate) is_mute: bool,
    /// Whether it ignores `stop` and SIGTERM.
    pub(crate) is_stubborn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GamePhase {
    Launching,
    Warm,
    Starting,
    Running,
    Ending,
}

/// A mode's promises to operators.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModeModel {
    /// The end of the pause in launches that was reported.
    pub(crate) retry_at: Option<Duration>,
    /// Whether its games keep failing: they are launched one at a time, after pauses.
    pub(crate) is_failing: bool,
    /// Whether they fail after they started. Then one that has started is no sign that all is well.
    pub(crate) ends_early: bool,
    /// Since when it has fewer warm games than its minimum although one can be launched.
    pub(crate) short_since: Option<Duration>,
    /// Since when it has more warm games than its maximum, or the last of them was stopped.
    pub(crate) surplus_since: Option<Duration>,
}

/// The last number of each kind: numbers only rise.
#[derive(Debug, Default)]
pub(crate) struct LastIds {
    pub(crate) rank: u64,
    pub(crate) game: Option<GameId>,
    pub(crate) match_id: Option<MatchId>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) draining_since: Option<Duration>,
    pub(crate) is_drained: bool,
    /// Players who wait, connected or away.
    pub(crate) players: BTreeMap<PlayerId, PlayerModel>,
    /// Players who were assigned, until their match is over.
    pub(crate) assigned: BTreeMap<PlayerId, PlayerModel>,
    /// The members of each party, by its code, as they were notified last.
    pub(crate) parties: BTreeMap<String, BTreeSet<ConnectionId>>,
    /// The skills of party members.
    pub(crate) skills: BTreeMap<ConnectionId, Option<i32>>,
    pub(crate) matches: BTreeMap<MatchId, MatchModel>,
    pub(crate) games: BTreeMap<GameId, Process>,
    /// Ports that may not be used until a time.
    pub(crate) resting: BTreeMap<u16, Duration>,
    pub(crate) modes: Vec<ModeModel>,
    /// When a match was last formed, given a game, or assigned.
    pub(crate) last_match_step: Option<Duration>,
    /// When no warm game was missing in any mode, or none could be launched.
    pub(crate) all_warm_at: Duration,
    pub(crate) totals: Totals,
    pub(crate) tally: Tally,
    pub(crate) last: LastIds,
    pub(crate) context: StepContext,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            draining_since: None,
            is_drained: false,
            players: BTreeMap::new(),
            assigned: BTreeMap::new(),
            parties: BTreeMap::new(),
            skills: BTreeMap::new(),
            matches: BTreeMap::new(),
            games: BTreeMap::new(),
            resting: BTreeMap::new(),
            modes: vec![ModeModel::default(); config.modes.len()],
            last_match_step: None,
            all_warm_at: Duration::ZERO,
            totals: Totals::default(),
            tally: Tally::default(),
            last: LastIds::default(),
            context: StepContext::default(),
            config,
        }
    }

    // ---- Modes and ports ----

    pub(crate) fn is_serving(&self) -> bool {
        self.draining_since.is_none()
    }

    pub(crate) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    pub(crate) fn mode_ids(&self) -> impl Iterator<Item = ModeId> + use<> {
        (0..self.config.modes.len()).map(ModeId)
    }

    pub(crate) fn mode_named(&self, queue: Option<&str>) -> Option<ModeId> {
        let Some(name) = queue else { return Some(self.config.default_mode) };
        let is_it = |mode: &Mode| mode.name == name && !mode.is_closed;
        self.config.modes.iter().position(is_it).map(ModeId)
    }

    pub(crate) fn port_count(&self) -> usize {
        self.config.ports.len()
    }

    pub(crate) fn free_ports(&self) -> usize {
        self.port_count() - self.resting.len() - self.games.len()
    }

    // ---- Players ----

    /// The waiting player on a connection.
    pub(crate) fn player_on(&self, connection: ConnectionId) -> Option<PlayerId> {
        let is_it = |player: &PlayerModel| player.connection == Some(connection);
        self.players.iter().find(|(_, player)| is_it(player)).map(|(id, _)| *id)
    }

    /// The phase of a player's match.
    pub(crate) fn match_phase(&self, player: &PlayerModel) -> Option<MatchPhase> {
        self.matches.get(&player.match_id?).map(|it| it.phase)
    }

    /// The waiting player with a resume key whose window is not over.
    pub(crate) fn waiting_with(&self, key: &Secret) -> Option<PlayerId> {
        let (id, player) = self.players.iter().find(|(_, player)| player.key == *key)?;
        let is_kept = player.away_since.is_none_or(|since| !self.is_over(since));
        (is_kept && !self.was_silent(*id, player)).then_some(*id)
    }

    /// Whether the time has passed in which a player could accept a match, and they did not.
    fn was_silent(&self, id: PlayerId, player: &PlayerModel) -> bool {
        let Some(found) = player.match_id.and_then(|id| self.matches.get(&id)) else {
            return false;
        };
        let MatchPhase::Offered { until } = found.phase else { return false };
        until <= self.now && !found.accepted.contains(&id)
    }

    /// Whether the resume window of a player who is away since then is over.
    pub(crate) fn is_over(&self, since: Duration) -> bool {
        since + self.config.resume_window <= self.now
    }

    /// The match that a waiting player can still accept.
    pub(crate) fn offer_to(&self, id: PlayerId) -> Option<MatchId> {
        let match_id = self.players[&id].match_id?;
        let MatchPhase::Offered { until } = self.matches[&match_id].phase else { return None };
        (until > self.now).then_some(match_id)
    }

    /// All connected players of a mode who wait for a match, in order.
    pub(crate) fn queue(&self, mode: ModeId) -> Vec<PlayerId> {
        self.in_order(|player| {
            player.mode == mode && player.match_id.is_none() && self.is_present(player)
        })
    }

    /// All connected players of a mode who wait for a match or a game, in order.
    pub(crate) fn waiting_players(&self, mode: ModeId) -> Vec<PlayerId> {
        let waits = |player: &PlayerModel| match player.match_id {
            None => player.connection.is_some(),
            Some(id) => self.matches.get(&id).is_some_and(|it| it.phase == MatchPhase::Waiting),
        };
        self.in_order(|player| player.mode == mode && waits(player))
    }

    fn in_order(&self, is_wanted: impl Fn(&PlayerModel) -> bool) -> Vec<PlayerId> {
        let wanted = self.players.iter().filter(|(_, player)| is_wanted(player));
        let mut wanted: Vec<_> = wanted.map(|(id, player)| (player.rank, *id)).collect();
        wanted.sort_unstable();
        wanted.into_iter().map(|(_, id)| id).collect()
    }

    /// All players on a player's ticket.
    pub(crate) fn ticket_of(
        &self,
        player: &PlayerModel,
    ) -> impl Iterator<Item = (&PlayerId, &PlayerModel)> {
        let rank = player.rank;
        self.players.iter().filter(move |(_, other)| other.rank == rank)
    }

    /// Whether all players on a player's ticket are connected.
    pub(crate) fn is_present(&self, player: &PlayerModel) -> bool {
        self.ticket_of(player).all(|(_, other)| other.connection.is_some())
    }

    /// Whether a queued player may have a position, and a match this size.
    pub(crate) fn is_place(&self, player: &PlayerModel, position: usize, needed: usize) -> bool {
        let queued = self.players.values().filter(|it| it.mode == player.mode).count();
        (1..=queued).contains(&position) && needed == self.mode(player.mode).players
    }

    // ---- Matches and games ----

    /// The ranks of a mode's matches that wait for a game, in order.
    pub(crate) fn line(&self, mode: ModeId) -> Vec<u64> {
        let waits = |it: &&MatchModel| it.mode == mode && it.phase == MatchPhase::Waiting;
        let mut line: Vec<u64> = self.matches.values().filter(waits).map(|it| it.rank).collect();
        line.sort_unstable();
        line
    }

    pub(crate) fn games_at(&self, mode: ModeId, phase: GamePhase) -> usize {
        self.games.values().filter(|it| it.mode == mode && it.phase == phase).count()
    }

    /// Games of all modes that load. A game that was launched with its players does so until it has started.
    pub(crate) fn launching(&self) -> usize {
        let loads = |it: &&Process| {
            it.phase == GamePhase::Launching || it.phase == GamePhase::Starting && it.is_seated
        };
        self.games.values().filter(loads).count()
    }

    /// Games that were ordered to be warm and whose processes do not exist yet.
    pub(crate) fn warm_ordered(&self) -> usize {
        self.games.values().filter(|it| !it.is_seated && !it.is_alive).count()
    }

    /// Games of a mode that are warm or will be.
    pub(crate) fn warm_supply(&self, mode: ModeId) -> usize {
        self.games_at(mode, GamePhase::Launching) + self.games_at(mode, GamePhase::Warm)
    }

    /// Whether there is a port for a game and a launch is allowed.
    pub(crate) fn can_launch(&self) -> bool {
        self.is_serving() && self.free_ports() > 0 && self.launching() < self.config.launching_max
    }

    /// A mode whose games do not fail, with a match for which no game is launching.
    pub(crate) fn mode_in_need(&self) -> Option<ModeId> {
        let in_need = |mode: &ModeId| {
            let launching = self.games_at(*mode, GamePhase::Launching);
            !self.modes[mode.0].is_failing && self.line(*mode).len() > launching
        };
        self.mode_ids().find(in_need)
    }

    /// Players in a game's match.
    pub(crate) fn players_of(&self, game: GameId) -> usize {
        let match_id = self.games.get(&game).and_then(|process| process.match_id);
        match_id.and_then(|id| self.matches.get(&id)).map_or(0, |it| it.players.len())
    }

    /// Whether an assigned player has not come into a slot yet and still has time to.
    pub(crate) fn is_awaited(&self, process: &Process, slot: usize) -> bool {
        let played = process.match_id.and_then(|id| self.matches.get(&id));
        let player = played.and_then(|it| self.assigned.get(it.players.get(slot)?));
        let Some(player) = player.filter(|_| !process.arrived.contains(&slot)) else {
            return false;
        };
        self.now < player.assigned_at + self.mode(process.mode).hello_timeout
    }

    /// A match waits for a game again.
    pub(crate) fn take_back(&mut self, match_id: MatchId) {
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        found.phase = MatchPhase::Waiting;
        self.tally.count("matches taken back");
    }

    /// A player is no longer in their match, which has to be dissolved.
    pub(crate) fn leave_match(&mut self, id: PlayerId) {
        let now = self.now;
        let left = self.players.get_mut(&id).and_then(|player| {
            let match_id = player.match_id.take()?;
            player.round_since = now;
            Some(match_id)
        });
        self.context.went.extend(left.map(|match_id| (id, match_id)));
    }

    /// A player is gone for good.
    pub(crate) fn take_out(&mut self, id: PlayerId) -> Option<PlayerModel> {
        self.leave_match(id);
        self.players.remove(&id)
    }

    /// Whether an operator's request is why a game ends.
    pub(crate) fn is_ended_by_an_operator(&self, game: GameId) -> bool {
        match self.context.input {
            Some(Input::Game(GameInput::End { game: meant, .. })) => meant == game,
            Some(Input::Reconfigure(_)) => true,
            _ => false,
        }
    }
}
