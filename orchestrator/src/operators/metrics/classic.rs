//! The same metrics in Prometheus' text format 0.0.4, for scrapers without OpenMetrics.
//!
//! The samples are the same; the lines around them differ. The older format names a family by its samples' whole name,
//! and has no info families, no units, and no end marker. See
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;

/// The content type of a scrape.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Converts a page of OpenMetrics text.
pub(crate) fn of(openmetrics: &str) -> String {
    let kinds: BTreeMap<&str, &str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut page = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(family), Some(rest)) => {
                let kind = kinds.get(family).copied().unwrap_or("unknown");
                let (suffix, kind) = named(kind);
                let rest = if what == "TYPE" { kind } else { rest };
                page.push_str(&format!("# {what} {family}{suffix} {rest}\n"));
            }
            // Units, and the end marker.
            (Some("#"), ..) => {}
            _ => {
                page.push_str(line);
                page.push('\n');
            }
        }
    }
    page
}

/// The suffix that OpenMetrics adds to samples of this type, and the type's name in the older format.
fn named(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "gauge" | "stateset" => ("", "gauge"),
        "histogram" => ("", "histogram"),
        "summary" => ("", "summary"),
        _ => ("", "untyped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parts_are_dropped_or_renamed() {
        let page = "# HELP a_seconds How long.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{mode=\"x\"} 1.5\n# HELP b The build that runs.\n# TYPE b info\n\
                    b_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c histogram\nc_bucket{le=\"+Inf\"} 0\n\
                    c_sum 0.0\nc_count 0\n# EOF\n";
        let expected = "# HELP a_seconds_total How long.\n# TYPE a_seconds_total counter\n\
                        a_seconds_total{mode=\"x\"} 1.5\n# HELP b_info The build that runs.\n\
                        # TYPE b_info gauge\nb_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c histogram\n\
                        c_bucket{le=\"+Inf\"} 0\nc_sum 0.0\nc_count 0\n";
        assert_eq!(of(page), expected);
    }
}
