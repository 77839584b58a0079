//! The command line.

use std::time::Duration;

use clap::Parser;

use crate::bench::Scale;

/// Measures games as processes, Muster beside bare processes.
#[derive(Debug, Parser)]
#[command(name = "bench-games", version)]
pub(crate) struct Args {
    /// Measure less of everything: about two minutes
    #[arg(long)]
    quick: bool,
    /// Only these figures, e.g. 1,3
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=6))]
    only: Vec<u8>,
    /// Latencies of each kind
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    latencies: Option<u32>,
    /// Stretches of each kind in which games are counted
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
    pub(crate) fn wants(&self, figure: u8) -> bool {
        self.only.is_empty() || self.only.contains(&figure)
    }

    /// How much is measured.
    pub(crate) fn scale(&self) -> Scale {
        let mut scale = if self.quick { quick() } else { full() };
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
}

fn full() -> Scale {
    Scale {
        latencies: 1000,
        stretches: 7,
        stretch: Duration::from_secs(2),
        living: 50,
        tick_games: vec![100, 500, 1000],
        tick_length: Duration::from_secs(10),
        tick_rounds: 2,
        stall_games: 500,
        stall_rounds: 5,
    }
}

fn quick() -> Scale {
    Scale {
        latencies: 200,
        stretches: 3,
        stretch: Duration::from_secs(1),
        tick_games: vec![100, 500],
        tick_length: Duration::from_secs(5),
        tick_rounds: 1,
        stall_rounds: 2,
        ..full()
    }
}
