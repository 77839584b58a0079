//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use log::LevelFilter;

use crate::admin::LAST_DEFAULT;
use crate::config::Accessory;

/// Muster puts players into games: a queue, a match, a process for each match.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    term_width = 80,
    disable_help_subcommand = true,
    help_template = "{about}\n{usage-heading} {usage}\n\nCommands:\n{subcommands}{after-help}",
    after_help = "Example: muster status --watch\nmuster COMMAND --help says more about a command."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads the command line and the environment, and ends the process where they ask for help or cannot be understood.
pub(crate) fn parse() -> Cli {
    let mut command = without_empty_variables(Cli::command());
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// A variable that is there and empty is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        arg.get_env()
            .is_some_and(|it| it.to_str().is_some_and(|name| process::variable(name).is_none()))
    };
    let set = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg };
    command.mut_args(set).mut_subcommands(without_empty_variables)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon.
    #[command(
        after_help = "Examples:\n  muster serve\n  muster serve --config /etc/muster/muster.toml\n  \
                            muster serve --tcp 127.0.0.1:0 --ports 20000-20009\n\nVariables: MUSTER_CONFIG, \
                            _LISTEN_TCP, _ADMIN, _LISTEN_METRICS, _PORTS_RANGE, _PORTS_PUBLIC_HOST, _KEEP, _LOG_LEVEL."
    )]
    Serve(Serve),
    /// List running games, and the last that ended.
    #[command(after_help = "Examples:\n  muster games\n  muster games --last 100 --json")]
    Games {
        /// So many of those that ended, the newest first.
        #[arg(long, value_name = "N", default_value_t = LAST_DEFAULT)]
        last: usize,
        #[command(flatten)]
        ask: Ask,
    },
    /// Show all that is known of one game.
    #[command(after_help = "Examples:\n  muster game 17\n  muster game 17 --json")]
    Game {
        /// Its number, as `muster games` shows it.
        game: u64,
        #[command(flatten)]
        ask: Ask,
    },
    /// List waiting players.
    #[command(after_help = "Examples:\n  muster players\n  muster players --json")]
    Players {
        #[command(flatten)]
        ask: Ask,
    },
    /// Show the state of a running daemon.
    #[command(after_help = "Examples:\n  muster status --admin /run/muster/admin.sock\n  \
                            muster status --watch")]
    Status {
        /// Show it live, until q is pressed. Needs a terminal.
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// Set how much a running daemon logs.
    #[command(after_help = "Examples:\n  muster log debug\n  muster log info")]
    Log {
        /// off, error, warn, info, debug or trace.
        level: LevelFilter,
        #[command(flatten)]
        ask: Ask,
    },
    /// Print the matchmaker's state as JSON, without secrets.
    #[command(after_help = "Examples:\n  muster dump | jq .players\n  muster dump > before.json")]
    Dump {
        #[command(flatten)]
        ask: Ask,
    },
    /// Stop accepting players; exit when all games have ended.
    #[command(
        after_help = "Examples:\n  muster drain\n  muster drain --wait && echo gone\n\nWho waits is told \
                      421 DRAINING. Games are stopped after shutdown.drain_timeout."
    )]
    Drain {
        /// Return when the daemon has ended, also if it crashes meanwhile and comes back.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// Cancel a drain.
    #[command(after_help = "Example:\n  muster undrain")]
    Undrain {
        #[command(flatten)]
        ask: Ask,
    },
    /// Reload the configuration.
    #[command(
        after_help = "Examples:\n  muster reload\n  muster check-config /etc/muster/muster.toml && muster reload"
    )]
    Reload {
        #[command(flatten)]
        ask: Ask,
    },
    /// Remove a waiting player from the queue.
    #[command(after_help = "Example:\n  muster kick 4711")]
    Kick {
        /// Its number, as `muster players` shows it.
        player: u64,
        #[command(flatten)]
        ask: Ask,
    },
    /// Stop a game, gracefully or at once.
    #[command(after_help = "Examples:\n  muster kill 17\n  muster kill 17 --now")]
    Kill {
        /// Its number, as `muster games` shows it.
        game: u64,
        /// Kill it at once.
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  \
                            muster completions fish > ~/.config/fish/completions/muster.fish"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Replace the program of a running daemon in place.
    #[command(
        after_help = "Examples:\n  muster upgrade\n  muster upgrade /opt/muster-0.2/muster\n\n\
                      The program first proves that it can: one that cannot is refused, with the reason, and \
                      nothing changes."
    )]
    Upgrade {
        /// The program; default: what the daemon was started as, looked up anew.
        binary: Option<PathBuf>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Exit, and leave games and places to the next daemon.
    #[command(
        after_help = "Example:\n  muster handover\n\nIt takes somebody who starts the next one: systemd or `muster serve \
                      --keep`. Players lose their connections and come back with their resume keys; `muster upgrade` \
                      spares them that. The next program first proves that it can go on. The daemon's exit code is 75."
    )]
    Handover {
        #[command(flatten)]
        ask: Ask,
    },
    /// Say whether this program can go on with the state on its stdin. The daemon runs this.
    #[command(hide = true)]
    Preflight(Serve),
    /// Check a configuration file.
    #[command(after_help = "Example:\n  muster check-config /etc/muster/muster.toml")]
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
}

