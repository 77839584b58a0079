//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use log::LevelFilter;
use service::endpoint::Endpoint;

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

/// Reads the command line and the environment. Exits the process on `--help` and on errors.
pub(crate) fn parse() -> Cli {
    let mut command = without_empty_variables(Cli::command());
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// An empty variable counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        arg.get_env()
            .is_some_and(|it| it.to_str().is_some_and(|name| process::variable(name).is_none()))
    };
    let set = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg };
    command.mut_args(set).mut_subcommands(without_empty_variables)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon.
    #[command(
        after_help = "Examples:\n  muster serve\n  muster serve --config /etc/muster/muster.toml\n  \
                            muster serve --tcp 127.0.0.1:0 --ports 20000-20009\n\nVariables: MUSTER_CONFIG, \
                            _LISTEN_TCP, _ADMIN, _LISTEN_METRICS, _PORTS_RANGE, _PORTS_PUBLIC_HOST, _KEEP, _LOG_LEVEL."
    )]
    Serve(Serve),
    /// A command for a running daemon.
    #[command(flatten)]
    Operator(operator::Command),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  \
                            muster completions fish > ~/.config/fish/completions/muster.fish"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Check whether this program can resume the state on its stdin. The daemon runs this.
    #[command(hide = true)]
    Preflight(Serve),
    /// Print the page of a configuration file in man(7), of muster.toml(5) for the shipped one.
    #[command(hide = true)]
    ManualOfConfig {
        /// The configuration.
        file: PathBuf,
        /// The date of the page.
        date: String,
    },
    /// Check a configuration file.
    #[command(after_help = "Example:\n  muster check-config /etc/muster/muster.toml")]
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
}

/// The time that a kept daemon may be silent.
fn silence(text: &str) -> Result<Duration, String> {
    let silence = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    let in_range = range.contains(&silence).then_some(silence);
    in_range
        .ok_or_else(|| "100ms to 1h: the daemon sends two signs of life in this time".to_owned())
}

/// A flag takes precedence over its environment variable, the variable over the file, and the file over the default.
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
    pub(crate) admin: Option<Endpoint<PathBuf>>,
    /// HTTP for metrics (listen.metrics), or off.
    #[arg(long, value_name = "ADDRESS:PORT", env = "MUSTER_LISTEN_METRICS", hide_env = true)]
    pub(crate) metrics: Option<Endpoint<SocketAddr>>,
    /// The ring of UDP ports (ports.range).
    #[arg(long, value_name = "FIRST-LAST", env = "MUSTER_PORTS_RANGE", hide_env = true)]
    pub(crate) ports: Option<String>,
    /// The games' host in players' assignments.
    #[arg(long, value_name = "HOST", env = "MUSTER_PORTS_PUBLIC_HOST", hide_env = true)]
    pub(crate) public_host: Option<String>,
    /// Restart it when it crashes, or is silent for
    /// this long (10s); without a service manager.
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
            // One more line is for the prompt.
            let lines = help.lines().count();
            assert!(lines < 24, "{asked:?}: {lines} lines\n{help}");
            assert!(help.contains("Example"), "{asked:?}\n{help}");
        }
    }
}
