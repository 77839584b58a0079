//! The report as a page: one file, with everything that it needs, which any browser shows without a network.

use super::Report;

/// The page; the report takes the place of [`DATA`] in it, and the page's own script draws it.
const PAGE: &str = include_str!("page.html");
const DATA: &str = "/*REPORT*/null";

/// The page of a report.
pub(crate) fn page(report: &Report) -> String {
    let json = serde_json::to_string(report).unwrap_or_default();
    // Inside of a script nothing but `<` can end it: texts of others are in there.
    PAGE.replacen(DATA, &json.replace('<', "\\u003c"), 1)
}
