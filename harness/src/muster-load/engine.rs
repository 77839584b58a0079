//! The loop: one thread, one epoll, all players.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::AlarmClock;
use crate::measure::{Outcome, Sample};
use crate::phase::Phase;
use crate::players::{PLACES_MAX, Players};
use crate::processor::{Processor, Used};
use crate::signals::Signals;
use crate::view::View;

const SIGNALS: Token = Token(PLACES_MAX + 1);
const ALARM: Token = Token(PLACES_MAX + 2);

/// The shortest time that the last sample covers.
const SAMPLE_SHORTEST: Duration = Duration::from_millis(100);

/// The times of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timetable {
    pub(crate) duration: Duration,
    /// How long players may take to finish after that.
    pub(crate) grace: Duration,
    /// The time between two samples.
    pub(crate) sample_every: Duration,
}

/// The loop and its event sources.
pub(crate) struct Engine {
    poll: Poll,
    alarm: AlarmClock,
    signals: Signals,
    players: Players,
    processor: Processor,
    timetable: Timetable,
    state: State,
    samples: Vec<Sample>,
    sample_at: Duration,
    used_at_start: Used,
    used_at_sample: Used,
    interruptions: usize,
    longest_turn: Duration,
    advice: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Running,
    /// Until this time at the latest; and the time since the last assignment.
    Ending {
        until: Duration,
        assigned: u64,
        quiet_since: Duration,
    },
}

/// The time without assignments after which there will be none: the players who are left in the queue are too few for a
/// match.
const QUIET: Duration = Duration::from_secs(1);

/// How often the view is updated, and waits are checked.
const TICK: Duration = Duration::from_millis(200);

/// The largest number of events that are polled at once.
const EVENTS: usize = 1024;

impl Engine {
    /// A loop for players who are registered with `poll`.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(crate) fn new(
        poll: Poll,
        players: Players,
        processor: Processor,
        timetable: Timetable,
    ) -> io::Result<Self> {
        let alarm = AlarmClock::new(poll.registry(), ALARM)?;
        let signals = Signals::take_over(poll.registry(), SIGNALS)?;
        let used = processor.used();
        Ok(Self {
            poll,
            alarm,
            signals,
            players,
            processor,
            timetable,
            state: State::Running,
            samples: Vec::new(),
            sample_at: timetable.sample_every,
            used_at_start: used,
            used_at_sample: used,
            interruptions: 0,
            longest_turn: Duration::ZERO,
            advice: Vec::new(),
        })
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(crate) fn run(mut self, view: &mut View) -> io::Result<(Players, Outcome)> {
        let mut events = Events::with_capacity(EVENTS);
        let mut tick_at = Duration::ZERO;
        loop {
            let busy_since = self.players.stage.now();
            self.players.handle_time();
            let now = self.players.stage.now();
            if now >= tick_at {
                tick_at = now + TICK;
                self.tick(now, view);
            }
            if self.is_over(now) {
                break;
            }
            let next = self.players.next_deadline().map_or(tick_at, |at| at.min(tick_at));
            self.longest_turn = self.longest_turn.max(now - busy_since);
            self.wait(&mut events, next.saturating_sub(now))?;
            let busy_since = self.players.stage.now();
            for event in &events {
                match event.token() {
                    SIGNALS => self.interruptions += self.signals.take(),
                    ALARM => {}
                    token => self.players.handle_ready(token, event.is_read_closed()),
                }
            }
            let busy = self.players.stage.now() - busy_since;
            self.longest_turn = self.longest_turn.max(busy);
        }
        Ok(self.finish(view))
    }

    fn wait(&mut self, events: &mut Events, pause: Duration) -> io::Result<()> {
        let timeout = if pause.is_zero() {
            Some(Duration::ZERO)
        } else {
            self.alarm.set(pause);
            None
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            waited => waited,
        }
    }

    /// The work that is done a few times a second.
    fn tick(&mut self, now: Duration, view: &mut View) {
        self.players.stage.oracle.handle_timeout(now);
        for advice in self.players.take_advice() {
            if !self.advice.contains(&advice) {
                self.advice.push(advice);
                view.warn(advice);
            }
        }
        if now >= self.sample_at {
            self.sample(now);
        }
        view.show(now, &self.players, self.samples.last(), self.state != State::Running);
    }

    fn sample(&mut self, now: Duration) {
        let since = self.samples.last().map_or(0.0, |sample| sample.at);
        let used = self.processor.used();
        let before = std::mem::replace(&mut self.used_at_sample, used);
        let seconds = now.as_secs_f64() - since;
        let part =
            |used: Duration, before: Duration| used.saturating_sub(before).as_secs_f64() / seconds;
        let measure = &mut self.players.stage.measure;
        self.samples.push(Sample {
            at: now.as_secs_f64(),
            phases: measure.phases(),
            counts: measure.counts,
            latencies: measure.take_recent(),
            own_processor: part(used.own, before.own),
            daemon_processor: used.daemon.zip(before.daemon).map(|(now, then)| part(now, then)),
        });
        self.sample_at = now + self.timetable.sample_every;
    }

    /// Advances from running to ending; returns whether the run is over.
    fn is_over(&mut self, now: Duration) -> bool {
        let assigned = self.players.stage.measure.counts.assigned;
        match &mut self.state {
            State::Running => {
                if now >= self.timetable.duration || self.interruptions > 0 {
                    self.players.handle_end_of_run();
                    let until = now + self.timetable.grace;
                    self.state = State::Ending { until, assigned, quiet_since: now };
                }
                false
            }
            State::Ending { until, assigned: before, quiet_since } => {
                if assigned != *before {
                    (*before, *quiet_since) = (assigned, now);
                }
                let is_quiet = now >= *quiet_since + QUIET;
                let phases = self.players.stage.measure.phases();
                let busy = Phase::ALL.into_iter().filter(|phase| match phase {
                    Phase::Idle => false,
                    Phase::Queued => !is_quiet,
                    _ => true,
                });
                let is_done = busy.map(|phase| phases[phase as usize]).all(|count| count == 0)
                    && self.players.stage.oracle.owed() == 0;
                is_done || now >= *until || self.interruptions > 1
            }
        }
    }

    fn finish(mut self, view: &mut View) -> (Players, Outcome) {
        let now = self.players.stage.now();
        self.players.stage.oracle.handle_timeout(now);
        self.players.stage.oracle.finish(now);
        // A share of the processor over a short moment would be meaningless.
        let last = self.samples.last().map(|sample| Duration::from_secs_f64(sample.at));
        if last.is_none_or(|last| now.saturating_sub(last) >= SAMPLE_SHORTEST) {
            self.sample(now);
        }
        view.finish();
        let used = self.processor.used();
        let start = self.used_at_start;
        let since = |now: Option<Duration>, then: Option<Duration>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        let outcome = Outcome {
            samples: self.samples,
            used: Used {
                own: used.own.saturating_sub(start.own),
                daemon: since(used.daemon, start.daemon),
                children: since(used.children, start.children),
            },
            length: now,
            was_interrupted: self.interruptions > 0,
            longest_turn: self.longest_turn,
            advice: self.advice,
        };
        (self.players, outcome)
    }
}
