//! A strict parser of metrics: OpenMetrics and the Prometheus text format.

use std::collections::{BTreeMap, BTreeSet};

/// All samples of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// By family, without the suffixes of its samples.
    families: BTreeMap<String, String>,
    samples: BTreeMap<Sample, f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Scrape {
    /// The `Accept` header of a request for OpenMetrics, as Prometheus sends it.
    pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                              text/plain;version=0.0.4;q=0.3,*/*;q=0.1";

    /// Parses a page in OpenMetrics 1.0.
    ///
    /// # Panics
    /// When the page violates the standard.
    pub fn of(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the end is marked");
        Self::parse(body, &[("counter", &["_total"]), ("info", &["_info"])])
    }

    /// Parses a page in the Prometheus text format 0.0.4, more strictly than Prometheus does: every sample belongs to
    /// the family before it, and each family has a type that the format knows.
    ///
    /// # Panics
    /// When the page violates the format.
    pub fn of_classic(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let scrape = Self::parse(text, &[("counter", &[""])]);
        for (family, kind) in &scrape.families {
            assert!(kind != "counter" || family.ends_with("_total"), "{family}");
        }
        scrape
    }

    /// Parses lines. `own` are the suffixes of samples by the types that a format has of its own.
    fn parse(text: &str, own: &[(&str, &'static [&'static str])]) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                scrape.read_comment(line, comment, &mut family);
                continue;
            }
            let (sample, value) = sample(line);
            let suffix = sample.name.strip_prefix(&family);
            let suffix = suffix.unwrap_or_else(|| panic!("{line:?} is below {family}"));
            let suffixes = match scrape.families[&family].as_str() {
                "gauge" => &[""],
                "histogram" => &["_bucket", "_count", "_sum"][..],
                kind => {
                    let suffixes = own.iter().find(|(own, _)| *own == kind);
                    suffixes.unwrap_or_else(|| panic!("{family} is a {kind}")).1
                }
            };
            assert!(suffixes.contains(&suffix) && value.is_finite(), "{line:?}");
            assert!(suffix.is_empty() || value >= 0.0, "{line:?}");
            let before = scrape.samples.insert(sample, value);
            assert_eq!(before, None, "{line:?} is there twice");
        }
        scrape.check_histograms();
        scrape
    }

    fn read_comment(&mut self, line: &str, comment: &str, family: &mut String) {
        let mut words = comment.splitn(3, ' ');
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        let rest = words.next().unwrap_or_default();
        match kind {
            "HELP" => assert!(!rest.is_empty(), "{line:?}"),
            "TYPE" => {
                name.clone_into(family);
                let before = self.families.insert(name.to_owned(), rest.to_owned());
                assert_eq!(before, None, "{name} is there twice");
            }
            "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line:?}"),
            _ => panic!("{line:?}"),
        }
    }

    /// Asserts that buckets do not fall, and that the last one counts all.
    fn check_histograms(&self) {
        let histograms = self.families.iter().filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let counts = self.samples.iter().filter(|(it, _)| it.name == format!("{name}_count"));
            for (count, total) in counts {
                let of_it = |(it, value): (&Sample, &f64)| {
                    let mut labels = it.labels.clone();
                    let bound = labels.remove("le")?;
                    (it.name == format!("{name}_bucket") && labels == count.labels)
                        .then(|| (bound.replace("+Inf", "inf").parse::<f64>().unwrap(), *value))
                };
                let mut buckets: Vec<(f64, f64)> = self.samples.iter().filter_map(of_it).collect();
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *total)), "{name}");
            }
        }
    }

    /// The names of all families, with their types.
    pub fn families(&self) -> BTreeMap<&str, &str> {
        self.families.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect()
    }

    /// The names of all samples.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|it| it.name.as_str()).collect()
    }

    /// The sum of all samples of a name that have these labels.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |it: &Sample| {
            let mut labels = labels.iter();
            it.name == name
                && labels.all(|(key, value)| it.labels.get(*key).is_some_and(|it| it == value))
        };
        let found: Vec<f64> =
            self.samples.iter().filter(|(it, _)| has(it)).map(|(_, value)| *value).collect();
        assert!(!found.is_empty(), "no {name} with {labels:?}");
        found.iter().sum()
    }
}

/// `name{key="value",…} 1.5`
fn sample(line: &str) -> (Sample, f64) {
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
    let Some((name, labels)) = head.split_once('{') else {
        assert!(is_name(head), "{line:?}");
        return (Sample { name: head.to_owned(), labels: BTreeMap::new() }, value);
    };
    assert!(is_name(name), "{line:?}");
    let mut rest = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}"));
    let mut labels = BTreeMap::new();
    while let Some((key, quoted)) = rest.split_once("=\"") {
        assert!(is_name(key), "{line:?}");
        let end = quoted.find('"').unwrap_or_else(|| panic!("{line:?}"));
        labels.insert(key.to_owned(), quoted[..end].to_owned());
        rest = quoted[end + 1..].strip_prefix(',').unwrap_or(&quoted[end + 1..]);
    }
    assert!(rest.is_empty() && !labels.is_empty(), "{line:?}");
    (Sample { name: name.to_owned(), labels }, value)
}

fn is_name(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !word.is_empty() && word.bytes().all(fits) && !word.as_bytes()[0].is_ascii_digit()
}
