//! Measurements: durations, counts, and their course over time.
//!
//! **No coordinated omission.** Every duration begins when the action was *due*, not when this program started it: a
//! run at its planned time, a ping at the time of its schedule, and a schedule does not wait for answers. An action
//! that follows an answer (READY after the greeting, the hello after ASSIGN) begins when that answer was received. The
//! lateness of this program is [`Latency::Lateness`]: if that is not small compared with the rest, the rest shows this
//! program and not Muster. Actions that never ended are in no histogram; the report counts them separately (still
//! queued, pings lost).

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::phase::{PHASES, Phase};
use crate::processor::Used;

/// The measured durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latency {
    /// From the time a run is due to Muster's greeting.
    Connect,
    /// From READY to QUEUED.
    Queued,
    /// From READY to ASSIGN, including the wait for other players.
    Assign,
    /// From LEAVE to LEFT.
    Left,
    /// From ASSIGN to the game's welcome.
    FirstAnswer,
    /// From the time a ping is due to its answer.
    RoundTrip,
    /// How late this program started due actions.
    Lateness,
}

pub(crate) const LATENCIES: usize = 7;

impl Latency {
    pub(crate) const ALL: [Self; LATENCIES] = [
        Self::Connect,
        Self::Queued,
        Self::Assign,
        Self::Left,
        Self::FirstAnswer,
        Self::RoundTrip,
        Self::Lateness,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Queued => "queued",
            Self::Assign => "assign",
            Self::Left => "left",
            Self::FirstAnswer => "first answer",
            Self::RoundTrip => "round trip",
            Self::Lateness => "own lateness",
        }
    }

    /// The description for the report.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Connect => "from the due time to Muster's greeting",
            Self::Queued => "from READY to QUEUED",
            Self::Assign => "from READY to ASSIGN, including the wait for other players",
            Self::Left => "from LEAVE to LEFT",
            Self::FirstAnswer => "from ASSIGN to the game's welcome over UDP",
            Self::RoundTrip => "from a ping's due time to its answer",
            Self::Lateness => "how late muster-load itself was",
        }
    }
}

/// Statistics of a set of durations, in microseconds; all zero if there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Brief {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// Counted events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Counts {
    /// Runs started, players who received QUEUED, ASSIGN, the game's welcome.
    pub(crate) runs: u64,
    pub(crate) queued: u64,
    pub(crate) assigned: u64,
    pub(crate) entered: u64,
    /// Games that a player left as intended: played to the end, or for the planned time.
    pub(crate) played: u64,
    pub(crate) pings: u64,
    pub(crate) pings_lost: u64,
    pub(crate) errors: u64,
}

/// The state at one time, and the events since the previous sample.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// Players by phase, as in [`Phase::ALL`].
    pub(crate) phases: [u32; PHASES],
    /// All counts so far.
    pub(crate) counts: Counts,
    /// As in [`Latency::ALL`].
    pub(crate) latencies: [Brief; LATENCIES],
    /// The share of one processor that this program and the daemon used since the previous sample.
    pub(crate) own_processor: f64,
    pub(crate) daemon_processor: Option<f64>,
}

/// All measurements of a run.
#[derive(Debug)]
pub(crate) struct Measure {
    whole: [Histogram<u64>; LATENCIES],
    /// Since the last sample.
    recent: [Histogram<u32>; LATENCIES],
    pub(crate) counts: Counts,
    phases: [u32; PHASES],
    errors: BTreeMap<String, u64>,
    expected: BTreeMap<String, u64>,
    runs: BTreeMap<&'static str, u64>,
}

/// The longest duration that is recorded exactly, in microseconds.
const LONGEST_US: u64 = 60 * 60 * 1_000_000;

/// Significant digits: of the whole run, and of a sample.
const DIGITS: u8 = 3;
const DIGITS_RECENT: u8 = 2;

/// The largest number of error kinds: more than exist.
const KINDS_MAX: usize = 100;

