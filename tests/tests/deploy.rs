//! The alerts and the dashboard, compared with a running daemon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::{Muster, SOON, Setup, wait_until};

const RULES: &str = include_str!("../../deploy/prometheus/muster.rules.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/muster.json");

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let is_metric = |word: &&str| word.starts_with("muster_") || word.starts_with("process_");
    words.filter(is_metric).collect()
}

/// A daemon that has played a match.
fn played() -> Muster {
    let muster = Setup::default().metrics().puppet("duel", &[], "players = 2\nwarm = 1").start();
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("duel", name));
    let port = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap().port)[0];
    muster.order(port, "exit 0");
    let duel = [("mode", "duel")];
    wait_until("a match in the figures", || {
        muster.scrape().sum("muster_matches_ended_total", &duel) == 1.0
    });
    muster
}

#[test]
fn every_metric_of_the_alerts_and_the_dashboard_exists() {
    let muster = played();
    let scrape = muster.scrape();
    let there = scrape.names();
    for (file, text) in [("the rules", RULES), ("the dashboard", DASHBOARD)] {
        let named = named(text);
        assert!(named.len() > 10, "{named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} name what there is not: {missing:?}");
    }
}

#[test]
fn every_alert_describes_a_remedy() {
    let count =
        |what: &str| RULES.lines().filter(|line| line.trim_start().starts_with(what)).count();
    let alerts = count("- alert:");
    assert!(alerts > 10);
    for what in ["summary:", "description:", "action:", "labels: {severity: "] {
        assert_eq!(count(what), alerts, "{what}");
    }
}

/// Panels do not lie on each other, and each says what it shows.
#[test]
fn the_dashboard_is_valid() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{panel}");
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel}");
            }
        }
        assert!(!panel["title"].as_str().unwrap().is_empty());
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
            let targets = panel["targets"].as_array().unwrap();
            assert!(targets.iter().all(|it| it["expr"].is_string()) && !targets.is_empty());
        }
    }
    let ids: BTreeSet<u64> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn promtool_accepts_the_alerts_and_they_fire_as_expected() {
    let rules = deploy().join("prometheus/muster.rules.yml");
    let tests = deploy().join("prometheus/muster.test.yml");
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let found = Command::new(&promtool).arg("--version").stderr(Stdio::null()).output();
    if found.is_err() {
        eprintln!("skipped: promtool is not here; Debian's package prometheus has it");
        return;
    }
    for (words, file) in [(["check", "rules"], rules), (["test", "rules"], tests)] {
        let output = Command::new(&promtool).args(words).arg(&file).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}
