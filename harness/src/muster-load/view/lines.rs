//! A line a second, for logs.

use std::io::{Write as _, stderr};
use std::time::Duration;

use crate::format::{count, time};
use crate::measure::{Latency, Sample};
use crate::phase::Phase;
use crate::players::Players;

/// Prints each sample once.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    shown: Option<(f64, u64)>,
}

impl Lines {
    pub(crate) fn show(&mut self, now: Duration, players: &Players, last: Option<&Sample>) {
        let Some(last) = last else { return };
        let (at, assigned) = self.shown.unwrap_or_default();
        if last.at <= at {
            return;
        }
        let rate = count(last.counts.assigned - assigned) / (last.at - at);
        self.shown = Some((last.at, last.counts.assigned));
        let phases = Phase::ALL.map(|phase| (phase.name(), last.phases[phase as usize]));
        let phases: Vec<String> = phases
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        let of = |what: Latency| {
            let brief = last.latencies[what as usize];
            let name = what.name().replace(' ', "_");
            (brief.count > 0).then(|| format!("{name}_p99={}", time(brief.p99).replace(' ', "")))
        };
        let latencies: Vec<String> = Latency::ALL.into_iter().filter_map(of).collect();
        let _ = writeln!(
            stderr(),
            "{:>5.0} s  players={} {} assigned/s={rate:.0} {} errors={}",
            now.as_secs_f64(),
            players.pool.alive(),
            phases.join(" "),
            latencies.join(" "),
            last.counts.errors
        );
    }
}

pub(crate) fn warn(text: &str) {
    let _ = writeln!(stderr(), "muster-load: {text}");
}
