//! `ratchet.txt`: for each rule and part of the project, how many findings are left.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::sources;

/// Findings of one rule, by part of the project. A part without findings is not in here.
pub(crate) type Counts = BTreeMap<String, usize>;

/// The allowed findings, by rule.
pub(crate) struct Ratchet(BTreeMap<String, Counts>);

/// A count that is not the allowed one.
#[derive(Debug, PartialEq)]
pub(crate) struct Complaint {
    pub(crate) part: String,
    pub(crate) is_more: bool,
    pub(crate) text: String,
}

const HEAD: &str = "# rule, part of the project, findings that are left; see tidy.rs\n";

impl Ratchet {
    pub(crate) fn read() -> Ratchet {
        Ratchet::parse(&fs::read_to_string(path()).unwrap())
    }

    pub(crate) fn write(&self) {
        fs::write(path(), self.to_text()).unwrap();
    }

    fn parse(text: &str) -> Ratchet {
        let mut rules: BTreeMap<String, Counts> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [rule, part, count] = fields[..] else {
                panic!("ratchet.txt: {line:?} has not three fields")
            };
            rules
                .entry(rule.to_owned())
                .or_default()
                .insert(part.to_owned(), count.parse().unwrap());
        }
        Ratchet(rules)
    }

    fn to_text(&self) -> String {
        let lines =
            self.0.iter().flat_map(|(rule, counts)| counts.iter().map(move |it| (rule, it)));
        HEAD.to_owned()
            + &lines
                .map(|(rule, (part, count))| format!("{rule} {part} {count}\n"))
                .collect::<String>()
    }

    /// Whether the counts may replace the rule's: the code may have moved between parts, but nothing may be added.
    pub(crate) fn can_take(&self, rule: &str, counts: &Counts) -> bool {
        counts.values().sum::<usize>() <= self.0.get(rule).map_or(0, |it| it.values().sum())
    }

    pub(crate) fn take(&mut self, rule: &str, counts: Counts) {
        self.0.insert(rule.to_owned(), counts);
    }

    pub(crate) fn compare(&self, rule: &str, counts: &Counts) -> Vec<Complaint> {
        let none = Counts::new();
        let allowed = self.0.get(rule).unwrap_or(&none);
        let parts: std::collections::BTreeSet<&String> =
            counts.keys().chain(allowed.keys()).collect();
        let count_in = |counts: &Counts, part: &str| counts.get(part).copied().unwrap_or(0);
        let mut complaints = Vec::new();
        for part in parts {
            let (is, may_be) = (count_in(counts, part), count_in(allowed, part));
            let text = match is.cmp(&may_be) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => {
                    format!("{rule}: {part} has {is} findings, {may_be} are allowed:")
                }
                std::cmp::Ordering::Less => format!(
                    "{rule}: {part} has {is} findings only; write `{rule} {part} {is}` in ratchet.txt \
                     (it says {may_be})"
                ),
            };
            complaints.push(Complaint { part: part.clone(), is_more: is > may_be, text });
        }
        complaints
    }
}

fn path() -> PathBuf {
    sources::root().join("tests/tests/tidy/ratchet.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, usize)]) -> Counts {
        of.iter().map(|(part, count)| ((*part).to_owned(), *count)).collect()
    }

    #[test]
    fn more_findings_and_fewer_findings_are_both_complained_of() {
        let ratchet =
            Ratchet::parse("# a comment\nwords client 3\nwords protocol 2\nlimits client 1\n");
        assert_eq!(ratchet.compare("words", &counts(&[("client", 3), ("protocol", 2)])), []);
        let more = ratchet.compare("words", &counts(&[("client", 4), ("protocol", 2)]));
        assert!(more.len() == 1 && more[0].is_more && more[0].part == "client", "{more:?}");
        let fewer = ratchet.compare("words", &counts(&[("client", 3)]));
        assert!(fewer.len() == 1 && !fewer[0].is_more, "{fewer:?}");
        assert!(fewer[0].text.contains("`words protocol 0`"), "{fewer:?}");
        let unknown = ratchet.compare("imports", &counts(&[("protocol", 1)]));
        assert!(unknown.len() == 1 && unknown[0].is_more, "{unknown:?}");
    }

    #[test]
    fn an_update_moves_findings_between_parts_and_never_adds_any() {
        let mut ratchet = Ratchet::parse("words client 3\n");
        assert!(ratchet.can_take("words", &counts(&[("client", 1), ("testkit", 2)])));
        assert!(!ratchet.can_take("words", &counts(&[("client", 4)])));
        assert!(!ratchet.can_take("limits", &counts(&[("client", 1)])));
        ratchet.take("words", counts(&[("testkit", 2)]));
        assert_eq!(ratchet.to_text(), format!("{HEAD}words testkit 2\n"));
    }
}
