//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::FIGURES;
use crate::bench::Scale;
use crate::failure::Failure;
use crate::report::Report;

/// Measures Muster beside the least that the kernel makes possible.
#[derive(Debug, Parser)]
#[command(name = "muster-bench", version)]
pub(crate) struct Args {
    /// Measure less of everything: some minutes
    #[arg(long)]
    quick: bool,
    /// Measure so little that only what fails is worth knowing: under a minute
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only these figures, e.g. matched,ticks
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(FIGURES.map(|(name, ..)| name)))]
    only: Vec<String>,
    /// Write the run as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the run's tables into this page of Markdown
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Latencies of each kind
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    latencies: Option<u32>,
    /// Stretches of each kind in which something is counted
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    stretches: Option<u32>,
    /// How many games tick at a time, e.g. 100,500,1000
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=2000))]
    tick_games: Vec<u16>,
    /// How long they tick, in seconds
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=60))]
    tick_seconds: Option<u32>,
    /// How often each number of them does
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10))]
    tick_rounds: Option<u32>,
}

impl Args {
    /// Whether a figure is wanted.
    pub(crate) fn wants(&self, figure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == figure)
    }

    /// How much is measured.
    pub(crate) fn scale(&self) -> Scale {
        let mut scale = match (self.smoke, self.quick) {
            (true, _) => smoke(),
            (false, true) => quick(),
            (false, false) => full(),
        };
        let set = |value: Option<u32>, place: &mut usize| {
            *place = value.and_then(|value| usize::try_from(value).ok()).unwrap_or(*place);
        };
        set(self.latencies, &mut scale.latencies);
        set(self.stretches, &mut scale.stretches);
        set(self.tick_rounds, &mut scale.tick_rounds);
        if !self.tick_games.is_empty() {
            scale.tick_games.clone_from(&self.tick_games);
        }
        if let Some(seconds) = self.tick_seconds {
            scale.tick_length = Duration::from_secs(seconds.into());
        }
        scale
    }

    /// Writes a run where it was asked for.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, report: &Report) -> Result<(), Failure> {
        self.json.as_deref().map_or(Ok(()), |path| report.write_json(path))?;
        self.page.as_deref().map_or(Ok(()), |page| report.write_into(page))
    }
}

fn full() -> Scale {
    Scale {
        latencies: 1000,
        stretches: 7,
        stretch: Duration::from_secs(2),
        living: 50,
        tick_rates: vec![60, 30],
        tick_games: vec![1, 100, 500, 1000],
        tick_length: Duration::from_secs(10),
        tick_rounds: 2,
        stall_games: 500,
        stall_rounds: 5,
        idle_clients: vec![1000, 5000, 19_000],
        idle_rounds: 3,
        growth_clients: vec![100, 1000, 5000, 18_000],
        brain_tickets: vec![100, 1000, 10_000, 100_000],
        upgrade_clients: 9000,
        upgrades: 20,
        crashes: 5,
    }
}

fn quick() -> Scale {
    Scale {
        latencies: 200,
        stretches: 3,
        stretch: Duration::from_secs(1),
        tick_rates: vec![60],
        tick_games: vec![100, 500],
        tick_length: Duration::from_secs(5),
        tick_rounds: 1,
        stall_rounds: 2,
        idle_rounds: 1,
        growth_clients: vec![100, 5000, 18_000],
        upgrade_clients: 3000,
        upgrades: 5,
        crashes: 2,
        ..full()
    }
}

fn smoke() -> Scale {
    Scale {
        latencies: 3,
        stretches: 1,
        stretch: Duration::from_millis(100),
        living: 3,
        tick_rates: vec![60],
        tick_games: vec![2],
        tick_length: Duration::from_secs(1),
        tick_rounds: 1,
        stall_games: 10,
        stall_rounds: 1,
        idle_clients: vec![50],
        idle_rounds: 1,
        growth_clients: vec![10, 50],
        brain_tickets: vec![10, 50],
        upgrade_clients: 50,
        upgrades: 2,
        crashes: 1,
    }
}
