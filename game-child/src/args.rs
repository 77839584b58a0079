//! The command line of `muster-game`. The program starts once per match, and players wait for it: lexopt costs
//! nothing at start-up, in contrast to larger parsers.

use std::ffi::OsString;
use std::time::Duration;

use game_child::Options;
use game_child::arena::{DURATION_MAX, Rate, Rules};
use lexopt::prelude::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};
use protocol::Visible;

/// The exit code for an invalid command line.
pub(crate) const USAGE_EXIT_CODE: u8 = 2;

/// The parsed command line.
#[derive(Debug)]
pub(crate) enum Command {
    Help(&'static str),
    Version,
    Echo(Options),
    TicTacToe(Options),
    Arena(Options, Rules),
}

/// Why a command line is invalid. Text from it is escaped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("which game? arena, echo or tictactoe")]
    NoGame,
    #[error("unknown game {0}; there are arena, echo and tictactoe")]
    UnknownGame(String),
    #[error("{0}")]
    Arguments(String),
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::Arguments(Visible(&error.to_string()).to_string())
    }
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let game = match parser.next()? {
        None => return Err(UsageError::NoGame),
        Some(Long("help") | Short('h')) => return Ok(Command::Help(HELP)),
        Some(Long("version") | Short('V')) => return Ok(Command::Version),
        Some(Value(game)) => game.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    let help = match game.as_str() {
        "help" => return Ok(Command::Help(HELP)),
        "echo" => ECHO_HELP,
        "tictactoe" => TICTACTOE_HELP,
        "arena" => ARENA_HELP,
        _ => return Err(UsageError::UnknownGame(Visible(&game).to_string())),
    };
    let (mut options, mut rules) = (Options::default(), Rules::default());
    while let Some(argument) = parser.next()? {
        match (argument, game.as_str()) {
            (Long("help") | Short('h'), _) => return Ok(Command::Help(help)),
            (Long("silence"), "echo" | "arena") | (Long("forfeit-after"), "tictactoe") => {
                options.silence_max = parser.value()?.parse_with(duration)?;
            }
            (Long("rejoin-wait"), _) => {
                options.rejoin_wait = parser.value()?.parse_with(duration)?;
            }
            (Long("backfill"), "echo" | "arena") => {
                options.backfill = parser.value()?.parse_with(switch)?;
            }
            (Long("hz"), "arena") => rules.rate = parser.value()?.parse_with(rate)?,
            (Long("duration"), "arena") => {
                rules.duration = parser.value()?.parse_with(game_duration)?;
            }
            (other, _) => return Err(other.unexpected().into()),
        }
    }
    Ok(match game.as_str() {
        "echo" => Command::Echo(options),
        "tictactoe" => Command::TicTacToe(options),
        _ => Command::Arena(options, rules),
    })
}

fn duration(value: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(value).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "it must be a duration above zero such as 10s or 1m".to_owned())
}

fn game_duration(value: &str) -> Result<Duration, String> {
    let max = humantime::format_duration(DURATION_MAX);
    let duration = duration(value)?;
    if duration > DURATION_MAX { Err(format!("it is at most {max}")) } else { Ok(duration) }
}

fn switch(value: &str) -> Result<bool, &'static str> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it must be on or off"),
    }
}

fn rate(value: &str) -> Result<Rate, &'static str> {
    match value {
        "30" => Ok(Rate::Hz30),
        "60" => Ok(Rate::Hz60),
        _ => Err("it must be 30 or 60"),
    }
}

const HELP: &str = "\
muster-game: the reference games of Muster

Muster starts this program, one process per match, with a UDP socket and a control channel. Name it in a mode
of Muster's configuration; it cannot be started from a shell.

Usage: muster-game <GAME> [OPTIONS]

Games:
  tictactoe   for two players
  arena       in real time, for 2 to 16 players
  echo        returns every message, for any number of players

Options:
  -h, --help      print this text; after a game's name, that of the game
  -V, --version   print the version

