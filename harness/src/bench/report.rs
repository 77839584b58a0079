//! A run as data: for programs as JSON, for a page as tables.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::failure::{Failure, os};
use crate::machine;
use crate::stats::{Row, Samples};

/// Between these lines of a page the tables are put.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// A run: on what, of what, when, and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    commit: String,
    /// The time of the beginning, RFC 3339.
    date: String,
    load_averages: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    title: String,
    rows: Vec<Line>,
    notes: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    muster: Summary,
    against: &'static str,
    baseline: Summary,
    /// Of the medians; no number where there is nothing to divide by.
    ratio: Option<f64>,
    target: String,
    is_met: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Summary {
    p50: Option<f64>,
    p99: Option<f64>,
    count: usize,
}

impl Summary {
    fn of(samples: &Samples) -> Self {
        let known = |value: f64| value.is_finite().then_some(value);
        let (p50, p99) = (known(samples.median()), known(samples.percentile(99)));
        Self { p50, p99, count: samples.count() }
    }
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self {
            machine: machine::description(),
            commit: process::variable("MUSTER_COMMIT")
                .map_or_else(|| "unknown".into(), |commit| commit.to_string_lossy().into_owned()),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            load_averages: machine::load_averages(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn add_figure(&mut self, title: &str) {
        self.figures.push(Figure { title: title.into(), rows: Vec::new(), notes: Vec::new() });
    }

    pub(crate) fn add_row(&mut self, row: &Row) {
        let (muster, baseline) = (row.muster.median(), row.baseline.median());
        let line = Line {
            what: row.what.clone(),
            muster: Summary::of(&row.muster),
            against: row.against,
            baseline: Summary::of(&row.baseline),
            ratio: Some(muster / baseline).filter(|ratio| ratio.is_finite()),
            target: row.target.to_string(),
            is_met: row.target.is_met(muster, baseline),
        };
        if let Some(figure) = self.figures.last_mut() {
            figure.rows.push(line);
        }
    }

    pub(crate) fn add_note(&mut self, note: &str) {
        if let Some(figure) = self.figures.last_mut() {
            figure.notes.push(note.into());
        }
    }

    /// Writes the run as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_json(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::Os {
            attempt: "write the report as JSON",
            source: error.into(),
        })?;
        fs::write(path, text + "\n").map_err(os("write the report"))
    }

    /// Puts the run's tables into a page, in the place of those of an earlier run.
    ///
    /// # Errors
    /// When the page cannot be read or written, or has no such place.
    pub(crate) fn write_into(&self, page: &Path) -> Result<(), Failure> {
        let text = fs::read_to_string(page).map_err(os("read the page"))?;
        let place = text.find(BEGIN).zip(text.find(END)).filter(|(begin, end)| begin < end);
        let (begin, end) = place.ok_or_else(|| Failure::NoPlace(page.to_owned()))?;
        let (before, after) = (&text[..begin + BEGIN.len()], &text[end..]);
        let text = format!("{before}\n{}{after}", self.to_markdown());
        fs::write(page, text).map_err(os("write the page"))
    }

    fn to_markdown(&self) -> String {
        let Self { machine, commit, date, load_averages, figures } = self;
        let mut page = format!(
            "Measured on {machine}; commit {commit}, {date}; load averages before: {load_averages}.\n"
        );
        for Figure { title, rows, notes } in figures {
            // Writing to a String cannot fail.
            let _ = write!(page, "\n### {title}\n\n");
            page.push_str("| | Muster p50 | p99 | against | p50 | p99 | ratio | target | met |\n");
            page.push_str("| --- | ---: | ---: | --- | ---: | ---: | ---: | --- | --- |\n");
            for row in rows {
                page.push_str(&row.to_markdown());
            }
            for note in notes {
                let _ = write!(page, "\n{note}\n");
            }
        }
        page
    }
}

impl Line {
    fn to_markdown(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        let ratio = self.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let met = self.is_met.map_or("", |is_met| if is_met { "yes" } else { "no" });
        format!(
            "| {} | {} | {} | {} | {} | {} | {ratio} | {} | {met} |\n",
            self.what,
            number(self.muster.p50),
            number(self.muster.p99),
            self.against,
            number(self.baseline.p50),
            number(self.baseline.p99),
            self.target,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Target;

    fn report() -> Report {
        let mut report = Report::begin();
        report.add_figure("Figure");
        report.add_row(&Row {
            what: "row".into(),
            muster: [3.0].into_iter().collect(),
            against: "bare",
            baseline: [2.0].into_iter().collect(),
            target: Target::RatioAtMost(1.0),
        });
        report.add_note("a note");
        report
    }

    #[test]
    fn the_tables_take_the_place_of_those_before() {
        let page = tempfile::NamedTempFile::new().unwrap();
        fs::write(page.path(), format!("above\n{BEGIN}\nold\n{END}\nbelow\n")).unwrap();
        report().write_into(page.path()).unwrap();
        let text = fs::read_to_string(page.path()).unwrap();
        assert!(text.starts_with("above\n") && text.ends_with("below\n"), "{text}");
        assert!(!text.contains("old") && text.contains("a note"), "{text}");
        assert!(text.contains("| row | 3.0 | 3.0 | bare | 2.0 | 2.0 | 1.50 | <= 1.00 | no |"));
        // And again.
        report().write_into(page.path()).unwrap();
        assert_eq!(fs::read_to_string(page.path()).unwrap().matches("| row |").count(), 1);
    }

    #[test]
    fn a_page_without_a_place_for_it_is_left_alone() {
        let page = tempfile::NamedTempFile::new().unwrap();
        fs::write(page.path(), "nothing").unwrap();
        assert!(matches!(report().write_into(page.path()), Err(Failure::NoPlace(_))));
        assert_eq!(fs::read_to_string(page.path()).unwrap(), "nothing");
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let mut report = report();
        report.add_row(&Row {
            what: "nothing".into(),
            muster: Samples::default(),
            against: "bare",
            baseline: Samples::default(),
            target: Target::Shown,
        });
        let json: serde_json::Value = serde_json::to_value(&report).unwrap();
        let row = &json["figures"][0]["rows"][1];
        assert!(row["muster"]["p50"].is_null() && row["ratio"].is_null());
    }
}
