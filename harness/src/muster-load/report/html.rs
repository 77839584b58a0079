//! The report as a page: one self-contained file for any browser, without a network.

use super::Report;

/// The page; the report replaces [`DATA`] in it, and the page's script draws it.
const PAGE: &str = include_str!("page.html");
const DATA: &str = "/*REPORT*/null";

/// The page of a report.
pub(crate) fn page(report: &Report) -> String {
    let json = serde_json::to_string(report).unwrap_or_default();
    // Only `<` can end a script: the report contains untrusted texts.
    PAGE.replacen(DATA, &json.replace('<', "\\u003c"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_report_is_in_the_page_and_can_not_break_out_of_it() {
        assert_eq!(PAGE.matches(DATA).count(), 1);
        let mut report = report();
        report.errors.insert("</script><script>alert(1)</script>".to_owned(), 1);
        let page = page(&report);
        assert!(!page.contains(DATA) && !page.contains("alert(1)</script>"));
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        let begins = page.find("const report = ").unwrap() + "const report = ".len();
        let json = page[begins..].lines().next().unwrap().trim_end_matches(';');
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read["errors"]["</script><script>alert(1)</script>"], 1);
    }
}
