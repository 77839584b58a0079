//! Inputs that come too late or out of turn, about any game that ever was. None of them may change anything.

use crate::model::GamePhase;
use crate::trace::Entry;
use crate::world::World;
use crate::{CheckResult, check};
use brain::{ConnectionId, GameId, GameInput, PlayerInput};
use brain::{Exit, Input, LaunchFault};

impl World<'_> {
    /// A stale input changes nothing at all.
    pub(crate) fn stale_input_arrives(&mut self) -> CheckResult {
        self.pass_time()?;
        let Some(input) = self.draw_stale_input() else { return Ok(()) };
        self.trace.push(Entry::Input(self.now, input.clone()));
        self.expect_no_effect(Some(input))
    }

    /// Gives the brain an input, or lets time pass, without any effect.
    pub(crate) fn expect_no_effect(&mut self, input: Option<Input>) -> CheckResult {
        let what = format!("{input:?}");
        self.saved.note(self.now, input.clone());
        // Writing out the whole state is expensive, so it is not done each time.
        let before = self.choices.one_in(8).then(|| format!("{:?}", self.brain));
        match input {
            Some(input) => self.brain.handle(self.now, input),
            None => self.brain.handle_timeout(self.now),
        }
        let wanted = self.brain.poll_action();
        check(wanted.is_none(), || format!("{what} is stale and led to {wanted:?}"))?;
        let Some(before) = before else { return Ok(()) };
        let after = format!("{:?}", self.brain);
        check(before == after, || {
            let same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| -> String {
                text.chars().skip(same.saturating_sub(60)).take(120).collect()
            };
            format!("{what} is stale and led from …{} to …{}", around(&before), around(&after))
        })
    }

    fn draw_stale_input(&mut self) -> Option<Input> {
        if self.choices.one_in(8) {
            return match self.choices.below(3) {
                0 => Some(Input::Player(PlayerInput::Lost { connection: self.new_connection() })),
                1 => {
                    // A player who left the queue may still be in a party, whose members are notified.
                    let is_in_no_party = |on: &&ConnectionId| self.brain.party_size(**on) == 0;
                    let quiet = self.quiet.iter().rfind(is_in_no_party);
                    quiet.map(|&connection| Input::Player(PlayerInput::Lost { connection }))
                }
                _ => (!self.model.is_serving()).then_some(Input::Drain),
            };
        }
        let last = self.model.last.game?;
        let age = self.choices.below(12).into();
        let game = GameId(last.0.saturating_sub(age));
        let slot = self.choices.index(3);
        let word = self.choices.index(STALE_INPUTS);
        let input = match word {
            0 => Input::Game(GameInput::Launched { game }),
            1 => Input::Game(GameInput::LaunchFailed { game, fault: LaunchFault::PortBusy }),
            2 => Input::Game(GameInput::Ready { game }),
            3 => Input::Game(GameInput::Started { game }),
            4 => Input::Game(GameInput::Joined { game, slot }),
            5 => Input::Game(GameInput::Left { game, slot }),
            6 => Input::Game(GameInput::Alive { game }),
            7 => Input::Game(GameInput::Result { game, result: "{}".to_owned() }),
            9 => Input::Game(GameInput::Backfill { game, slots: vec![slot] }),
            8 => Input::Game(GameInput::Broken { game, what: "not JSON".to_owned() }),
            _ => Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }),
        };
        let Some(process) = self.model.games.get(&game) else { return Some(input) };
        let is_notified = process.assigned_at.is_some();
        let may_say_ready = match process.phase {
            GamePhase::Launching => true,
            GamePhase::Starting => process.is_seated && process.ready_at.is_none(),
            GamePhase::Warm | GamePhase::Running | GamePhase::Ending => false,
        };
        let is_stale = match word {
            0 | 1 => process.is_alive,
            2 => !process.is_alive || !may_say_ready,
            3 => !process.is_alive || process.phase != GamePhase::Starting,
            4 | 5 => !is_notified,
            6 | 9 => process.phase != GamePhase::Running,
            7 => !is_notified || process.has_result,
            8 => process.is_killed,
            _ => !process.is_alive,
        };
        is_stale.then_some(input)
    }
}

/// The kinds of stale inputs.
const STALE_INPUTS: usize = 11;
