//! Figures as OpenMetrics text, by the library of those who wrote the standard.
//!
//! Names follow Prometheus' conventions: a base unit at the end, `_total` for what only grows. Every label has a bound:
//! the modes of the configuration, or the words of an enum. docs/metrics.md says what each metric means.

use std::fmt;
use std::sync::Arc;

use matchmaker::{GameStage, PortPlace};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use protocol::{ErrorCode, EvictReason};

use super::counts::{EVICTIONS, FAULTS};
use super::{ExitCause, FailedLaunch, GameSource, Histogram, ModeCounts, ModeNow, Snapshot};

/// What a scrape is answered with, besides its text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What only the process itself can tell, read when it is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    /// Since the epoch.
    pub(crate) started_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
}

/// What was answered over HTTP, by status.
pub(crate) type Responses = Vec<(u16, u64)>;

/// All metrics as text.
///
/// # Errors
/// Never, as a text takes whatever is written to it.
pub(crate) fn write(
    snapshot: Arc<Snapshot>,
    process: Process,
    responses: Responses,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { snapshot, process, responses }));
    let mut page = String::with_capacity(64 * 1024);
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Exposition {
    snapshot: Arc<Snapshot>,
    process: Process,
    responses: Responses,
}

/// The labels of a row, in their order.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.daemon(&mut page)?;
        self.clients(&mut page)?;
        self.queues(&mut page)?;
        self.matches(&mut page)?;
        self.games(&mut page)?;
        self.launches(&mut page)?;
        self.ports(&mut page)
    }
}

impl Exposition {
    fn daemon(&self, page: &mut Page<'_>) -> fmt::Result {
        let Self { snapshot, process, responses } = self;
        let counts = &snapshot.counts;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.encoder
            .encode_descriptor("muster_build", "The build that runs.", None, MetricType::Info)?
            .encode_info(&version)?;
        page.gauge(
            "muster_serving",
            "1 while players are taken in, 0 while draining.",
            [(vec![], f64::from(snapshot.is_serving))],
        )?;
        page.gauge(
            "muster_uptime_seconds",
            "Since the daemon's start.",
            [(vec![], snapshot.uptime.as_secs_f64())],
        )?;
        page.gauge(
            "process_start_time_seconds",
            "When the process started, since the epoch.",
            [(vec![], process.started_seconds)],
        )?;
        page.gauge(
            "process_resident_memory_bytes",
            "Memory of the daemon itself.",
            [(vec![], real(process.resident_bytes))],
        )?;
        page.float_counter(
            "process_cpu_seconds",
            "Time on the processor of the daemon itself.",
            process.cpu_seconds,
        )?;
        page.histogram(
            "muster_loop_turn_seconds",
            "How long the loop was busy between two looks at the kernel.",
            [(vec![], &counts.turns)],
        )?;
        page.histogram(
            "muster_loop_lag_seconds",
            "How late the loop came to what had its time.",
            [(vec![], &counts.lag)],
        )?;
        page.gauge(
            "muster_launcher_up",
            "1 while there is a process that makes games.",
            [(vec![], f64::from(snapshot.has_launcher))],
        )?;
        page.counter(
            "muster_launcher_restarts",
            "Launchers started in place of another.",
            [(vec![], counts.launcher_restarts)],
        )?;
        page.counter("muster_upgrades", "Upgrades in place.", [(vec![], counts.upgrades)])?;
        page.gauge(
            "muster_upgrade_pause_seconds",
            "How long the last upgrade kept everybody waiting.",
            [(vec![], counts.upgrade_pause.as_secs_f64())],
        )?;
        let statuses: Vec<(String, u64)> =
            responses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
        let rows =
            statuses.iter().map(|(status, count)| (vec![("status", status.as_str())], *count));
        page.counter("muster_http_responses", "Answers over HTTP, by status.", rows)
    }

    fn clients(&self, page: &mut Page<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        let counts = &snapshot.counts;
        page.gauge(
            "muster_clients",
            "Connections that are open.",
            [(vec![], size(snapshot.clients))],
        )?;
        page.gauge(
            "muster_clients_limit",
            "Connections that may be open.",
            [(vec![], size(snapshot.clients_max))],
        )?;
        let outcomes =
            [("taken_in", counts.connections_taken_in), ("refused", counts.connections_refused)];
        page.counter(
            "muster_connections",
            "Connections that came, by what became of them.",
            by_word("outcome", outcomes),
        )?;
        page.counter(
            "muster_client_received_bytes",
            "Bytes from clients.",
            [(vec![], counts.bytes_received)],
        )?;
        page.counter(
            "muster_client_sent_bytes",
            "Bytes to clients.",
            [(vec![], counts.bytes_sent)],
        )?;
        let codes = ErrorCode::ALL.map(|code| code.number().to_string());
        let rows = codes.iter().zip(ErrorCode::ALL).zip(counts.errors);
        let rows = rows.map(|((number, code), count)| {
            (vec![("code", number.as_str()), ("name", code.name())], count)
        });
        page.counter("muster_errors", "Errors that clients were told, by number.", rows)?;
        page.counter(
            "muster_players",
            "What became of players.",
            by_word("event", snapshot.totals.named()),
        )
    }

