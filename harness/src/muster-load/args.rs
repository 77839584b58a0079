//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::players::PLACES_MAX;
use crate::pool::Ramp;
use crate::scenario_file::DEFAULT;

/// Many players for a Muster: they queue, play, leave, misbehave, and are all accounted for
#[derive(Debug, Parser)]
#[command(name = "muster-load", version, after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Args {
    /// Where Muster is
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:7000", value_parser = address)]
    pub(crate) address: String,
    /// How many players there are at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = players)]
    pub(crate) players: u32,
    /// How many come per second, or `all` for all at once
    #[arg(long, value_name = "R", default_value = "500", value_parser = ramp)]
    pub(crate) ramp: Ramp,
    /// How long they begin new things
    #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long they may take to finish after that
    #[arg(long, value_name = "D", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// How long a word that is due may take
    #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// A file, or evening, launch-day, storm, sprint, soak
    #[arg(long, value_name = "FILE", default_value = DEFAULT)]
    pub(crate) scenario: String,
    /// Queues they choose among, e.g. duel,arena [default: Muster's first]
    #[arg(long = "queue", value_name = "Q", value_delimiter = ',')]
    pub(crate) queues: Vec<String>,
    /// The seed of all random choices: the same seed gives the same plan
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Muster may crash: disconnected players reconnect and resume their sessions
    #[arg(long)]
    pub(crate) comes_back: bool,
    /// Addresses to come from, if Muster is in 127.0.0.0/8 [default: one each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sources: Option<u32>,
    /// Muster's pid, to measure its processor time [default: the process that listens there]
    #[arg(long, value_name = "PID")]
    pub(crate) daemon_pid: Option<i32>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as a page with charts
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Show nothing before the report
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  muster-load                                          a usual evening of 100 players
  muster-load --players 5000 --scenario launch-day --html launch.html
  muster-load --players 2000 --scenario storm --duration 5m --seed 7
  muster-load play.example.net:7000 --queue duel,arena --ramp 50

Exit codes: 0 no player was lost; 1 a promise was broken, with the evidence; 2 usage; 3 could not run.";

/// The longest run.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(text.to_owned()),
        Some(0) | None => Err("not of the form host:port, e.g. 127.0.0.1:7000".to_owned()),
    }
}

fn players(text: &str) -> Result<u32, String> {
    let most = u32::try_from(PLACES_MAX).unwrap_or(u32::MAX);
    match text.parse::<u32>() {
        Ok(players) if (1..=most).contains(&players) => Ok(players),
        Ok(_) | Err(_) => Err(format!("not a number from 1 to {most}")),
    }
}

fn ramp(text: &str) -> Result<Ramp, String> {
    if text == "all" {
        return Ok(Ramp::AtOnce);
    }
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(Ramp::PerSecond(rate)),
        Ok(_) | Err(_) => Err("neither players per second, 0.01 to 1000000, nor `all`".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("not a duration such as 30s or 5m: {error}"))?;
    if duration > DURATION_MAX {
        return Err("longer than a day".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
        let parse = |words: &[&str]| Args::try_parse_from([&["muster-load"], words].concat());
        let args = parse(&["--ramp", "all", "--queue", "duel,arena", "--duration", "5m"]).unwrap();
        assert_eq!((args.ramp, args.queues.len()), (Ramp::AtOnce, 2));
        assert_eq!(args.duration, Duration::from_secs(300));
        for words in [
            &["localhost"][..],
            &["localhost:0"],
            &["--players", "0"],
            &["--players", "16777217"],
            &["--ramp", "0"],
            &["--ramp", "nan"],
            &["--duration", "5"],
            &["--duration", "2days"],
            &["--sources", "0"],
            &["--player", "1"],
        ] {
            assert_eq!(parse(words).map(drop).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn help_fits_on_a_screen() {
        let help = Args::command().render_help().to_string();
        assert!(help.lines().count() <= 50, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