impl Measure {
    pub(crate) fn new() -> Self {
        Self {
            whole: std::array::from_fn(|_| histogram(DIGITS)),
            recent: std::array::from_fn(|_| histogram(DIGITS_RECENT)),
            counts: Counts::default(),
            phases: [0; PHASES],
            errors: BTreeMap::new(),
            expected: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Records a duration.
    pub(crate) fn took(&mut self, what: Latency, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.whole[what as usize].saturating_record(micros);
        self.recent[what as usize].saturating_record(micros);
    }

    /// Counts a player's change of phase; `None` is not alive.
    pub(crate) fn phase_changed(&mut self, from: Option<Phase>, to: Option<Phase>) {
        if let Some(from) = from {
            self.phases[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.phases[to as usize] += 1;
        }
    }

    /// Counts an error of a well-behaved player.
    pub(crate) fn error(&mut self, kind: &str) {
        self.counts.errors += 1;
        count(&mut self.errors, kind);
    }

    /// Counts an event that a hostile or faulty player has provoked.
    pub(crate) fn expected(&mut self, kind: &str) {
        count(&mut self.expected, kind);
    }

    pub(crate) fn run_begun(&mut self, scenario: &'static str) {
        self.counts.runs += 1;
        *self.runs.entry(scenario).or_default() += 1;
    }

    pub(crate) fn phases(&self) -> [u32; PHASES] {
        self.phases
    }

    pub(crate) fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    pub(crate) fn expected_errors(&self) -> &BTreeMap<String, u64> {
        &self.expected
    }

    pub(crate) fn runs(&self) -> &BTreeMap<&'static str, u64> {
        &self.runs
    }

    /// Statistics of the whole run.
    pub(crate) fn brief(&self, what: Latency) -> Brief {
        brief_of(&self.whole[what as usize])
    }

    /// The distribution: the upper bounds of growing ranges in microseconds, each with its count.
    pub(crate) fn distribution(&self, what: Latency) -> Vec<(u64, u64)> {
        // Eight steps for each doubling are fine enough for a chart.
        let histogram = &self.whole[what as usize];
        let steps = histogram.iter_log(1, 2.0_f64.powf(0.125));
        let ranges =
            steps.map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
        ranges.filter(|(_, count)| *count > 0).collect()
    }

    /// Statistics since the last call.
    pub(crate) fn take_recent(&mut self) -> [Brief; LATENCIES] {
        let briefs = std::array::from_fn(|index| brief_of(&self.recent[index]));
        self.recent.iter_mut().for_each(Histogram::reset);
        briefs
    }
}

fn count(kinds: &mut BTreeMap<String, u64>, kind: &str) {
    if let Some(count) = kinds.get_mut(kind) {
        *count += 1;
    } else {
        let name = if kinds.len() < KINDS_MAX { kind } else { "others" };
        *kinds.entry(name.to_owned()).or_default() += 1;
    }
}

fn histogram<T: hdrhistogram::Counter>(digits: u8) -> Histogram<T> {
    #[expect(clippy::expect_used, reason = "the bounds are constants, and in order")]
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("bounds in order")
}

fn brief_of<T: hdrhistogram::Counter>(histogram: &Histogram<T>) -> Brief {
    Brief {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

/// The outcome of a run, besides measurements and verdict.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) used: Used,
    pub(crate) length: Duration,
    pub(crate) was_interrupted: bool,
    /// The longest iteration of the loop.
    pub(crate) longest_turn: Duration,
    pub(crate) advice: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn percentiles_have_three_digits_and_recent_ones_are_reset() {
        let mut measure = Measure::new();
        (1..=1000).for_each(|micros| measure.took(Latency::Queued, us(micros)));
        let brief = measure.brief(Latency::Queued);
        assert_eq!((brief.count, brief.p50, brief.p99, brief.max), (1000, 500, 990, 1000));
        assert_eq!(measure.take_recent()[Latency::Queued as usize].count, 1000);
        measure.took(Latency::Queued, us(7));
        let recent = measure.take_recent()[Latency::Queued as usize];
        assert_eq!((recent.count, recent.p50), (1, 7));
        assert_eq!(measure.brief(Latency::Queued).count, 1001);
        assert_eq!(measure.brief(Latency::Assign), Brief::default());
    }

    #[test]
    fn no_duration_is_too_long_or_too_short() {
        let mut measure = Measure::new();
        measure.took(Latency::Assign, Duration::MAX);
        measure.took(Latency::Assign, Duration::ZERO);
        assert_eq!(measure.brief(Latency::Assign).count, 2);
        let counted: u64 = measure.distribution(Latency::Assign).iter().map(|(_, n)| n).sum();
        assert_eq!(counted, 2);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut measure = Measure::new();
        (0..1000).for_each(|kind| measure.error(&format!("kind {kind}")));
        assert_eq!(measure.errors().values().sum::<u64>(), 1000);
        assert!(measure.errors().len() <= KINDS_MAX + 1);
        assert_eq!(measure.counts.errors, 1000);
    }
}
