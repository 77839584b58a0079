//! The report for programs.

use super::Report;

/// The report as JSON, on lines of its own, for people who look at it all the same.
pub(crate) fn json(report: &Report) -> String {
    // It holds numbers, texts and lists of them only, so that nothing can go wrong.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