/// Which daemon is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The daemon's socket (listen.admin); else as --config says, else
    /// $XDG_RUNTIME_DIR/muster/admin.sock, else /run/muster/admin.sock.
    #[arg(long, value_name = "PATH", env = "MUSTER_ADMIN")]
    pub(crate) admin: Option<Accessory<PathBuf>>,
    /// The daemon's configuration, to find it by.
    #[arg(long, value_name = "FILE", env = "MUSTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long a daemon may be silent that is kept.
fn silence(text: &str) -> Result<Duration, String> {
    let silence = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    let in_range = range.contains(&silence).then_some(silence);
    in_range
        .ok_or_else(|| "100ms to 1h: the daemon says twice in this time that it lives".to_owned())
}

/// A flag goes before its environment variable, that before the file, that before the default.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// The configuration; default: all defaults.
    #[arg(long, value_name = "FILE", env = "MUSTER_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where players connect (listen.tcp); port 0: any.
    #[arg(long, value_name = "ADDRESS:PORT", env = "MUSTER_LISTEN_TCP", hide_env = true)]
    pub(crate) tcp: Option<SocketAddr>,
    /// Operators' Unix socket (listen.admin), or off.
    #[arg(long, value_name = "PATH", env = "MUSTER_ADMIN", hide_env = true)]
    pub(crate) admin: Option<Accessory<PathBuf>>,
    /// Figures over HTTP (listen.metrics), or off.
    #[arg(long, value_name = "ADDRESS:PORT", env = "MUSTER_LISTEN_METRICS", hide_env = true)]
    pub(crate) metrics: Option<Accessory<SocketAddr>>,
    /// The ring of UDP ports (ports.range).
    #[arg(long, value_name = "FIRST-LAST", env = "MUSTER_PORTS_RANGE", hide_env = true)]
    pub(crate) ports: Option<String>,
    /// Games' host, as players hear it.
    #[arg(long, value_name = "HOST", env = "MUSTER_PORTS_PUBLIC_HOST", hide_env = true)]
    pub(crate) public_host: Option<String>,
    /// Start it again when it crashes, or is silent
    /// for so long (10s); without a service manager.
    #[arg(
        long,
        value_name = "SILENCE",
        env = "MUSTER_KEEP", hide_env = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10s",
        value_parser = silence
    )]
    pub(crate) keep: Option<Duration>,
    /// off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", env = "MUSTER_LOG_LEVEL", hide_env = true)]
    pub(crate) log: Option<LevelFilter>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_each_command_fits_on_a_screen_and_has_examples() {
        let cli = Cli::command();
        let names = cli.get_subcommands().filter(|it| !it.is_hide_set()).map(|it| it.get_name());
        let asked: Vec<Vec<&str>> = names.map(|name| vec!["muster", name, "--help"]).collect();
        for asked in asked.into_iter().chain([vec!["muster", "--help"]]) {
            let help = cli.clone().try_get_matches_from(&asked).unwrap_err().render().to_string();
            let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 80, "{asked:?}: a line of {widest}\n{help}");
            // The prompt wants a line, too.
            let lines = help.lines().count();
            assert!(lines < 24, "{asked:?}: {lines} lines\n{help}");
            assert!(help.contains("Example"), "{asked:?}\n{help}");
        }
    }
}
