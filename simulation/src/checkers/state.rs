//! Checks of the state after every input.

use std::time::Duration;

use brain::limits;
use brain::{Brain, GameId, Input, ModeId, PlayerId, PlayerInput};

use crate::model::{GamePhase, MatchModel, MatchPhase, Model, Process};
use crate::{CheckResult, Checker, Flaw, check};

impl Model {
    /// Checks what has to hold once all actions of an input are out.
    pub(crate) fn finish(&mut self, brain: &Brain) -> CheckResult {
        self.note_warm_games();
        self.check_answers()?;
        self.check_players()?;
        self.check_matches()?;
        self.check_games()?;
        self.check_open_slots_are_filled()?;
        self.check_supply()?;
        self.check_next_deadline(brain)?;
        self.check_agreement(brain)
    }

    /// Notes in which modes warm games are missing or too many.
    fn note_warm_games(&mut self) {
        let is_complete = |mode: &ModeId| {
            let wanted = self.mode(*mode).warm_max + self.line(*mode).len();
            self.warm_supply(*mode) >= wanted
        };
        if self.free_ports() == 0 || self.mode_ids().all(|mode| is_complete(&mode)) {
            self.all_warm_at = self.now;
        }
        for mode in self.mode_ids() {
            let (is_short, is_surplus) = (self.is_short(mode), self.is_surplus(mode));
            let now = self.now;
            let noted = &mut self.modes[mode.0];
            noted.short_since = is_short.then_some(noted.short_since.unwrap_or(now));
            noted.surplus_since = is_surplus.then_some(noted.surplus_since.unwrap_or(now));
        }
    }

    /// Whether a mode has fewer warm games than its minimum although one can be launched.
    fn is_short(&self, mode: ModeId) -> bool {
        !self.modes[mode.0].is_failing
            && self.can_launch()
            && self.warm_ordered() < limits::REFILLS_ORDERED_MAX
            && self.warm_supply(mode) < self.mode(mode).warm_min
    }

    fn is_surplus(&self, mode: ModeId) -> bool {
        self.is_serving() && self.games_at(mode, GamePhase::Warm) > self.mode(mode).warm_max
    }

    /// Every request has its answer, and what the input led to was reported.
    fn check_answers(&self) -> CheckResult {
        let context = &self.context;
        let asks = matches!(
            context.input,
            Some(
                Input::Player(PlayerInput::Ready { .. })
                    | Input::Player(PlayerInput::ReadyParty { .. })
                    | Input::Player(PlayerInput::CreateParty { .. })
                    | Input::Player(PlayerInput::JoinParty { .. })
                    | Input::Player(PlayerInput::LeaveParty { .. })
                    | Input::Player(PlayerInput::Resume { .. })
                    | Input::Player(PlayerInput::Leave { .. })
                    | Input::Player(PlayerInput::Answer { .. })
            )
        );
        check(context.replies == usize::from(asks), || format!("{} answers", context.replies))?;
        check(context.actions <= context.actions_max, || format!("{} actions", context.actions))?;
        let lost = context.survivors.iter().chain(&context.moved).next();
        check(lost.is_none(), || format!("{lost:?} lost their match and was not requeued"))?;
        let silent = (context.evicted.first(), context.replaced);
        check(silent == (None, None), || format!("{silent:?} were not notified"))?;
        let waited = context.rounds_over.iter().chain(&context.timed_out);
        let silent = waited.chain(&context.backfilled).chain(&context.resized).next();
        check(silent.is_none(), || format!("{silent:?} was not notified"))?;
        self.check_parties_notified()?;
        let unreported = (context.result_due, context.end_due, context.return_due);
        check(unreported == (None, None, None), || format!("not reported: {unreported:?}"))?;
        let unreported = &context.game_end_due;
        check(unreported.is_none(), || format!("not reported: {unreported:?}"))?;
        if let Some((game, from)) = context.moves_on.filter(|(_, it)| *it != GamePhase::Ending) {
            let phase = self.games.get(&game).map(|process| process.phase);
            check(phase != Some(from), || format!("{game:?} is still {from:?}"))?;
        }
        Ok(())
    }

