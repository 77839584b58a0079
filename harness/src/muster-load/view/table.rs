//! A picture that refreshes: the progress, the players' phases, durations, and errors.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format::{count, time};
use crate::measure::{Brief, Latency, Sample};
use crate::phase::Phase;
use crate::players::Players;

/// A progress bar, and the picture below it.
#[derive(Debug)]
pub(crate) struct Table {
    bar: ProgressBar,
    /// The time of the last sample, and the rate of assignments in it.
    seen: (f64, u64),
    rate: f64,
}

impl Table {
    pub(crate) fn new(duration: Duration) -> Self {
        let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(Some(length), target);
        // The template is a constant; an invalid one would be shown as the default bar.
        let style = ProgressStyle::with_template("{bar:40.cyan/blue} {prefix}\n{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, seen: (0.0, 0), rate: 0.0 }
    }

    pub(crate) fn show(
        &mut self,
        now: Duration,
        players: &Players,
        last: Option<&Sample>,
        is_ending: bool,
    ) {
        if let Some(last) = last.filter(|last| last.at > self.seen.0) {
            let (at, assigned) = self.seen;
            self.rate = count(last.counts.assigned - assigned) / (last.at - at);
            self.seen = (last.at, last.counts.assigned);
        }
        self.bar.set_position(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let doing = if is_ending { "players finish" } else { "Ctrl-C ends it" };
        self.bar.set_prefix(format!("{:.0} s, {doing}", now.as_secs_f64()));
        self.bar.set_message(self.picture(players));
    }

    pub(crate) fn warn(&self, text: &str) {
        self.bar.println(format!("muster-load: {text}"));
    }

    pub(crate) fn finish(&self) {
        // The report repeats all of it.
        self.bar.finish_and_clear();
    }

    /// The picture below the bar.
    fn picture(&self, players: &Players) -> String {
        let measure = &players.stage.measure;
        let phases = measure.phases();
        let phases = Phase::ALL.map(|phase| format!("{} {}", phase.name(), phases[phase as usize]));
        let counts = measure.counts;
        let (alive, rate) = (players.pool.alive(), self.rate);
        let mut texts = vec![
            format!("players {alive:>7}   {}", phases.join("  ")),
            format!(
                "assigned {:>6}   {rate:.0}/s   entered {}   pings lost {} of {}",
                counts.assigned, counts.entered, counts.pings_lost, counts.pings
            ),
            format!("{:<14}{:>9}{:>10}{:>10}{:>10}", "", "count", "p50", "p99", "max"),
        ];
        texts.extend(Latency::ALL.map(|what| row(what, measure.brief(what))));
        let mut errors: Vec<_> = measure.errors().iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let errors = errors.iter().map(|(kind, count)| format!("{count} × {kind}"));
        let errors = errors.collect::<Vec<_>>().join(", ");
        let (_, violations) = players.stage.oracle.violations();
        texts.push(match violations {
            0 => format!("errors {:>8}   {errors}", counts.errors),
            count => format!("{count} PROMISE(S) BROKEN   errors {} {errors}", counts.errors),
        });
        texts.join("\n")
    }
}

fn row(what: Latency, brief: Brief) -> String {
    let Brief { count, p50, p99, max, .. } = brief;
    let name = what.name();
    if count == 0 {
        return format!("{name:<14}{count:>9}");
    }
    format!("{name:<14}{count:>9}{:>10}{:>10}{:>10}", time(p50), time(p99), time(max))
}