    fn queues(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "muster_queue_players",
            "Players who wait, those in a match without a game included.",
            self.by_mode(|mode| size(mode.waiting)),
        )?;
        let oldest = |mode: &ModeNow| mode.oldest_wait.unwrap_or_default().as_secs_f64();
        page.gauge("muster_queue_oldest_wait_seconds", "How long the one waits who has waited longest, of those who were not sent to a game yet.", self.by_mode(oldest))?;
        page.gauge(
            "muster_mode_match_players",
            "Players in a match, as configured.",
            self.by_mode(|mode| size(mode.players)),
        )?;
        page.gauge(
            "muster_mode_failing",
            "1 while the mode's games keep failing.",
            self.by_mode(|mode| f64::from(mode.is_failing)),
        )?;
        page.gauge(
            "muster_queue_away_players",
            "Players whose connection is lost and whose place is kept.",
            self.by_mode(|mode| size(mode.away)),
        )?;
        page.counter(
            "muster_player_losses",
            "Connections of players that were lost while their place was kept.",
            self.counts_by_mode(|mode| mode.players_away),
        )?;
        page.counter(
            "muster_player_returns",
            "Players who came back to their place.",
            self.counts_by_mode(|mode| mode.players_returned),
        )?;
        let evicted = self.rows(|_, name, mode| {
            let evicted = EVICTIONS.iter().zip(mode.players_evicted);
            let row = |(why, count): (&EvictReason, u64)| {
                (vec![("mode", name), ("reason", why.word())], count)
            };
            evicted.map(row).collect()
        });
        page.counter("muster_evictions", "Players who lost their place, by reason.", evicted)?;
        page.histogram(
            "muster_player_wait_seconds",
            "From READY to ASSIGN.",
            self.counts_by_mode(|mode| &mode.player_waits),
        )
    }

    fn matches(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "muster_matches_waiting",
            "Matches that wait for a game.",
            self.by_mode(|mode| size(mode.matches_waiting)),
        )?;
        page.counter(
            "muster_matches_formed",
            "Matches formed.",
            self.counts_by_mode(|mode| mode.matches_formed),
        )?;
        page.counter(
            "muster_matches_assigned",
            "Matches whose players were told where to play.",
            self.counts_by_mode(|mode| mode.matches_assigned),
        )?;
        page.counter(
            "muster_matches_dissolved",
            "Matches that came to nothing; their players went back.",
            self.counts_by_mode(|mode| mode.matches_dissolved),
        )?;
        let ends = self.rows(|_, name, mode| {
            let ends = [("finished", mode.matches_finished), ("stopped", mode.matches_stopped)];
            ends.map(|(end, count)| (vec![("mode", name), ("end", end)], count)).into()
        });
        page.counter(
            "muster_matches_ended",
            "Matches that are over, by whether their game ended by itself or was stopped.",
            ends,
        )?;
        let waits = self.rows(|_, name, mode| {
            let waits = GameSource::ALL.iter().zip(&mode.game_waits);
            waits.map(|(game, wait)| (vec![("mode", name), ("game", game.word())], wait)).collect()
        });
        page.histogram("muster_match_game_wait_seconds", "From a match's forming to its assignment, by whether its game was warm or launched for it.", waits)
    }

    fn games(&self, page: &mut Page<'_>) -> fmt::Result {
        let games = self.rows(|now, name, _| {
            let games = GameStage::ALL.iter().zip(now.games);
            games
                .map(|(stage, count)| (vec![("mode", name), ("phase", stage.word())], size(count)))
                .collect()
        });
        page.gauge("muster_games", "Games that are not gone, by phase.", games)?;
        let exits = self.rows(|_, name, mode| {
            let exits = ExitCause::ALL.iter().zip(mode.exits);
            exits
                .map(|(cause, count)| (vec![("mode", name), ("cause", cause.word())], count))
                .collect()
        });
        page.counter(
            "muster_game_exits",
            "Games that are gone, by how their process ended.",
            exits,
        )?;
        let faults = self.rows(|_, name, mode| {
            let faults = FAULTS.iter().zip(mode.games_failed);
            faults.map(|(fault, count)| (vec![("mode", name), ("fault", *fault)], count)).collect()
        });
        page.counter(
            "muster_game_failures",
            "Games that failed before their players were told of them, by what they did.",
            faults,
        )
    }

    fn launches(&self, page: &mut Page<'_>) -> fmt::Result {
        let kinds = self.rows(|now, name, mode| vec![(with_kind(now, name), mode.launches)]);
        page.counter("muster_launches", "Games that were ordered.", kinds)?;
        let failed = self.rows(|_, name, mode| {
            let failed = FailedLaunch::ALL.iter().zip(mode.launches_failed);
            failed
                .map(|(why, count)| (vec![("mode", name), ("reason", why.word())], count))
                .collect()
        });
        page.counter(
            "muster_launch_failures",
            "Games whose process could not be made, by reason.",
            failed,
        )?;
        let times = self.rows(|now, name, mode| vec![(with_kind(now, name), &mode.launch_times)]);
        page.histogram(
            "muster_launch_seconds",
            "From the order to launch a game to its process.",
            times,
        )?;
        let times = self.rows(|now, name, mode| vec![(with_kind(now, name), &mode.ready_times)]);
        page.histogram(
            "muster_game_ready_seconds",
            "From the order to launch a game until it can be played with.",
            times,
        )?;
        page.counter(
            "muster_template_starts",
            "Templates started.",
            self.counts_by_mode(|mode| mode.templates_started),
        )?;
        page.counter(
            "muster_template_ends",
            "Templates that ended.",
            self.counts_by_mode(|mode| mode.templates_ended),
        )
    }

    fn ports(&self, page: &mut Page<'_>) -> fmt::Result {
        let count =
            |place: PortPlace| (vec![("phase", place.word())], size(self.snapshot.ports_in(place)));
        page.gauge("muster_ports", "Ports of the ring, by phase.", PortPlace::ALL.map(count))?;
        page.counter(
            "muster_ports_busy",
            "Launches that found something else on their port.",
            [(vec![], self.snapshot.counts.ports_busy)],
        )
    }

    /// A row for each mode, of how it is.
    fn by_mode(&self, value: impl Fn(&ModeNow) -> f64) -> impl Iterator<Item = (Labels<'_>, f64)> {
        let modes = self.snapshot.shown();
        modes.map(move |(mode, _)| (vec![("mode", mode.name.as_str())], value(mode)))
    }

    /// A row for each mode, of what was counted.
    fn counts_by_mode<'a, V>(
        &'a self,
        value: impl Fn(&'a ModeCounts) -> V,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        let modes = self.snapshot.shown();
        modes.map(move |(now, counts)| (vec![("mode", now.name.as_str())], value(counts)))
    }

    /// Any number of rows for each mode.
    fn rows<'a, V>(
        &'a self,
        rows: impl Fn(&'a ModeNow, &'a str, &'a ModeCounts) -> Vec<(Labels<'a>, V)>,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        let modes = self.snapshot.shown();
        modes.flat_map(move |(now, counts)| rows(now, &now.name, counts))
    }
}