    /// Every player is in one place, and enough waiting players have a match.
    fn check_players(&self) -> CheckResult {
        for (id, player) in &self.players {
            let Some(match_id) = player.match_id else { continue };
            let is_in_it = self.matches.get(&match_id).is_some_and(|it| {
                it.players.contains(id) && !matches!(it.phase, MatchPhase::Assigned { .. })
            });
            check(is_in_it && player.connection.is_some(), || {
                format!("{id:?} {player:?} is in no match that waits, or is away")
            })?;
        }
        for mode in self.mode_ids() {
            let (waiting, size) = (self.queue(mode).len(), self.mode(mode).players);
            let takes_all = self.is_serving() && self.mode(mode).is_first_come_first_served();
            check(!takes_all || waiting < size, || {
                format!("{waiting} wait for a match of {size}")
            })?;
        }
        let queued = self.players.values().filter(|player| player.match_id.is_none()).count();
        check(self.is_serving() || queued == 0, || format!("{queued} are queued in a drain"))
    }

    fn check_matches(&self) -> CheckResult {
        for (id, found) in &self.matches {
            let game = match found.phase {
                MatchPhase::Offered { .. } => {
                    let is_asked = |player| self.players[player].asked == Some(*id);
                    let all_asked = found.players.iter().all(is_asked);
                    check(all_asked && self.is_serving(), || format!("{id:?} is not offered"))?;
                    continue;
                }
                MatchPhase::Waiting => {
                    check(self.is_serving(), || format!("{id:?} waits in a drain"))?;
                    check(self.all_notified(found), || format!("{id:?} waits in silence"))?;
                    continue;
                }
                MatchPhase::Starting(game) => {
                    let all_here = found.players.iter().all(|id| self.players.contains_key(id));
                    check(all_here, || format!("{id:?} starts without all of its players"))?;
                    // Players whose game was warm are assigned before there is anything to say.
                    let is_launched = self.games.get(&game).is_some_and(|it| it.is_seated);
                    check(!is_launched || self.all_notified(found), || {
                        format!("{id:?} waits for {game:?} in silence")
                    })?;
                    game
                }
                MatchPhase::Assigned { game, .. } => {
                    let waits = |player| {
                        self.players.get(player).is_some_and(|it| it.match_id == Some(*id))
                    };
                    let all_assigned = !found.players.iter().any(waits);
                    check(all_assigned, || format!("{id:?} runs and not all are assigned"))?;
                    game
                }
            };
            let plays = self.games.get(&game).and_then(|process| process.match_id);
            check(plays == Some(*id), || format!("{id:?} is in {game:?}, which has {plays:?}"))?;
        }
        Ok(())
    }

    /// Whether all players of a match know what it waits for.
    fn all_notified(&self, found: &MatchModel) -> bool {
        found.players.iter().all(|id: &PlayerId| self.players[id].notified.is_some())
    }

    fn check_games(&self) -> CheckResult {
        for (id, process) in &self.games {
            let is_asked = process.is_killed || process.stopped_at.is_some();
            let is_forgotten = process.phase == GamePhase::Ending && process.is_alive && !is_asked;
            check(!is_forgotten, || format!("{id:?} should end and was not asked to"))?;
            let found = process.match_id.and_then(|id| self.matches.get(&id)).map(|it| it.phase);
            let agrees = match found {
                None => process.match_id.is_none(),
                Some(MatchPhase::Starting(game)) => {
                    game == *id && process.phase == GamePhase::Starting
                }
                Some(MatchPhase::Assigned { game, .. }) => game == *id,
                Some(MatchPhase::Offered { .. } | MatchPhase::Waiting) => false,
            };
            check(agrees, || format!("{id:?} {process:?} has a match that is {found:?}"))?;
        }
        Ok(())
    }

    /// A match that can have a game has one.
    fn check_supply(&self) -> CheckResult {
        if !self.is_serving() {
            return Ok(());
        }
        for mode in self.mode_ids() {
            let is_idle = !self.line(mode).is_empty() && self.games_at(mode, GamePhase::Warm) > 0;
            check(!is_idle, || format!("a match of {mode:?} waits beside a warm game"))?;
        }
        let mode = self.mode_in_need().filter(|_| self.can_launch());
        check(mode.is_none(), || format!("a match of {mode:?} waits, and nothing is launched"))
    }

    /// The brain wants to be called by the earliest time at which something is due.
    fn check_next_deadline(&self, brain: &Brain) -> CheckResult {
        let Some((due, what)) = self.next_due() else { return Ok(()) };
        let next = brain.next_deadline();
        check(next.is_some_and(|next| next <= due), || {
            format!("{what} is due at {due:?}, and the brain waits until {next:?}")
        })
    }

