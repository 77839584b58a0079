//! The schedule: takes idle players, and returns them when their next step is due. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::plan::Plan;
use crate::step::Step;

/// Idle players, by the time of their next step.
#[derive(Debug)]
pub(crate) struct Compositor {
    plan: Plan,
    idle: BinaryHeap<Reverse<Idle>>,
}

/// An idle player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Idle {
    due: Duration,
    player: u32,
    run: u32,
    place: usize,
}

/// A step that is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dispatch {
    /// The player's place, as it was passed to [`handle_idle`](Compositor::handle_idle).
    pub(crate) place: usize,
    /// When the step was due: durations are measured from here, however late it is started.
    pub(crate) due: Duration,
    pub(crate) step: Step,
}

impl Compositor {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, idle: BinaryHeap::new() }
    }

    /// Adds a player who is idle from `since` on, which may be in the future, and has made `run` steps so far.
    pub(crate) fn handle_idle(&mut self, since: Duration, place: usize, player: u32, run: u32) {
        let due = since + self.plan.step(player, run).idle;
        self.idle.push(Reverse(Idle { due, player, run, place }));
    }

    /// The next step that is due, if one is.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Dispatch> {
        let Reverse(first) = *self.idle.peek()?;
        if first.due > now {
            return None;
        }
        self.idle.pop();
        let step = self.plan.step(first.player, first.run);
        Some(Dispatch { place: first.place, due: first.due, step })
    }

    /// When the next step is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.idle.peek().map(|Reverse(first)| first.due)
    }

    /// Stops the schedule.
    pub(crate) fn stop(&mut self) {
        self.idle.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario_file::ScenarioFile;

    fn compositor(seed: u64) -> Compositor {
        Compositor::new(Plan::new(seed, ScenarioFile::load("evening").unwrap(), 1))
    }

    /// The steps in a minute of players who are idle again after a fixed time, when the schedule is polled every
    /// `tick`.
    fn minute(seed: u64, tick: Duration) -> Vec<(Duration, usize, Step)> {
        let mut compositor = compositor(seed);
        let mut runs = [0; 50];
        for player in 0..50 {
            let place = usize::try_from(player).unwrap();
            compositor.handle_idle(Duration::ZERO, place, player, 0);
        }
        let mut dispatched = Vec::new();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(60) {
            while let Some(Dispatch { place, due, step }) = compositor.poll(now) {
                dispatched.push((due, place, step));
                runs[place] += 1;
                let player = u32::try_from(place).unwrap();
                compositor.handle_idle(due + Duration::from_secs(3), place, player, runs[place]);
            }
            now += tick;
        }
        dispatched.retain(|(due, ..)| *due < Duration::from_secs(59));
        dispatched
    }

    #[test]
    fn the_same_seed_gives_the_same_steps_however_often_it_is_polled() {
        let fine = minute(3, Duration::from_millis(1));
        let mut coarse = minute(3, Duration::from_millis(250));
        assert!(fine.len() > 200, "{}", fine.len());
        coarse.sort_by_key(|(due, place, _)| (*due, *place));
        assert_eq!(fine, coarse);
        assert_ne!(fine, minute(4, Duration::from_millis(1)));
    }

    #[test]
    fn no_step_is_due_before_its_time_or_after_the_end() {
        let mut compositor = compositor(1);
        compositor.handle_idle(Duration::from_secs(5), 0, 0, 0);
        let due = compositor.next_deadline().unwrap();
        assert!(due >= Duration::from_secs(5));
        assert_eq!(compositor.poll(due - Duration::from_nanos(1)), None);
        assert_eq!(compositor.poll(due).unwrap().due, due);
        assert_eq!(compositor.poll(due), None);
        compositor.handle_idle(due, 0, 0, 1);
        compositor.stop();
        assert_eq!(compositor.next_deadline(), None);
    }
}
