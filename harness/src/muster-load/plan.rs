//! What players will do: pure, and the same for the same seed.
//!
//! A player's next step depends on the seed, the player's number and how many steps it has made, and on nothing that
//! happens in the run: two runs with one seed plan the same, however fast the one under test is.

use std::time::Duration;

use testkit::Dice;

use crate::scenario_file::ScenarioFile;
use crate::step::{Answer, GameStep, Kind, Step};

/// The plan of all players.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    seed: u64,
    file: ScenarioFile,
    /// The rates of all scenarios together, per second.
    rate: f64,
    queues: usize,
}

impl Plan {
    /// A plan for players who choose among `queues` queues.
    pub(crate) fn new(seed: u64, file: ScenarioFile, queues: usize) -> Self {
        let rate = file.rates().iter().map(|(_, rate)| rate).sum();
        Self { seed, file, rate, queues: queues.max(1) }
    }

    /// A player's step; players are numbered by their births, steps from 0.
    pub(crate) fn step(&self, player: u32, run: u32) -> Step {
        let mut dice = Dice::keyed(self.seed, &[player.into(), run.into()]);
        let idle = dice.wait_for(self.rate);
        let kind = self.choose(&mut dice);
        let queue = usize::try_from(dice.next()).unwrap_or(0) % self.queues;
        let (pause, second_pause) = self.pauses(kind, &mut dice);
        let coin = dice.chance(0.5);
        let in_game = &self.file.in_game;
        let game = GameStep {
            game: in_game.game,
            shows_up: kind.plays() && !dice.chance(in_game.no_show),
            stays: in_game.stays.draw(&mut dice),
            ping_every: in_game.ping_every.draw(&mut dice),
            think: in_game.think.draw(&mut dice),
            seed: dice.next(),
        };
        let answer = self.answer(&mut dice);
        Step { idle, kind, queue, pause, second_pause, coin, answer, game }
    }

    fn answer(&self, dice: &mut Dice) -> Answer {
        let ready_check = &self.file.ready_check;
        let drawn = dice.fraction();
        match () {
            () if drawn < ready_check.declines => Answer::Decline,
            () if drawn < ready_check.declines + ready_check.silent => Answer::Nothing,
            () => Answer::Accept,
        }
    }

    /// A scenario, as often as its rate says.
    fn choose(&self, dice: &mut Dice) -> Kind {
        let mut rest = dice.fraction() * self.rate;
        let mut chosen = Kind::Matchmaking;
        for (kind, rate) in self.file.rates() {
            if rate > 0.0 {
                chosen = kind;
                if rest < rate {
                    break;
                }
                rest -= rate;
            }
        }
        chosen
    }

    fn pauses(&self, kind: Kind, dice: &mut Dice) -> (Duration, Duration) {
        let file = &self.file;
        match kind {
            Kind::Impatient => (file.impatient.after.draw(dice), Duration::ZERO),
            Kind::Flaky => (file.flaky.after.draw(dice), file.flaky.away.draw(dice)),
            Kind::Lurker => (file.lurker.stays.draw(dice), Duration::ZERO),
            Kind::Slow => (file.slow.stays.draw(dice), file.slow.byte_every.draw(dice)),
            Kind::Firehose => (file.firehose.stays.draw(dice), Duration::ZERO),
            Kind::Matchmaking | Kind::Logout | Kind::Resets => (Duration::ZERO, Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        Plan::new(seed, ScenarioFile::load("storm").unwrap(), 3)
    }

    fn steps(plan: &Plan) -> Vec<Step> {
        (0..100).flat_map(|player| (0..50).map(move |run| plan.step(player, run))).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        assert_eq!(steps(&plan(1)), steps(&plan(1)));
        assert_ne!(steps(&plan(1)), steps(&plan(2)));
        // In whatever order players are asked about.
        assert_eq!(plan(1).step(70, 3), steps(&plan(1))[70 * 50 + 3]);
    }

    #[test]
    fn scenarios_are_as_frequent_as_their_rates_say() {
        let plan = plan(5);
        let steps = steps(&plan);
        let count = f64::from(u32::try_from(steps.len()).unwrap());
        for (kind, rate) in plan.file.rates() {
            let runs = steps.iter().filter(|step| step.kind == kind).count();
            let runs = f64::from(u32::try_from(runs).unwrap());
            let expected = count * rate / plan.rate;
            // Four times the deviation that chance makes, and a little for what is rare.
            let most = 4.0 * expected.sqrt() + 5.0;
            assert!((runs - expected).abs() < most, "{kind:?}: {runs} of {expected}");
        }
        assert!(
            steps.iter().any(|step| step.queue == 2) && steps.iter().all(|step| step.queue < 3)
        );
        assert!(steps.iter().any(|step| step.kind == Kind::Matchmaking && !step.game.shows_up));
        let answers = |answer| steps.iter().filter(|step| step.answer == answer).count();
        assert!((50..150).contains(&answers(Answer::Decline)), "{}", answers(Answer::Decline));
        assert!((50..150).contains(&answers(Answer::Nothing)), "{}", answers(Answer::Nothing));
    }

    #[test]
    fn what_has_no_rate_never_happens() {
        let evening = Plan::new(1, ScenarioFile::load("evening").unwrap(), 1);
        let hostile = [Kind::Slow, Kind::Firehose, Kind::Resets];
        assert!(steps(&evening).iter().all(|step| !hostile.contains(&step.kind)));
        assert!(steps(&evening).iter().any(|step| step.kind == Kind::Logout));
    }
}
