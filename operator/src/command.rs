//! The command line of operators' commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use log::LevelFilter;
use protocol::admin::LAST_DEFAULT;
use service::endpoint::Endpoint;

/// A command for a running daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List running games, and the last that ended.
    #[command(after_help = "Examples:\n  muster games\n  muster games --last 100 --json")]
    Games {
        /// Ended games to list, the newest first.
        #[arg(long, value_name = "N", default_value_t = LAST_DEFAULT)]
        last: usize,
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Show one game in full.
    #[command(after_help = "Examples:\n  muster game 17\n  muster game 17 --json")]
    Game {
        /// Its number, as `muster games` shows it.
        game: u64,
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// List waiting players.
    #[command(after_help = "Examples:\n  muster players\n  muster players --json")]
    Players {
        /// The daemon.
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
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Set the log level of a running daemon.
    #[command(after_help = "Examples:\n  muster log debug\n  muster log info")]
    Log {
        /// off, error, warn, info, debug or trace.
        level: LevelFilter,
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Print the matchmaker's state as JSON, without secrets.
    #[command(after_help = "Examples:\n  muster dump | jq .players\n  muster dump > before.json")]
    Dump {
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Stop accepting players; exit when all games have ended.
    #[command(
        after_help = "Examples:\n  muster drain\n  muster drain --wait && echo drained\n\nWaiting players receive \
                      421 DRAINING. Games are stopped after shutdown.drain_timeout."
    )]
    Drain {
        /// Return when the daemon has ended, even if it crashes and restarts first.
        #[arg(long)]
        wait: bool,
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Cancel a drain.
    #[command(after_help = "Example:\n  muster undrain")]
    Undrain {
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Reload the configuration.
    #[command(
        after_help = "Examples:\n  muster reload\n  muster check-config /etc/muster/muster.toml && muster reload"
    )]
    Reload {
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Remove a waiting player from the queue.
    #[command(after_help = "Example:\n  muster kick 4711")]
    Kick {
        /// Their number, as `muster players` shows it.
        player: u64,
        /// The daemon.
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
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Replace the program of a running daemon in place.
    #[command(
        after_help = "Examples:\n  muster upgrade\n  muster upgrade /opt/muster-0.2/muster\n\n\
                      The new program is tested on a copy of the state first. If the test fails, the upgrade is \
                      refused with the reason, and nothing changes."
    )]
    Upgrade {
        /// The program; default: the one the daemon was started as, looked up again.
        binary: Option<PathBuf>,
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
    /// Exit, and leave games and positions to the next daemon.
    #[command(
        after_help = "Example:\n  muster handover\n\nNeeds a service manager that starts the next daemon: systemd or \
                      `muster serve --keep`. Players lose their connections and return with their resume keys; \
                      `muster upgrade` keeps connections. The next program is tested first, as for an upgrade. \
                      The daemon's exit code is 75."
    )]
    Handover {
        /// The daemon.
        #[command(flatten)]
        ask: Ask,
    },
}

/// The daemon that a command asks, and the form of the answer.
#[derive(Debug, Clone, Args)]
pub struct Ask {
    /// The daemon's socket (listen.admin); else as --config says, else
    /// $XDG_RUNTIME_DIR/muster/admin.sock, else /run/muster/admin.sock.
    #[arg(long, value_name = "PATH", env = "MUSTER_ADMIN")]
    pub admin: Option<Endpoint<PathBuf>>,
    /// The daemon's configuration, which names its socket.
    #[arg(long, value_name = "FILE", env = "MUSTER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// The daemon that it asks.
    pub(crate) fn ask(&self) -> &Ask {
        match self {
            Self::Games { ask, .. }
            | Self::Game { ask, .. }
            | Self::Players { ask }
            | Self::Status { ask, .. }
            | Self::Log { ask, .. }
            | Self::Dump { ask }
            | Self::Drain { ask, .. }
            | Self::Undrain { ask }
            | Self::Reload { ask }
            | Self::Kick { ask, .. }
            | Self::Kill { ask, .. }
            | Self::Upgrade { ask, .. }
            | Self::Handover { ask } => ask,
        }
    }
}
