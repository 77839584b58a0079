//! Negotiates the format of the metrics by the header Accept; RFC 9110, 12.5.1.
//!
//! All scrapers can read the classic format, so it is used unless OpenMetrics is requested.

/// A format of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format 0.0.4.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// An available media type, and the versions that a request may name.
struct Offer {
    kind: &'static str,
    subtype: &'static str,
    versions: &'static [&'static str],
}

const CLASSIC: Offer = Offer { kind: "text", subtype: "plain", versions: &["0.0.4"] };
const OPENMETRICS: Offer =
    Offer { kind: "application", subtype: "openmetrics-text", versions: &["1.0.0", "0.0.1"] };

/// How specifically a media range matches an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    Anything,
    Kind,
    Name,
}

impl Format {
    /// The format for a request with these values of Accept, if any.
    pub(super) fn wanted<'a>(accept: &(impl Iterator<Item = &'a str> + Clone)) -> Self {
        let ranges = || accept.clone().flat_map(|value| value.split(','));
        let classic = quality(&CLASSIC, ranges()).map_or(0, |(_, quality)| quality);
        match quality(&OPENMETRICS, ranges()) {
            Some((exactness, quality))
                if exactness > Exactness::Anything && quality > 0 && quality >= classic =>
            {
                Self::OpenMetrics
            }
            _ => Self::Classic,
        }
    }
}

/// The weight of an offer in thousandths: the highest of the most specific matching ranges.
fn quality<'a>(offer: &Offer, ranges: impl Iterator<Item = &'a str>) -> Option<(Exactness, u32)> {
    ranges.filter_map(|range| offer.matched_by(range)).max()
}

impl Offer {
    /// How specifically this range of Accept matches the offer, and its weight. `None` if it does not match or is
    /// malformed.
    fn matched_by(&self, range: &str) -> Option<(Exactness, u32)> {
        let mut parts = range.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let exactness = match (kind, subtype) {
            ("*", "*") => Exactness::Anything,
            (kind, "*") if kind.eq_ignore_ascii_case(self.kind) => Exactness::Kind,
            (kind, subtype)
                if kind.eq_ignore_ascii_case(self.kind)
                    && subtype.eq_ignore_ascii_case(self.subtype) =>
            {
                Exactness::Name
            }
            _ => return None,
        };
        let mut quality = 1_000;
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (key.trim_end(), value.trim_start().trim_matches('"'));
            if key.eq_ignore_ascii_case("q") {
                quality = thousandths(value)?;
            }
            if key.eq_ignore_ascii_case("version") && !self.versions.contains(&value) {
                return None;
            }
        }
        Some((exactness, quality))
    }
}

/// Parses a weight from 0 to 1 with at most three digits; RFC 9110, 12.4.2.
fn thousandths(weight: &str) -> Option<u32> {
    let weight: f64 = weight.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_sent_if_it_is_preferred_or_equal() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let prometheus_with_protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
             application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for accept in [
            prometheus,
            prometheus_with_protobuf,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=0.0.1",
            "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
            "text/plain, application/openmetrics-text",
            "application/*",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        ] {
            assert_eq!(Format::wanted(&[accept].into_iter()), Format::OpenMetrics, "{accept}");
        }
        let telegraf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3";
        for accept in [
            telegraf,
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "text/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.3",
            "application/openmetrics-text;q=0.2, */*",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=nan",
            "*/*;q=0.8, text/plain;q=0.3",
            "application/json",
            ",;q=1,/,application",
        ] {
            assert_eq!(Format::wanted(&[accept].into_iter()), Format::Classic, "{accept}");
        }
        assert_eq!(Format::wanted(&std::iter::empty()), Format::Classic);
        let in_two_lines = ["text/plain;q=0.5", "application/openmetrics-text"];
        assert_eq!(Format::wanted(&in_two_lines.into_iter()), Format::OpenMetrics);
    }
}
