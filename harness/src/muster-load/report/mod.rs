//! The result of a run as one value; shown as text, as JSON and as a page.

mod html;
mod json;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::count;
use crate::measure::{Brief, Counts, Latency, Measure, Outcome, Sample};
use crate::oracle::{Endings, Oracle, Violation};
use crate::phase::Phase;
use crate::processor::Used;

pub(crate) use html::page;
pub(crate) use json::json;
pub(crate) use text::text;

/// Everything that a report tells. Times are in the unit that their names end with.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) address: String,
    pub(crate) queues: Vec<String>,
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) players: u32,
    /// Players who were created, including replacements.
    pub(crate) born: u32,
    pub(crate) length_s: f64,
    pub(crate) was_interrupted: bool,
    pub(crate) verdict: Verdict,
    pub(crate) counts: Counts,
    pub(crate) runs: BTreeMap<&'static str, u64>,
    pub(crate) rates: Rates,
    pub(crate) latencies: Vec<LatencyReport>,
    /// This program was so late that the latencies show it, or the machine, as much as Muster.
    pub(crate) was_late: bool,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Errors that hostile and faulty players received, correctly.
    pub(crate) expected_errors: BTreeMap<String, u64>,
    pub(crate) processor: ProcessorReport,
    pub(crate) phases: [&'static str; crate::phase::PHASES],
    pub(crate) samples: Vec<Sample>,
    pub(crate) advice: Vec<&'static str>,
}

/// The verdict of the oracle.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) is_clean: bool,
    /// Players who received QUEUED, and how they ended.
    pub(crate) queued: u64,
    pub(crate) endings: Endings,
    /// Players who resumed the session after a lost connection.
    pub(crate) resumed: u64,
    /// Assignments whose match has no number, so that nothing is known of its order.
    pub(crate) unordered: u64,
    pub(crate) violation_count: u64,
    pub(crate) violations: Vec<Violation>,
}

/// Per second of the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Rates {
    pub(crate) runs: f64,
    pub(crate) assigned: f64,
    pub(crate) pings: f64,
    /// The most in one sample.
    pub(crate) assigned_peak: f64,
}

/// How long one kind of thing took.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyReport {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) brief_us: Brief,
    /// Upper ends of ranges in microseconds, each with its count.
    pub(crate) distribution_us: Vec<(u64, u64)>,
}

/// Processor time by process.
#[derive(Debug, Serialize)]
pub(crate) struct ProcessorReport {
    pub(crate) own_s: f64,
    pub(crate) daemon_pid: Option<i32>,
    pub(crate) daemon_s: Option<f64>,
    /// The launcher, and the games that ended.
    pub(crate) children_s: Option<f64>,
    /// In microseconds for each player that was assigned.
    pub(crate) own_us_per_assigned: Option<f64>,
    pub(crate) daemon_us_per_assigned: Option<f64>,
    /// How long this program was busy at most before it looked at its sockets again.
    pub(crate) longest_turn_us: u64,
}

/// The known facts before a run.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) address: String,
    pub(crate) queues: Vec<String>,
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) players: u32,
    pub(crate) daemon_pid: Option<i32>,
}

