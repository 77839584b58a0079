//! Games: their phases, and what is counted by phase.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{GameId, MatchId, ModeId};
use serde::{Deserialize, Serialize};

/// One process on one port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Game {
    pub(crate) mode: ModeId,
    pub(crate) port: u16,
    /// When its launch was ordered.
    pub(crate) ordered_at: Duration,
    /// Whether it was launched with the players of a match. Any other game is launched to be warm.
    is_seated: bool,
    /// Players of its match, zero without one.
    pub(crate) players: usize,
    /// Whether its process exists.
    has_process: bool,
    /// Whether it reported `ready` although it had its players already.
    pub(crate) said_ready: bool,
    /// Whether players were sent to its port: only then can their datagrams come late.
    pub(crate) was_told: bool,
    pub(crate) has_result: bool,
    /// The slots of the players who joined.
    pub(crate) joined: BTreeSet<usize>,
    /// Whether something else holds its port now that it is gone.
    pub(crate) is_port_taken: bool,
    /// How long its port rests, on which it failed.
    pub(crate) port_rest: Duration,
    phase: GamePhase,
}

/// The phase of a game. One that is gone has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GamePhase {
    /// Ordered; has not reported `ready`.
    Launching,
    /// Waits for players.
    Warm,
    /// Has its players; has not reported `started`.
    Starting(MatchId),
    /// Its match is played.
    Running {
        match_id: MatchId,
        since: Duration,
        /// When it is stopped.
        until: Duration,
    },
    /// Is being stopped.
    Stopping {
        /// The match that is still played there, and since when.
        played: Option<(MatchId, Duration)>,
        next: StopStep,
    },
}

/// The next step of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StopStep {
    /// SIGTERM when half the grace is over; only for a game that was sent `stop`.
    Terminate { kill_at: Duration },
    /// SIGKILL when the grace is over. SIGTERM was sent.
    Kill,
    /// None: SIGKILL was sent, and the kernel reports the exit.
    AwaitExit,
}

impl Game {
    fn new(mode: ModeId, port: u16, now: Duration, phase: GamePhase) -> Self {
        Self {
            mode,
            port,
            ordered_at: now,
            is_seated: false,
            players: 0,
            has_process: false,
            said_ready: false,
            was_told: false,
            has_result: false,
            joined: BTreeSet::new(),
            is_port_taken: false,
            port_rest: Duration::ZERO,
            phase,
        }
    }

    /// A game that is launched to be warm.
    pub(crate) fn unseated(mode: ModeId, port: u16, now: Duration) -> Self {
        Self::new(mode, port, now, GamePhase::Launching)
    }

    /// A game that is launched with the players of a match.
    pub(crate) fn seated(
        mode: ModeId,
        port: u16,
        now: Duration,
        match_id: MatchId,
        players: usize,
    ) -> Self {
        let game = Self::new(mode, port, now, GamePhase::Starting(match_id));
        Self { is_seated: true, players, ..game }
    }

    pub(crate) fn phase(&self) -> GamePhase {
        self.phase
    }

    pub(crate) fn has_process(&self) -> bool {
        self.has_process
    }

    /// Whether it is launched to be warm and has no process yet.
    pub(crate) fn is_ordered_refill(&self) -> bool {
        !self.is_seated && !self.has_process
    }

    /// Whether it was launched with its players and has not reported `started`.
    pub(crate) fn is_launching_seated(&self) -> bool {
        self.is_seated && matches!(self.phase, GamePhase::Starting(_))
    }

    pub(crate) fn match_id(&self) -> Option<MatchId> {
        match self.phase {
            GamePhase::Launching | GamePhase::Warm => None,
            GamePhase::Starting(match_id) | GamePhase::Running { match_id, .. } => Some(match_id),
            GamePhase::Stopping { played, .. } => played.map(|(match_id, _)| match_id),
        }
    }

    /// The match whose players were sent to it.
    pub(crate) fn told_match(&self) -> Option<MatchId> {
        self.match_id().filter(|_| self.was_told)
    }

    /// The one place where a game changes its phase.
    fn enter(&mut self, next: GamePhase) {
        use GamePhase::{Launching, Running, Starting, Stopping, Warm};
        let legal = match (self.phase, next) {
            (Launching, Warm) | (Warm, Starting(_)) => true,
            (Starting(from), Running { match_id: to, .. }) => from == to,
            (Launching | Warm | Starting(_), Stopping { played, .. }) => played.is_none(),
            (Running { match_id, since, .. }, Stopping { played, .. }) => {
                played == Some((match_id, since))
            }
            (Stopping { played: from, .. }, Stopping { played: to, .. }) => from == to,
            (_, Launching)
            | (Launching, Starting(_) | Running { .. })
            | (Warm, Warm | Running { .. })
            | (Starting(_), Warm | Starting(_))
            | (Running { .. } | Stopping { .. }, Warm | Starting(_) | Running { .. }) => false,
        };
        assert!(legal, "a game cannot go from {:?} to {next:?}", self.phase);
        self.phase = next;
    }
}

/// All games, and what is counted of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Games {
    by_id: BTreeMap<GameId, Game>,
    by_match: BTreeMap<MatchId, GameId>,
    next: u64,
    counts: Counts,
}

