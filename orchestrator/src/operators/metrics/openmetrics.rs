//! Metrics as OpenMetrics text, by the library of the standard's authors.
//!
//! Names follow Prometheus' conventions: a base unit at the end, `_total` for counters. Every label is bounded: the
//! modes of the configuration, or the values of an enum. docs/metrics.md explains each metric.

use std::fmt;
use std::sync::Arc;

use brain::GameSource;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use protocol::admin::{GamePhase, PortState};
use protocol::{ErrorCode, EvictReason};

use super::counts::{EVICTIONS, FAULTS};
use super::{ExitCause, FailedLaunch, Histogram, ModeCounts};
use crate::operators::view::{ModeView, View};

/// The content type of a scrape.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of the process itself, read on request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    /// Since the epoch.
    pub(crate) started_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
}

/// HTTP responses, by status.
pub(crate) type Responses = Vec<(u16, u64)>;

/// Formats all metrics.
///
/// # Errors
/// Never: writing to a string does not fail.
pub(crate) fn write(
    view: Arc<View>,
    process: Process,
    responses: Responses,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { view, process, responses }));
    let mut page = String::with_capacity(64 * 1024);
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Exposition {
    view: Arc<View>,
    process: Process,
    responses: Responses,
}

/// The labels of a row, in order.
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
        let Self { view, process, responses } = self;
        let counts = &view.counts;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.encoder
            .encode_descriptor("muster_build", "The running build.", None, MetricType::Info)?
            .encode_info(&version)?;
        page.gauge(
            "muster_serving",
            "1 while players are accepted, 0 while draining.",
            [(vec![], f64::from(view.is_serving))],
        )?;
        page.gauge(
            "muster_uptime_seconds",
            "Time since the daemon's start.",
            [(vec![], view.uptime.as_secs_f64())],
        )?;
        page.gauge(
            "process_start_time_seconds",
            "Start time of the process since the epoch.",
            [(vec![], process.started_seconds)],
        )?;
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory of the daemon, without its games.",
            [(vec![], real(process.resident_bytes))],
        )?;
        page.float_counter(
            "process_cpu_seconds",
            "Processor time of the daemon, without its games.",
            process.cpu_seconds,
        )?;
        page.histogram(
            "muster_loop_turn_seconds",
            "Duration of an iteration of the loop.",
            [(vec![], &counts.turns)],
        )?;
        page.histogram(
            "muster_loop_lag_seconds",
            "How late the loop handled deadlines.",
            [(vec![], &counts.lag)],
        )?;
        page.gauge(
            "muster_launcher_up",
            "1 while the launcher runs.",
            [(vec![], f64::from(view.launcher.is_some()))],
        )?;
        page.counter(
            "muster_launcher_restarts",
            "Launchers that replaced another one.",
            [(vec![], counts.launcher_restarts)],
        )?;
        page.counter("muster_upgrades", "Upgrades in place.", [(vec![], counts.upgrades)])?;
        page.gauge(
            "muster_upgrade_pause_seconds",
            "Pause of the last upgrade in place.",
            [(vec![], counts.upgrade_pause.as_secs_f64())],
        )?;
        let statuses: Vec<(String, u64)> =
            responses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
        let rows =
            statuses.iter().map(|(status, count)| (vec![("status", status.as_str())], *count));
        page.counter("muster_http_responses", "HTTP responses, by status.", rows)
    }

    fn clients(&self, page: &mut Page<'_>) -> fmt::Result {
        let view = &self.view;
        let counts = &view.counts;
        page.gauge(
            "muster_clients",
            "Open connections of players.",
            [(vec![], size(view.clients))],
        )?;
        page.gauge(
            "muster_clients_limit",
            "Limit of open connections.",
            [(vec![], size(view.clients_max))],
        )?;
        let outcomes =
            [("taken_in", counts.connections_taken_in), ("refused", counts.connections_refused)];
        page.counter(
            "muster_connections",
            "New connections, by outcome.",
            by_word("outcome", outcomes),
        )?;
        page.counter(
            "muster_client_received_bytes",
            "Bytes received from players.",
            [(vec![], counts.bytes_received)],
        )?;
        page.counter(
            "muster_client_sent_bytes",
            "Bytes sent to players.",
            [(vec![], counts.bytes_sent)],
        )?;
        let codes = ErrorCode::ALL.map(|code| code.number().to_string());
        let rows = codes.iter().zip(ErrorCode::ALL).zip(counts.errors);
        let rows = rows.map(|((number, code), count)| {
            (vec![("code", number.as_str()), ("name", code.name())], count)
        });
        page.counter("muster_errors", "Errors sent to players, by code.", rows)?;
        page.counter("muster_players", "Players, by event.", by_word("event", view.totals.named()))
    }

    fn queues(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "muster_queue_players",
            "Waiting players, including those in a match without a game.",
            self.by_mode(|mode| size(mode.waiting)),
        )?;
        let oldest = |mode: &ModeView| mode.oldest_wait.unwrap_or_default().as_secs_f64();
        page.gauge(
            "muster_queue_oldest_wait_seconds",
            "Longest waiting time of players who were not sent to a game yet.",
            self.by_mode(oldest),
        )?;
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
            "Absent players whose session is kept.",
            self.by_mode(|mode| size(mode.away)),
        )?;
        page.counter(
            "muster_player_losses",
            "Connections lost by players whose session was kept.",
            self.counts_by_mode(|mode| mode.players_away),
        )?;
        page.counter(
            "muster_player_returns",
            "Sessions resumed by players.",
            self.counts_by_mode(|mode| mode.players_returned),
        )?;
        let evicted = self.rows(|_, name, mode| {
            let evicted = EVICTIONS.iter().zip(mode.players_evicted);
            let row = |(why, count): (&EvictReason, u64)| {
                (vec![("mode", name), ("reason", why.word())], count)
            };
            evicted.map(row).collect()
        });
        page.counter("muster_evictions", "Players removed from a queue, by reason.", evicted)?;
        page.histogram(
            "muster_player_wait_seconds",
            "Time from READY to ASSIGN.",
            self.counts_by_mode(|mode| &mode.player_waits),
        )
    }

    fn matches(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "muster_matches_waiting",
            "Matches without a game.",
            self.by_mode(|mode| size(mode.matches_waiting)),
        )?;
        page.counter(
            "muster_matches_formed",
            "Matches formed.",
            self.counts_by_mode(|mode| mode.matches_formed),
        )?;
        page.counter(
            "muster_matches_assigned",
            "Matches whose players were assigned.",
            self.counts_by_mode(|mode| mode.matches_assigned),
        )?;
        page.counter(
            "muster_matches_dissolved",
            "Matches that were dissolved because a player left.",
            self.counts_by_mode(|mode| mode.matches_dissolved),
        )?;
        let ends = self.rows(|_, name, mode| {
            let ends = [("finished", mode.matches_finished), ("stopped", mode.matches_stopped)];
            ends.map(|(end, count)| (vec![("mode", name), ("end", end)], count)).into()
        });
        page.counter(
            "muster_matches_ended",
            "Matches that ended, by whether their game exited by itself or was stopped.",
            ends,
        )?;
        let waits = self.rows(|_, name, mode| {
            let waits = GameSource::ALL.iter().zip(&mode.game_waits);
            waits.map(|(game, wait)| (vec![("mode", name), ("game", game.word())], wait)).collect()
        });
        page.histogram(
            "muster_match_game_wait_seconds",
            "Time from a match's forming to its assignment, by the source of its game.",
            waits,
        )
    }

    fn games(&self, page: &mut Page<'_>) -> fmt::Result {
        let games = self.rows(|now, name, _| {
            let games = GamePhase::ALL.iter().zip(now.games_by_phase);
            games
                .map(|(phase, count)| (vec![("mode", name), ("phase", phase.word())], size(count)))
                .collect()
        });
        page.gauge("muster_games", "Games that have not ended, by phase.", games)?;
        let exits = self.rows(|_, name, mode| {
            let exits = ExitCause::ALL.iter().zip(mode.exits);
            exits
                .map(|(cause, count)| (vec![("mode", name), ("cause", cause.word())], count))
                .collect()
        });
        page.counter("muster_game_exits", "Games that ended, by cause.", exits)?;
        let faults = self.rows(|_, name, mode| {
            let faults = FAULTS.iter().zip(mode.games_failed);
            faults.map(|(fault, count)| (vec![("mode", name), ("fault", *fault)], count)).collect()
        });
        page.counter(
            "muster_game_failures",
            "Games that failed before their players were assigned, by fault.",
            faults,
        )
    }

    fn launches(&self, page: &mut Page<'_>) -> fmt::Result {
        let kinds = self.rows(|now, name, mode| vec![(with_kind(now, name), mode.launches)]);
        page.counter("muster_launches", "Launches ordered.", kinds)?;
        let failed = self.rows(|_, name, mode| {
            let failed = FailedLaunch::ALL.iter().zip(mode.launches_failed);
            failed
                .map(|(why, count)| (vec![("mode", name), ("reason", why.word())], count))
                .collect()
        });
        page.counter("muster_launch_failures", "Launches that failed, by reason.", failed)?;
        let times = self.rows(|now, name, mode| vec![(with_kind(now, name), &mode.launch_times)]);
        page.histogram(
            "muster_launch_seconds",
            "Time from the order of a launch to the game's process.",
            times,
        )?;
        let times = self.rows(|now, name, mode| vec![(with_kind(now, name), &mode.ready_times)]);
        page.histogram(
            "muster_game_ready_seconds",
            "Time from the order of a launch until the game is ready.",
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
        let view = &self.view;
        let counts = [
            ("free", view.ports_free()),
            ("leased", view.ports_leased()),
            ("quarantined", view.ports_in(|state| state == PortState::Quarantined)),
            ("busy", view.ports_in(|state| state == PortState::Busy)),
        ];
        let rows = counts.map(|(phase, count)| (vec![("phase", phase)], size(count)));
        page.gauge("muster_ports", "Ports of the ring, by phase.", rows)?;
        page.counter(
            "muster_ports_busy",
            "Launches that found another program using their port.",
            [(vec![], self.view.counts.ports_busy)],
        )
    }

    /// A row for each mode, with a gauge.
    fn by_mode(&self, value: impl Fn(&ModeView) -> f64) -> impl Iterator<Item = (Labels<'_>, f64)> {
        let modes = self.view.shown();
        modes.map(move |(mode, _)| (vec![("mode", mode.name.as_str())], value(mode)))
    }

    /// A row for each mode, with a counter.
    fn counts_by_mode<'a, V>(
        &'a self,
        value: impl Fn(&'a ModeCounts) -> V,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        let modes = self.view.shown();
        modes.map(move |(now, counts)| (vec![("mode", now.name.as_str())], value(counts)))
    }

    /// Any number of rows for each mode.
    fn rows<'a, V>(
        &'a self,
        rows: impl Fn(&'a ModeView, &'a str, &'a ModeCounts) -> Vec<(Labels<'a>, V)>,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        let modes = self.view.shown();
        modes.flat_map(move |(now, counts)| rows(now, &now.name, counts))
    }
}

/// The launches of a mode are all of one kind.
fn with_kind<'a>(mode: &ModeView, name: &'a str) -> Labels<'a> {
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

/// Writes metric families, by their whole names.
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