    /// The brain counts what the model counts.
    fn check_agreement(&self, brain: &Brain) -> CheckResult {
        let totals = brain.totals();
        check(totals == self.totals, || format!("{totals:?}, and it was {:?}", self.totals))?;
        let t = self.totals;
        let gone = t.assigned + t.left + t.expired + t.timed_out + t.evicted + t.refused;
        let accounted = self.players.len() as u64 + gone;
        check(t.joined == accounted, || format!("{t:?} and {} waiting", self.players.len()))?;
        let is_over = !self.is_serving() && self.games.is_empty();
        check(self.is_drained == is_over, || "no game is left, and the drain is not over".into())?;
        for mode in self.mode_ids() {
            let status = brain.mode_status(mode);
            let of_mode = || self.players.values().filter(|player| player.mode == mode);
            let waiting = of_mode().filter(|player| player.connection.is_some()).count();
            let away = of_mode().count() - waiting;
            let games = self.games.values().filter(|process| process.mode == mode).count();
            let counted = (waiting, away, games, self.free_ports());
            let kept = (status.waiting, status.away, status.games, status.ports_free);
            check(counted == kept, || format!("{mode:?}: {kept:?}, and it is {counted:?}"))?;
        }
        Ok(())
    }

    /// Nothing lasts longer than it may, once time has passed.
    pub(crate) fn check_nothing_overdue(&self) -> CheckResult {
        match self.next_due().filter(|(due, _)| *due <= self.now) {
            Some((due, what)) => check(false, || format!("{what} is overdue since {due:?}")),
            None => Ok(()),
        }
    }

    /// The next thing that is due, and when.
    fn next_due(&self) -> Option<(Duration, String)> {
        let windows = self.players.iter().filter_map(|(id, player)| {
            let until = player.away_since? + self.config.resume_window;
            Some((until, format!("the end of {id:?}'s window")))
        });
        let rounds = self.players.iter().filter(|(_, player)| player.match_id.is_none());
        let rounds = rounds.filter_map(|(id, player)| {
            let until = player.round_since + self.mode(player.mode).max_wait?;
            Some((until, format!("the end of {id:?}'s round")))
        });
        let offers = self.matches.iter().filter_map(|(id, found)| match found.phase {
            MatchPhase::Offered { until } => Some((until, format!("the end of {id:?}'s offer"))),
            _ => None,
        });
        let games = self.games.iter().filter_map(|(id, process)| {
            Some((self.game_due(*id, process)?, format!("the next step of {id:?} {process:?}")))
        });
        let warm = self.mode_ids().flat_map(|mode| {
            let noted = &self.modes[mode.0];
            let launch = noted.short_since.map(|since| since + limits::REFILL_DELAY_MAX);
            let stop = noted.surplus_since.map(|since| since + limits::SURPLUS_PAUSE);
            let launch = launch.map(|due| (due, format!("a warm game of {mode:?}")));
            launch.into_iter().chain(stop.map(|due| (due, format!("a stop in {mode:?}"))))
        });
        let all = windows.chain(rounds).chain(offers).chain(games).chain(warm);
        all.min_by_key(|(due, _)| *due)
    }

    /// When something has to be done about a game that does nothing.
    fn game_due(&self, _: GameId, process: &Process) -> Option<Duration> {
        let mode = self.mode(process.mode);
        let due = match process.phase {
            GamePhase::Launching => Some(process.since + mode.ready_timeout),
            GamePhase::Warm => None,
            GamePhase::Starting if process.is_seated => {
                let since_ready = process.ready_at.map(|at| at + mode.start_timeout);
                since_ready.or(Some(process.since + mode.ready_timeout))
            }
            GamePhase::Starting => Some(process.since + mode.start_timeout),
            GamePhase::Running => {
                let end = process.assigned_at.map(|at| at + mode.max_duration);
                let silence = mode.alive_timeout.map(|silence| process.since + silence);
                end.into_iter().chain(silence).min()
            }
            // The launcher answers for a process that does not exist yet.
            GamePhase::Ending if !process.is_alive => None,
            GamePhase::Ending if process.is_killed => {
                Some(process.killed_at + limits::KILL_AGAIN_AFTER)
            }
            GamePhase::Ending if process.is_terminated => {
                process.stopped_at.map(|at| at + mode.stop_grace)
            }
            GamePhase::Ending => process.stopped_at.map(|at| at + mode.stop_grace / 2),
        };
        let must_end = self.draining_since.map(|since| since + self.config.drain_timeout);
        let must_end = must_end.filter(|_| process.phase != GamePhase::Ending);
        due.into_iter().chain(must_end).min()
    }
}

/// The brain's own sweep.
pub(crate) fn check_invariants(brain: &Brain) -> CheckResult {
    brain
        .check_invariants()
        .map_err(|violation| Flaw { found_by: Checker::Invariants, what: violation.to_string() })
}