/// A mode's launches are all of one kind.
fn with_kind<'a>(mode: &ModeNow, name: &'a str) -> Labels<'a> {
    vec![("mode", name), ("kind", if mode.is_template { "template" } else { "exec" })]
}

fn by_word<const N: usize>(
    label: &'static str,
    rows: [(&'static str, u64); N],
) -> [(Labels<'static>, u64); N] {
    rows.map(|(word, count)| (vec![(label, word)], count))
}

fn size(count: usize) -> f64 {
    real(count as u64)
}

fn real(count: u64) -> f64 {
    count as f64
}

/// Writes families of metrics, by their whole names.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows, |metric, value| {
            metric.encode_gauge(&value)
        })
    }

    fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, rows, |metric, value| {
            metric.encode_counter(&value, NO_EXEMPLAR)
        })
    }

    fn float_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.family(name, help, MetricType::Counter, [(vec![], value)], |metric, value| {
            metric.encode_counter(&value, NO_EXEMPLAR)
        })
    }

    fn histogram<'l, 'h>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, &'h Histogram)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, rows, |metric, value| {
            metric.encode_histogram::<NoLabelSet>(
                value.sum(),
                value.count(),
                &value.buckets(),
                None,
            )
        })
    }

    fn family<'l, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
        mut encode: impl FnMut(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let (stem, unit) = match name.rsplit_once('_') {
            Some((stem, "seconds")) => (stem, Some(Unit::Seconds)),
            Some((stem, "bytes")) => (stem, Some(Unit::Bytes)),
            _ => (name, None),
        };
        let mut metric = self.encoder.encode_descriptor(stem, help, unit.as_ref(), kind)?;
        for (labels, value) in rows {
            if labels.is_empty() {
                encode(&mut metric, value)?;
            } else {
                encode(&mut metric.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
