//! The report for people.

use std::fmt::{self, Write as _};

use protocol::Visible;

use super::Report;
use crate::format::{count, time};
use crate::measure::Brief;

/// The report as text.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    write_head(out, report)?;
    write_latencies(out, report)?;
    if report.was_late {
        writeln!(out, "\n{WAS_LATE}")?;
    }
    let pings = report.counts.pings;
    let lost = report.counts.pings_lost;
    writeln!(out, "\npings      {pings}, {lost} lost ({:.3}%)", percent(lost, pings))?;
    write_processor(out, report)?;
    write_kinds(out, "errors", &report.errors)?;
    write_kinds(out, "expected", &report.expected_errors)?;
    for advice in &report.advice {
        writeln!(out, "limit      {advice}")?;
    }
    write_verdict(out, report)
}

/// The note that must precede all figures.
const WAS_LATE: &str = "note       muster-load itself was late, as the last row shows: the machine has too much to do, and\n           \
     the times above show that, and not Muster alone. Use fewer players, or another machine for them.";

fn write_head(out: &mut String, report: &Report) -> fmt::Result {
    let Report { address, scenario, seed, players, born, length_s, counts, rates, .. } = report;
    let queues = report.queues.join(",");
    let early = if report.was_interrupted { ", interrupted" } else { "" };
    writeln!(out, "muster     {} queue {}", Visible(address), Visible(&queues))?;
    let about = Visible(&report.about);
    writeln!(out, "scenario   {} ({about}), seed {seed}", Visible(scenario))?;
    writeln!(out, "players    {players}, {born} in all, {length_s:.1} s{early}")?;
    let runs = report.runs.iter().map(|(name, count)| format!("{count} {name}"));
    let runs = runs.collect::<Vec<_>>().join(", ");
    writeln!(out, "runs       {} ({:.0}/s): {runs}", counts.runs, rates.runs)?;
    writeln!(
        out,
        "assigned   {} ({:.0}/s, at most {:.0}/s), {} entered their games, {} played to the end\n",
        counts.assigned, rates.assigned, rates.assigned_peak, counts.entered, counts.played
    )
}

fn write_latencies(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "{:<14}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for latency in &report.latencies {
        let Brief { count, p50, p90, p99, p999, max } = latency.brief_us;
        if count == 0 {
            continue;
        }
        write!(out, "{:<14}{count:>9}", latency.name)?;
        for micros in [p50, p90, p99, p999, max] {
            write!(out, "{:>10}", time(micros))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_processor(out: &mut String, report: &Report) -> fmt::Result {
    let processor = &report.processor;
    let line = |seconds: f64, per_assigned: Option<f64>| {
        let part = 100.0 * seconds / report.length_s;
        let each = per_assigned.map(|micros| format!(", {micros:.0} µs per assigned player"));
        format!("{seconds:.2} s ({part:.0}% of one){}", each.unwrap_or_default())
    };
    let own = line(processor.own_s, processor.own_us_per_assigned);
    let longest = time(processor.longest_turn_us);
    writeln!(out, "processor  muster-load {own}; longest iteration {longest}")?;
    match (processor.daemon_pid, processor.daemon_s) {
        (Some(pid), Some(seconds)) => {
            let daemon = line(seconds, processor.daemon_us_per_assigned);
            writeln!(out, "           muster {daemon} (process {pid})")?;
        }
        (Some(pid), None) => writeln!(out, "           muster: process {pid} is gone")?,
        (None, _) => {
            writeln!(
                out,
                "           muster: unknown, as its process was not found on this host; use --daemon-pid"
            )?;
        }
    }
    if let Some(seconds) = processor.children_s {
        writeln!(out, "           its launcher and the games that ended {}", line(seconds, None))?;
    }
    Ok(())
}

fn write_kinds(
    out: &mut String,
    title: &str,
    kinds: &std::collections::BTreeMap<String, u64>,
) -> fmt::Result {
    let mut kinds: Vec<_> = kinds.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (index, (kind, count)) in kinds.into_iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        writeln!(out, "{title:<11}{count} × {}", Visible(kind))?;
    }
    Ok(())
}

fn write_verdict(out: &mut String, report: &Report) -> fmt::Result {
    let verdict = &report.verdict;
    let endings = verdict.endings;
    let parts = [
        ("assigned", endings.assigned),
        ("left", endings.left),
        ("refused", endings.refused),
        ("evicted", endings.evicted),
        ("left by themselves", endings.gone),
        ("still queued", endings.still_queued),
        ("LOST", endings.lost),
    ];
    let parts = parts.into_iter().filter(|(_, count)| *count > 0);
    let parts = parts.map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ");
    if verdict.queued == 0 {
        writeln!(out, "\noracle     no player received QUEUED, so little could be checked")?;
    } else {
        writeln!(out, "\noracle     {} received QUEUED: {parts}", verdict.queued)?;
    }
    if verdict.resumed > 0 {
        writeln!(out, "           {} resumed their session", verdict.resumed)?;
    }
    if verdict.unordered > 0 {
        let unordered = verdict.unordered;
        writeln!(out, "           {unordered} matches have no number, so their order is unknown")?;
    }
    if verdict.is_clean {
        return writeln!(
            out,
            "           no player was lost, matched twice, overtaken or forgotten"
        );
    }
    let count = verdict.violation_count;
    writeln!(out, "           {count} PROMISE(S) BROKEN")?;
    for violation in &verdict.violations {
        let evidence = Visible(&violation.evidence);
        writeln!(out, "  {:>9.3} s  {}: {evidence}", violation.at, violation.promise)?;
    }
    let shown = u64::try_from(verdict.violations.len()).unwrap_or(u64::MAX);
    if shown < count {
        writeln!(out, "  and {} more", count - shown)?;
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * count(part) / count(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_text_has_the_verdict_and_escapes_untrusted_text() {
        let mut report = report();
        let shown = text(&report);
        assert!(shown.contains("no player was lost") && shown.contains("2 × refused"), "{shown}");
        assert!(shown.contains("1.00 ms"), "{shown}");
        report.verdict.is_clean = false;
        report.verdict.violation_count = 60;
        report.verdict.violations.push(crate::oracle::Violation {
            at: 1.5,
            promise: "one match",
            evidence: "p1 \u{1b}[2J".to_owned(),
        });
        let shown = text(&report);
        assert!(shown.contains("60 PROMISE(S) BROKEN") && shown.contains("and 59 more"), "{shown}");
        assert!(shown.contains("p1 \\u{1b}[2J"), "{shown}");
    }
}
