//! What is particular to one input.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Process, Step};
use matchmaker::{ConnectionId, GameId, MatchId, PlayerId};
use matchmaker::{Exit, Input};

/// What an input did, and what has to come of it.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) input: Option<Input>,
    /// The ids that the brain drew for the players who joined.
    pub(super) newcomers: Vec<PlayerId>,
    /// Who has to be told that a round is over, and who then that another one begins.
    pub(super) rounds_over: BTreeSet<PlayerId>,
    /// Who has to be told that another number of players makes a match.
    pub(super) resized: BTreeSet<PlayerId>,
    /// Who has waited for which round.
    pub(super) rounds_noted: BTreeSet<(PlayerId, u32)>,
    /// Who waited for too long, and has to be reported.
    pub(super) timed_out: BTreeSet<PlayerId>,
    /// Who came into a running match, and has to be told where to play.
    pub(super) backfilled: BTreeSet<PlayerId>,
    /// Parties of which was told: how many are said to be in them, and who was told.
    pub(super) parties_told: BTreeMap<String, (usize, BTreeSet<ConnectionId>)>,
    /// Direct answers to the connection that spoke.
    pub(super) replies: usize,
    pub(super) actions: usize,
    pub(super) actions_max: usize,
    /// The players who went, and the matches that they went out of.
    pub(super) went: Vec<(PlayerId, MatchId)>,
    /// Connections of players who have to be told that they are out.
    pub(super) evicted: BTreeSet<ConnectionId>,
    /// The connection that has to be told that another took its session over.
    pub(super) replaced: Option<ConnectionId>,
    /// Who comes back into its game, with its new token.
    pub(super) rejoins: Option<PlayerId>,
    /// Those who have to be told that they stand where they stood, or that they are sent off.
    pub(super) survivors: BTreeSet<PlayerId>,
    /// Those whose match was taken apart to make room: they are in another one by the end, or told the same.
    pub(super) moved: BTreeSet<PlayerId>,
    /// The process that is gone.
    pub(super) ended: Option<(GameId, Process)>,
    /// The game that has to leave its step.
    pub(super) moves_on: Option<(GameId, Step)>,
    /// The match whose result has to be passed on.
    pub(super) result_due: Option<MatchId>,
    /// The match whose end has to be reported, and how its game ended.
    pub(super) end_due: Option<(MatchId, Exit)>,
    /// The game whose end has to be reported, with its match, its exit and who came.
    pub(super) game_end_due: Option<(GameId, Option<MatchId>, Exit, Vec<usize>)>,
    /// The port whose return has to be reported.
    pub(super) return_due: Option<u16>,
}