impl Report {
    pub(crate) fn new(
        setting: Setting,
        born: u32,
        measure: &Measure,
        oracle: &Oracle,
        outcome: Outcome,
    ) -> Self {
        let Setting { address, queues, scenario, about, seed, players, daemon_pid } = setting;
        let length_s = outcome.length.as_secs_f64();
        let counts = measure.counts;
        let latencies = Latency::ALL.map(|what| LatencyReport {
            name: what.name(),
            meaning: what.meaning(),
            brief_us: measure.brief(what),
            distribution_us: measure.distribution(what),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            address,
            queues,
            scenario,
            about,
            seed,
            players,
            born,
            length_s,
            was_interrupted: outcome.was_interrupted,
            verdict: Verdict::of(oracle),
            counts,
            runs: measure.runs().clone(),
            rates: Rates {
                runs: count(counts.runs) / length_s,
                assigned: count(counts.assigned) / length_s,
                pings: count(counts.pings) / length_s,
                assigned_peak: peak(&outcome.samples),
            },
            latencies: latencies.into(),
            was_late: was_late(measure),
            errors: measure.errors().clone(),
            expected_errors: measure.expected_errors().clone(),
            processor: ProcessorReport::of(&outcome, daemon_pid, counts.assigned),
            phases: Phase::ALL.map(Phase::name),
            samples: outcome.samples,
            advice: outcome.advice,
        }
    }
}

impl Verdict {
    fn of(oracle: &Oracle) -> Self {
        let (violations, violation_count) = oracle.violations();
        Self {
            is_clean: violation_count == 0,
            queued: oracle.queued(),
            endings: oracle.endings(),
            resumed: oracle.resumed(),
            unordered: oracle.unordered(),
            violation_count,
            violations: violations.to_vec(),
        }
    }
}

impl ProcessorReport {
    fn of(outcome: &Outcome, daemon_pid: Option<i32>, assigned: u64) -> Self {
        let Used { own, daemon, children } = outcome.used;
        let (own_s, daemon_s) = (own.as_secs_f64(), daemon.map(|used| used.as_secs_f64()));
        let per_assigned = |seconds: f64| (assigned > 0).then(|| seconds * 1e6 / count(assigned));
        Self {
            own_s,
            daemon_pid,
            daemon_s,
            children_s: children.map(|used| used.as_secs_f64()),
            own_us_per_assigned: per_assigned(own_s),
            daemon_us_per_assigned: daemon_s.and_then(per_assigned),
            longest_turn_us: u64::try_from(outcome.longest_turn.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether this program's own lateness is a good part of what it has measured from when things were due.
fn was_late(measure: &Measure) -> bool {
    const PART: u64 = 4;
    const LATE_US: u64 = 1000;
    let p99 = |what| measure.brief(what).p99;
    let measured = p99(Latency::Connect).max(p99(Latency::RoundTrip));
    let late = p99(Latency::Lateness);
    late > LATE_US && late > measured / PART
}

/// The most players that were assigned per second between two samples.
fn peak(samples: &[Sample]) -> f64 {
    let mut peak = 0.0_f64;
    let (mut at, mut assigned) = (0.0, 0);
    for sample in samples {
        // A last sample after a moment says little.
        if sample.at - at > 0.5 {
            peak = peak.max(count(sample.counts.assigned - assigned) / (sample.at - at));
        }
        (at, assigned) = (sample.at, sample.counts.assigned);
    }
    peak
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The report of a run in which little happened.
    pub(super) fn report() -> Report {
        let mut measure = Measure::new();
        measure.took(Latency::Assign, Duration::from_millis(1));
        measure.counts.assigned = 4;
        (0..2).for_each(|_| measure.error("refused"));
        let sample = |at, assigned| Sample {
            at,
            phases: measure.phases(),
            counts: Counts { assigned, ..Counts::default() },
            latencies: [Brief::default(); crate::measure::LATENCIES],
            own_processor: 0.5,
            daemon_processor: None,
        };
        let outcome = Outcome {
            samples: vec![sample(1.0, 1), sample(2.0, 4), sample(2.1, 10)],
            used: Used { own: Duration::from_millis(8), daemon: None, children: None },
            length: Duration::from_secs(2),
            was_interrupted: false,
            longest_turn: Duration::from_millis(3),
            advice: Vec::new(),
        };
        let setting = Setting {
            address: "127.0.0.1:7000".to_owned(),
            queues: vec!["duel".to_owned()],
            scenario: "evening".to_owned(),
            about: "an evening".to_owned(),
            seed: 1,
            players: 10,
            daemon_pid: None,
        };
        Report::new(setting, 11, &measure, &Oracle::new(Duration::from_secs(1)), outcome)
    }

    #[test]
    fn a_late_load_generator_is_distinguished_from_a_slow_server() {
        for (late_ms, round_trip_ms, is_late) in [(20, 40, true), (20, 100, false), (1, 1, false)] {
            let mut measure = Measure::new();
            measure.took(Latency::Lateness, Duration::from_millis(late_ms));
            measure.took(Latency::RoundTrip, Duration::from_millis(round_trip_ms));
            assert_eq!(was_late(&measure), is_late, "{late_ms} ms of {round_trip_ms} ms");
        }
    }

    #[test]
    fn rates_and_costs_are_per_second_and_per_player() {
        let report = report();
        let (assigned, peak) = (report.rates.assigned, report.rates.assigned_peak);
        assert!((assigned - 2.0).abs() < 1e-9 && (peak - 3.0).abs() < 1e-9, "{assigned} {peak}");
        assert_eq!(report.processor.own_us_per_assigned, Some(2000.0));
        assert_eq!(report.processor.daemon_us_per_assigned, None);
    }
}
