//! Rules of style that no compiler checks: words, imports, sizes, and where limits are defined.
//!
//! Where the code does not follow a rule yet, `ratchet.txt` holds the number of findings for each part of the project.
//! The numbers may only fall: the test fails on more findings, and also on fewer, until the file has the new number.
//! `MUSTER_TIDY=update cargo test -p muster-tests --test tidy` writes the file, unless a rule has more findings in all.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/ratchet.rs"]
mod ratchet;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeMap;

use ratchet::{Counts, Ratchet};
use sources::Source;

/// One place where a rule does not hold.
#[derive(Debug, PartialEq)]
struct Finding {
    /// `path:line`.
    at: String,
    problem: String,
}

impl Finding {
    fn new(source: &Source, line: usize, problem: String) -> Finding {
        Finding { at: format!("{}:{line}", source.path), problem }
    }
}

/// A rule: its name in `ratchet.txt`, and what finds the places where it does not hold.
type Rule = (&'static str, fn(&Source) -> Vec<Finding>);

const RULES: [Rule; 8] = [
    ("words", words::banned),
    ("openings", words::openings),
    ("machine", words::machine_paths),
    ("rows", words::unknown_rows),
    ("imports", imports::forbidden),
    ("unsafe", imports::unsafe_code),
    ("sizes", sizes::too_long),
    ("limits", sizes::limits_elsewhere),
];

#[test]
fn the_project_is_tidy() {
    let sources = sources::all();
    assert!(sources.len() > 200, "only {} sources were found", sources.len());
    let mut ratchet = Ratchet::read();
    let mut complaints = Vec::new();
    for (rule, find) in RULES {
        let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
        for source in &sources {
            let findings = find(source);
            if !findings.is_empty() {
                found.entry(source.part().to_owned()).or_default().extend(findings);
            }
        }
        let counts: Counts =
            found.iter().map(|(part, findings)| (part.clone(), findings.len())).collect();
        if std::env::var("MUSTER_TIDY").as_deref() == Ok("update")
            && ratchet.can_take(rule, &counts)
        {
            ratchet.take(rule, counts);
            continue;
        }
        for complaint in ratchet.compare(rule, &counts) {
            let examples = found.get(&complaint.part).filter(|_| complaint.is_more);
            let shown =
                examples.into_iter().flatten().map(|it| format!("\n    {}: {}", it.at, it.problem));
            complaints.push(format!("{}{}", complaint.text, shown.collect::<String>()));
        }
    }
    if std::env::var("MUSTER_TIDY").as_deref() == Ok("update") {
        ratchet.write();
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
