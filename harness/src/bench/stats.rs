//! Samples, and the rows of the table: what Muster does, what the baseline does, and the ratio of their medians.

use std::fmt;

/// Values of one kind, as they were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that `percent` of all values do not exceed; not a number when there are none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The target of a row. Missing it fails nothing, because it depends on the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Muster's median is at most this multiple of the baseline's.
    RatioAtMost(f64),
    /// Muster's median is at least this multiple of the baseline's.
    RatioAtLeast(f64),
    /// Muster's median is at most so much more than the baseline's, in the unit of the row.
    MoreAtMost(f64),
    /// Muster's median is at most so much, whatever the baseline's.
    AtMost(f64),
    /// Only to be seen.
    Shown,
}

impl Target {
    pub(crate) fn is_met(self, muster: f64, baseline: f64) -> Option<bool> {
        match self {
            Self::RatioAtMost(most) => Some(muster / baseline <= most),
            Self::RatioAtLeast(least) => Some(muster / baseline >= least),
            Self::MoreAtMost(most) => Some(muster - baseline <= most),
            Self::AtMost(most) => Some(muster <= most),
            Self::Shown => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(most) => write!(f, "<= {most:.2}"),
            Self::RatioAtLeast(least) => write!(f, ">= {least:.2}"),
            Self::MoreAtMost(most) => write!(f, "+{most:.0}"),
            Self::AtMost(most) => write!(f, "<= {most:.0}"),
            Self::Shown => Ok(()),
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The measurement and its unit.
    pub(crate) what: String,
    pub(crate) muster: Samples,
    /// The baseline's name.
    pub(crate) against: &'static str,
    pub(crate) baseline: Samples,
    pub(crate) target: Target,
}

impl Row {
    /// The names of the columns.
    pub(crate) fn heading() -> String {
        format!(
            "{:<34}{:>10}{:>10}{:>7}  | {:<22}{:>10}{:>10}{:>7}  | {:>7}  {:<8} met",
            "", "p50", "p99", "n", "against", "p50", "p99", "n", "ratio", "target"
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (muster, baseline) = (self.muster.median(), self.baseline.median());
        let compared = match self.target {
            Target::MoreAtMost(_) => format!("{:+.0}", muster - baseline),
            _ => format!("{:.2}", muster / baseline),
        };
        let met = match self.target.is_met(muster, baseline) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        write!(
            f,
            "{:<34}{muster:>10.1}{:>10.1}{:>7}  | {:<22}{baseline:>10.1}{:>10.1}{:>7}  | {compared:>7}  {:<8} {met}",
            self.what,
            self.muster.percentile(99),
            self.muster.count(),
            self.against,
            self.baseline.percentile(99),
            self.baseline.count(),
            self.target.to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!((samples.median(), samples.percentile(99)), (100.0, 198.0));
        assert_eq!(samples.percentile(100), 200.0);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn a_row_says_whether_its_target_is_met() {
        for (target, met) in [
            (Target::RatioAtMost(1.5), Some(false)),
            (Target::RatioAtLeast(0.7), Some(true)),
            (Target::MoreAtMost(200.0), Some(true)),
            (Target::Shown, None),
        ] {
            assert_eq!(target.is_met(300.0, 100.0), met, "{target:?}");
        }
        assert_eq!(Target::RatioAtMost(1.5).is_met(1.0, f64::NAN), Some(false));
    }
}
