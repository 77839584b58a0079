//! The report for programs.

use super::Report;

/// The report as JSON, indented for people.
pub(crate) fn json(report: &Report) -> String {
    // It contains only numbers, texts and lists of them, so serializing cannot fail.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