Example, in muster.toml:
  [[mode]]
  name = \"duel\"
  players = 2
  command = [\"muster-game\", \"tictactoe\", \"--forfeit-after\", \"20s\"]

Exit codes: 0 the match was played to an end, 1 a failure, 2 usage, 64 not started by Muster.";

const ECHO_HELP: &str = "\
muster-game echo: returns every message

Usage: muster-game echo [--silence DURATION] [--rejoin-wait DURATION] [--backfill on]

Answers PING <text> with PONG <text>, and returns any other message unchanged. Ends when all players have
left, or when none joined.

Options:
  --silence DURATION       a player who is silent for this long has left [default: 10s]
  --rejoin-wait DURATION   how long a silent player may return before that [default: not at all]
  --backfill on            ask Muster for a player for each open slot

Example, in muster.toml:
  command = [\"muster-game\", \"echo\", \"--silence\", \"30s\"]";

const TICTACTOE_HELP: &str = "\
muster-game tictactoe: tic-tac-toe for two players

Usage: muster-game tictactoe [--forfeit-after DURATION] [--rejoin-wait DURATION]

The player in slot 0 is X and begins. A player who sends BYE or falls silent loses.

Options:
  --forfeit-after DURATION   a player who is silent for this long has left [default: 10s]
  --rejoin-wait DURATION     how long a silent player may return before that, in modes with rejoin = true

Example, in muster.toml:
  command = [\"muster-game\", \"tictactoe\", \"--forfeit-after\", \"20s\"]";

const ARENA_HELP: &str = "\
muster-game arena: collect coins, in real time, for 2 to 16 players

Usage: muster-game arena [--hz 30|60] [--duration DURATION] [--silence DURATION]
                         [--rejoin-wait DURATION] [--backfill on]

Begins when all players have joined, or the time to join has passed. The first player with 30 coins wins, or the
one with most coins when the time is up. The result contains the lateness of the ticks.

Options:
  --hz 30|60               ticks per second [default: 30]
  --duration DURATION      the longest game, at most 1h [default: 60s]
  --silence DURATION       a player who is silent for this long is removed from the map [default: 10s]
  --rejoin-wait DURATION   if all players are lost, how long the game waits [default: not at all]
  --backfill on            ask Muster for a player for each open slot

Example, in muster.toml:
  [[mode]]
  name = \"arena\"
  players = 8
  command = [\"muster-game\", \"arena\", \"--hz\", \"60\", \"--duration\", \"2m\"]";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, UsageError> {
        parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn both_forms_of_a_flag_and_the_default_are_parsed() {
        for (words, seconds) in [
            (&["tictactoe"][..], 10),
            (&["tictactoe", "--forfeit-after", "20s"], 20),
            (&["tictactoe", "--forfeit-after=1m"], 60),
        ] {
            let Ok(Command::TicTacToe(options)) = parse_words(words) else { panic!("{words:?}") };
            assert_eq!(options.silence_max, Duration::from_secs(seconds));
            assert!(options.rejoin_wait.is_zero() && !options.backfill);
        }
        for words in [["tictactoe", "--rejoin-wait=30s"], ["echo", "--rejoin-wait=30s"]] {
            let (Command::TicTacToe(options) | Command::Echo(options)) =
                parse_words(&words).unwrap()
            else {
                panic!("{words:?}")
            };
            assert_eq!(options.rejoin_wait, Duration::from_secs(30));
        }
        assert!(matches!(parse_words(&["echo", "--silence", "30s"]), Ok(Command::Echo(_))));
        let Ok(Command::Echo(options)) = parse_words(&["echo", "--backfill", "on"]) else {
            panic!()
        };
        assert!(options.backfill);
    }

    #[test]
    fn the_arena_has_its_own_flags() {
        let Ok(Command::Arena(options, rules)) = parse_words(&["arena"]) else { panic!() };
        assert_eq!((rules.rate, rules.duration), (Rate::Hz30, Duration::from_secs(60)));
        assert_eq!(options.silence_max, Duration::from_secs(10));
        let words = ["arena", "--hz=60", "--duration", "5m", "--silence=3s", "--rejoin-wait=1m"];
        let Ok(Command::Arena(options, rules)) = parse_words(&words) else { panic!() };
        assert_eq!((rules.rate, rules.duration), (Rate::Hz60, Duration::from_secs(300)));
        assert_eq!(options.silence_max, Duration::from_secs(3));
        assert_eq!(options.rejoin_wait, Duration::from_secs(60));
    }

    #[test]
    fn the_program_and_each_game_have_help() {
        for words in
            [&["--help"][..], &["echo", "-h"], &["tictactoe", "--help"], &["arena", "--help"]]
        {
            let Ok(Command::Help(text)) = parse_words(words) else { panic!("{words:?}") };
            assert!(text.contains("Example"), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_invalid_argument() {
        for (words, part) in [
            (&[][..], "which game"),
            (&["chess\u{1b}[31m"], "chess\\u{1b}"),
            (&["--chess\u{1b}[31m"], "chess\\u{1b}"),
            (&["tictactoe", "--silence", "3s"], "--silence"),
            (&["tictactoe", "--forfeit-after"], "--forfeit-after"),
            (&["arena", "--hz", "50"], "30 or 60"),
            (&["arena", "--hz"], "--hz"),
            (&["arena", "--duration=2h"], "at most 1h"),
            (&["arena", "--forfeit-after", "2s"], "--forfeit-after"),
            (&["tictactoe", "--forfeit-after", "0s"], "above zero"),
            (&["tictactoe", "--forfeit-after=soon"], "soon"),
            (&["echo", "now"], "now"),
        ] {
            let error = parse_words(words).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|text| text.contains(part)), "{words:?}: {error:?}");
        }
    }
}
