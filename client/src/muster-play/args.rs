//! The command line of `muster-play`.

use clap::{Parser, ValueEnum};
use client::tictactoe::{Bot, FirstFree, Perfect, Random};
use protocol::NAME_MAX;

/// Play tic-tac-toe or arena through Muster
///
/// Connects to Muster, waits in a queue for other players, and plays the queue's game at this terminal. Resumes the
/// session, or rejoins the game, by itself if the connection is lost. If a match has to be accepted, a bot does so; a
/// person types accept or decline.
/// In tic-tac-toe cells are 1 to 9, row by row; in arena w a s d or the arrow keys move. Ctrl-C or the end of the input
/// leaves the game.
#[derive(Debug, Parser)]
#[command(name = "muster-play", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Muster's address
    #[arg(value_name = "HOST:PORT", value_parser = address)]
    pub(crate) address: String,

    /// The queue to join [default: the first one that Muster names]
    #[arg(long)]
    pub(crate) queue: Option<String>,

    /// Your name, at most 64 bytes
    #[arg(long, value_parser = name)]
    pub(crate) name: Option<String>,

    /// Play as a bot and print what happens, line by line
    #[arg(long)]
    pub(crate) bot: bool,

    /// How the bot plays tic-tac-toe [default: random with --seed, else perfect]
    #[arg(long, requires = "bot")]
    strategy: Option<StrategyName>,

    /// The seed of the bot's random choices
    #[arg(long, requires = "bot")]
    seed: Option<u64>,

    /// The queue's game [default: recognized by its first messages]
    #[arg(long)]
    pub(crate) game: Option<Game>,
}

/// The games that this program can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Game {
    #[value(name = "tictactoe")]
    TicTacToe,
    Arena,
    /// For bots only: sends a few pings and messages
    Echo,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StrategyName {
    First,
    Random,
    Perfect,
}

impl Args {
    /// The seed of a bot's random choices.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The strategy for tic-tac-toe; `None` for a person.
    pub(crate) fn strategy(&self) -> Option<Bot> {
        let seed = self.seed();
        let name = match (self.strategy, self.seed) {
            (Some(name), _) => name,
            (None, Some(_)) => StrategyName::Random,
            (None, None) => StrategyName::Perfect,
        };
        self.bot.then_some(match name {
            StrategyName::First => Bot::FirstFree(FirstFree),
            StrategyName::Random => Bot::Random(Random::new(seed)),
            StrategyName::Perfect => Bot::Perfect(Perfect),
        })
    }
}

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(text.to_owned()),
        Some(0) | None => Err("not of the form host:port, e.g. 127.0.0.1:7000".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_MAX {
        return Err(format!("a name has 1 to {NAME_MAX} bytes"));
    }
    Ok(text.to_owned())
}

const EXAMPLES: &str = "\
Examples:
  muster-play 127.0.0.1:7000 --name ada             play at this terminal
  muster-play 127.0.0.1:7000 --bot                  a bot to play against
  muster-play 127.0.0.1:7000 --bot --seed 7         a bot that can be beaten
  muster-play 127.0.0.1:7000 --queue try --bot --game echo

Exit codes: 0 played to an end, or left; 1 a failure; 2 usage; 69 cannot connect.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let parse = |words: &[&str]| Args::try_parse_from([&["muster-play"], words].concat());
        let args = parse(&["localhost:7000", "--bot", "--seed", "3"]).unwrap();
        assert!(matches!(args.strategy(), Some(Bot::Random(_))));
        assert!(parse(&["localhost:7000"]).unwrap().strategy().is_none());
        let long = "n".repeat(NAME_MAX + 1);
        for words in [
            &[][..],
            &["localhost"],
            &["localhost:0"],
            &["localhost:http"],
            &["localhost:7000", "--seed", "3"],
            &["localhost:7000", "--name", &long],
        ] {
            assert_eq!(parse(words).map(drop).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
