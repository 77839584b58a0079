//! The context of one input.

use std::collections::{BTreeMap, BTreeSet};

use brain::{ConnectionId, Exit, GameId, Input, MatchId, PlayerId};

use crate::model::{GamePhase, Process};

/// The effects of an input, and the actions that have to follow. The checkers strike off what has followed; nothing may be
/// left when all actions are out.
#[derive(Debug, Default)]
pub(crate) struct StepContext {
    /// The input; `None` is the passing of time.
    pub(crate) input: Option<Input>,
    /// The ids of the players who joined.
    pub(crate) newcomers: Vec<PlayerId>,
    /// Players whose round is over and who begin another one: they have to be notified.
    pub(crate) rounds_over: BTreeSet<PlayerId>,
    /// Players whose match size has changed: they have to be notified.
    pub(crate) resized: BTreeSet<PlayerId>,
    /// Players and the rounds of theirs that have ended.
    pub(crate) rounds_noted: BTreeSet<(PlayerId, u32)>,
    /// Players who waited for too long: their end has to be reported.
    pub(crate) timed_out: BTreeSet<PlayerId>,
    /// Players who were put into a running match: they have to be assigned.
    pub(crate) backfilled: BTreeSet<PlayerId>,
    /// Parties that changed: their size, and the members who were notified.
    pub(crate) parties_notified: BTreeMap<String, (usize, BTreeSet<ConnectionId>)>,
    /// Answers to the connection that made the request.
    pub(crate) replies: usize,
    pub(crate) actions: usize,
    pub(crate) actions_max: usize,
    /// Players who left, and their matches.
    pub(crate) went: Vec<(PlayerId, MatchId)>,
    /// Connections of evicted players: they have to be notified.
    pub(crate) evicted: BTreeSet<ConnectionId>,
    /// The connection whose session another one resumed: it has to be notified.
    pub(crate) replaced: Option<ConnectionId>,
    /// The player who rejoins a running game with a new token.
    pub(crate) rejoins: Option<PlayerId>,
    /// Players whose match was dissolved: they have to be requeued or refused.
    pub(crate) survivors: BTreeSet<PlayerId>,
    /// Players whose match was dissolved for earlier players: they are in another match in the end, or requeued.
    pub(crate) moved: BTreeSet<PlayerId>,
    /// The process that is gone.
    pub(crate) ended: Option<(GameId, Process)>,
    /// The game that has to leave its phase.
    pub(crate) moves_on: Option<(GameId, GamePhase)>,
    /// The match whose result has to be reported.
    pub(crate) result_due: Option<MatchId>,
    /// The match whose end has to be reported, and the exit of its game.
    pub(crate) end_due: Option<(MatchId, Exit)>,
    /// The game whose end has to be reported, with its match, its exit and the slots that were taken.
    pub(crate) game_end_due: Option<(GameId, Option<MatchId>, Exit, Vec<usize>)>,
    /// The port whose return has to be reported.
    pub(crate) return_due: Option<u16>,
}
