//! The benchmark measures what it says, with so little of everything that its numbers mean nothing.

use std::fs;
use std::process::Command;

use serde_json::Value;
use testkit::benchmark;

#[test]
fn every_figure_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let (json, page) = (directory.path().join("run.json"), directory.path().join("page.md"));
    fs::write(&page, "<!-- figures: begin -->\n<!-- figures: end -->\n").unwrap();
    let mut bench = Command::new(benchmark());
    let run = bench.arg("--smoke").arg("--json").arg(&json).arg("--page").arg(&page);
    let output = run.output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let run: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let figures = run["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 14, "{table}");
    let page = fs::read_to_string(&page).unwrap();
    for figure in figures {
        let (title, rows) = (figure["title"].as_str().unwrap(), figure["rows"].as_array().unwrap());
        assert!(!rows.is_empty(), "no row of {title}\n{table}");
        assert!(page.contains(title), "{title} is not on the page");
        for row in rows {
            let counts = [&row["muster"]["count"], &row["baseline"]["count"]];
            assert!(counts.iter().all(|count| count.as_u64() > Some(0)), "{row}\n{table}");
        }
    }
}

#[test]
fn an_unknown_figure_is_an_error_that_lists_the_figures() {
    let output = Command::new(benchmark()).args(["--only", "speed"]).output().unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{reported}");
    assert!(reported.contains("speed") && reported.contains("matched"), "{reported}");
}