/// Games by phase, in all modes and in each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Games that are launching, with players or to be warm.
    pub(crate) launching: usize,
    /// Games that are launched to be warm and have no process yet.
    pub(crate) refills_ordered: usize,
    pub(crate) stopping: usize,
    modes: Vec<ModeCounts>,
}

/// A mode's games by phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModeCounts {
    /// Games in any phase.
    pub(crate) games: usize,
    /// Games that are launching to be warm.
    pub(crate) launching: usize,
    /// Games that are launching with their players.
    pub(crate) launching_seated: usize,
    /// Warm games, oldest first.
    pub(crate) warm: BTreeSet<GameId>,
}

impl Counts {
    fn of(games: &BTreeMap<GameId, Game>, modes: usize) -> Self {
        let mut counts = Self::default();
        counts.modes.resize_with(modes, ModeCounts::default);
        games.iter().for_each(|(&id, game)| counts.change(id, game, true));
        counts
    }

    /// Adds or subtracts a game.
    fn change(&mut self, id: GameId, game: &Game, adds: bool) {
        let step = |count: &mut usize, counts: bool| match adds {
            true => *count += usize::from(counts),
            false => *count -= usize::from(counts),
        };
        let mode = &mut self.modes[game.mode.0];
        let is_launching = game.phase == GamePhase::Launching;
        let is_seated = game.is_launching_seated();
        step(&mut mode.games, true);
        step(&mut mode.launching, is_launching);
        step(&mut mode.launching_seated, is_seated);
        if game.phase == GamePhase::Warm {
            let changed = if adds { mode.warm.insert(id) } else { mode.warm.remove(&id) };
            assert!(changed, "{id:?} counts as warm twice, or not at all");
        }
        step(&mut self.launching, is_launching || is_seated);
        step(&mut self.refills_ordered, game.is_ordered_refill());
        step(&mut self.stopping, matches!(game.phase, GamePhase::Stopping { .. }));
    }
}

impl Games {
    pub(crate) fn new(modes: usize) -> Self {
        let by_id = BTreeMap::new();
        let counts = Counts::of(&by_id, modes);
        Self { by_id, by_match: BTreeMap::new(), next: 1, counts }
    }

    pub(crate) fn add_mode(&mut self) {
        self.counts.modes.push(ModeCounts::default());
    }

    /// Draws the id of a new game.
    pub(crate) fn next_id(&mut self) -> GameId {
        let id = GameId(self.next);
        self.next += 1;
        id
    }

    pub(crate) fn insert(&mut self, id: GameId, game: Game) {
        self.counts.change(id, &game, true);
        if let Some(match_id) = game.match_id() {
            self.by_match.insert(match_id, id);
        }
        self.by_id.insert(id, game);
    }

    pub(crate) fn get(&self, id: GameId) -> Option<&Game> {
        self.by_id.get(&id)
    }

    /// A game that exists.
    pub(crate) fn game(&self, id: GameId) -> &Game {
        let Some(game) = self.by_id.get(&id) else { unreachable!("{id:?} does not exist") };
        game
    }

    /// The game that a match was placed in.
    pub(crate) fn of_match(&self, match_id: MatchId) -> Option<GameId> {
        self.by_match.get(&match_id).copied()
    }

    /// A game, to change what does not count.
    pub(crate) fn get_mut(&mut self, id: GameId) -> Option<&mut Game> {
        self.by_id.get_mut(&id)
    }

    /// Changes a game's phase, and everything that is counted by phase.
    pub(crate) fn enter(&mut self, id: GameId, next: GamePhase) {
        let before = self.game(id).match_id();
        self.change(id, |game| game.enter(next));
        let after = self.game(id).match_id();
        if before != after {
            if let Some(match_id) = before {
                self.by_match.remove(&match_id);
            }
            if let Some(match_id) = after {
                self.by_match.insert(match_id, id);
            }
        }
    }

    /// Records that a game's process exists.
    pub(crate) fn set_process(&mut self, id: GameId) {
        self.change(id, |game| game.has_process = true);
    }

    fn change(&mut self, id: GameId, change: impl FnOnce(&mut Game)) {
        let Some(game) = self.by_id.get_mut(&id) else { unreachable!("{id:?} does not exist") };
        self.counts.change(id, game, false);
        change(game);
        self.counts.change(id, game, true);
    }

    pub(crate) fn remove(&mut self, id: GameId) -> Option<Game> {
        let game = self.by_id.remove(&id)?;
        self.counts.change(id, &game, false);
        if let Some(match_id) = game.match_id() {
            self.by_match.remove(&match_id);
        }
        Some(game)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GameId, &Game)> {
        self.by_id.iter().map(|(&id, game)| (id, game))
    }

    pub(crate) fn ids(&self, which: impl Fn(&Game) -> bool) -> Vec<GameId> {
        self.iter().filter(|(_, game)| which(game)).map(|(id, _)| id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn of_mode(&self, mode: ModeId) -> &ModeCounts {
        &self.counts.modes[mode.0]
    }

    /// Whether everything that is counted agrees with the games.
    pub(crate) fn is_whole(&self) -> bool {
        let of_matches = self.iter().filter_map(|(id, game)| Some((game.match_id()?, id)));
        self.counts == Counts::of(&self.by_id, self.counts.modes.len())
            && of_matches.collect::<BTreeMap<_, _>>() == self.by_match
    }
}
