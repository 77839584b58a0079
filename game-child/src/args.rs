//! The command line of `muster-game`, read by hand: the program starts once per match, and its start-up is part
//! of how long players wait.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use game_child::Options;
use game_child::arena::{DURATION_MAX, Rate, Rules};

/// The exit code of an invalid command line.
pub(crate) const USAGE_EXIT_CODE: u8 = 2;

/// The default of how long a player may be silent; lost players are not waited for.
const OPTIONS: Options =
    Options { silence_max: Duration::from_secs(10), rejoin_wait: Duration::ZERO, backfill: false };

/// The flag of games that can replace players who have left.
const BACKFILL: &str = "--backfill";

/// The flag of all games for how long a lost player may return.
const REJOIN_WAIT: &str = "--rejoin-wait";

/// A parsed command line.
#[derive(Debug)]
pub(crate) enum Command {
    Help(&'static str),
    Version,
    Echo(Options),
    TicTacToe(Options),
    Arena(Options, Rules),
}

/// An error of the command line. Arguments in it are escaped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("no game is named; the games are arena, echo and tictactoe")]
    NoGame,
    #[error("{0} is not a game of this program; the games are arena, echo and tictactoe")]
    UnknownGame(String),
    #[error("{game} takes no argument {argument}")]
    UnknownArgument { game: &'static str, argument: String },
    #[error("{flag} needs a value, e.g. {flag} {example}")]
    NoValue { flag: &'static str, example: &'static str },
    #[error("{flag} needs a duration above zero such as 10s or 1m, not {value}")]
    BadDuration { flag: &'static str, value: String },
    #[error("--duration is at most {}, not {value}", humantime::format_duration(DURATION_MAX))]
    LongDuration { value: String },
    #[error("--backfill is on or off, not {value}")]
    BadSwitch { value: String },
    #[error("--hz is 30 or 60, not {value}")]
    BadRate { value: String },
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, UsageError> {
    let [game, rest @ ..] = arguments else { return Err(UsageError::NoGame) };
    match game.to_str() {
        Some("--help" | "-h" | "help") => Ok(Command::Help(HELP)),
        Some("--version" | "-V") => Ok(Command::Version),
        Some("echo") if asks_for_help(rest) => Ok(Command::Help(ECHO_HELP)),
        Some("tictactoe") if asks_for_help(rest) => Ok(Command::Help(TICTACTOE_HELP)),
        Some("echo") => parse_options("echo", "--silence", rest).map(Command::Echo),
        Some("tictactoe") => {
            parse_options("tictactoe", "--forfeit-after", rest).map(Command::TicTacToe)
        }
        Some("arena") if asks_for_help(rest) => Ok(Command::Help(ARENA_HELP)),
        Some("arena") => parse_arena(rest),
        _ => Err(UsageError::UnknownGame(visible(game))),
    }
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--help" || argument == "-h")
}

/// The options of a game with flags for how long a player may be silent, and absent.
fn parse_options(
    game: &'static str,
    silence: &'static str,
    arguments: &[OsString],
) -> Result<Options, UsageError> {
    let mut options = OPTIONS;
    let flags = [(silence, "10s"), (REJOIN_WAIT, "30s"), (BACKFILL, "on")];
    let flags = if game == "echo" { &flags[..] } else { &flags[..2] };
    for (flag, value) in pairs(game, flags, arguments)? {
        match flag {
            BACKFILL => options.backfill = switch(&value)?,
            REJOIN_WAIT => options.rejoin_wait = duration(flag, &value)?,
            _ => options.silence_max = duration(flag, &value)?,
        }
    }
    Ok(options)
}

fn parse_arena(arguments: &[OsString]) -> Result<Command, UsageError> {
    let (mut options, mut rules) = (OPTIONS, Rules::default());
    let flags = [
        ("--hz", "60"),
        ("--duration", "60s"),
        ("--silence", "10s"),
        (REJOIN_WAIT, "30s"),
        (BACKFILL, "on"),
    ];
    for (flag, value) in pairs("arena", &flags, arguments)? {
        match flag {
            "--hz" => rules.rate = rate(&value)?,
            BACKFILL => options.backfill = switch(&value)?,
            "--duration" => rules.duration = duration(flag, &value)?,
            REJOIN_WAIT => options.rejoin_wait = duration(flag, &value)?,
            _ => options.silence_max = duration(flag, &value)?,
        }
        if rules.duration > DURATION_MAX {
            return Err(UsageError::LongDuration { value: visible(value) });
        }
    }
    Ok(Command::Arena(options, rules))
}

/// Reads `--flag value` and `--flag=value`, of the flags that a game has, each with an example of its value.
fn pairs(
    game: &'static str,
    flags: &[(&'static str, &'static str)],
    arguments: &[OsString],
) -> Result<Vec<(&'static str, String)>, UsageError> {
    let mut pairs = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (&*text, None),
        };
        let known = flags.iter().find(|(flag, _)| *flag == name);
        let (flag, example) = *known
            .ok_or_else(|| UsageError::UnknownArgument { game, argument: visible(argument) })?;
        let next = || arguments.next().map(|next| next.to_string_lossy().into_owned());
        let value = value.or_else(next).ok_or(UsageError::NoValue { flag, example })?;
        pairs.push((flag, value));
    }
    Ok(pairs)
}

fn duration(flag: &'static str, value: &str) -> Result<Duration, UsageError> {
    let duration = humantime::parse_duration(value).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| UsageError::BadDuration { flag, value: visible(value) })
}

fn switch(value: &str) -> Result<bool, UsageError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(UsageError::BadSwitch { value: visible(value) }),
    }
}

fn rate(value: &str) -> Result<Rate, UsageError> {
    match value {
        "30" => Ok(Rate::Hz30),
        "60" => Ok(Rate::Hz60),
        _ => Err(UsageError::BadRate { value: visible(value) }),
    }
}

fn visible(text: impl AsRef<OsStr>) -> String {
    protocol::Visible(&text.as_ref().to_string_lossy()).to_string()
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
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn both_forms_of_a_flag_and_the_default() {
        for (words, seconds) in [
            (&["tictactoe"][..], 10),
            (&["tictactoe", "--forfeit-after", "20s"], 20),
            (&["tictactoe", "--forfeit-after=1m"], 60),
        ] {
            let Ok(Command::TicTacToe(options)) = parse_words(words) else { panic!("{words:?}") };
            assert_eq!(options.silence_max, Duration::from_secs(seconds));
            assert!(options.rejoin_wait.is_zero());
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
    }

    #[test]
    fn arena_has_more_flags() {
        let Ok(Command::Arena(options, rules)) = parse_words(&["arena"]) else { panic!() };
        assert_eq!((rules.rate, rules.duration), (Rate::Hz30, Duration::from_secs(60)));
        assert_eq!(options.silence_max, OPTIONS.silence_max);
        let words = ["arena", "--hz=60", "--duration", "5m", "--silence=3s", "--rejoin-wait=1m"];
        let Ok(Command::Arena(options, rules)) = parse_words(&words) else { panic!() };
        assert_eq!((rules.rate, rules.duration), (Rate::Hz60, Duration::from_secs(300)));
        assert_eq!(options.silence_max, Duration::from_secs(3));
        assert_eq!(options.rejoin_wait, Duration::from_secs(60));
    }

    #[test]
    fn the_program_and_each_game_have_a_help_text() {
        for words in
            [&["--help"][..], &["echo", "-h"], &["tictactoe", "--help"], &["arena", "--help"]]
        {
            let Ok(Command::Help(text)) = parse_words(words) else { panic!("{words:?}") };
            assert!(text.contains("Example"), "{text}");
        }
    }

    #[test]
    fn errors_name_the_invalid_argument() {
        for (words, part) in [
            (&[][..], "no game is named"),
            (&["chess\u{1b}[31m"], "chess\\u{1b}"),
            (&["tictactoe", "--silence", "3s"], "--silence"),
            (&["tictactoe", "--forfeit-after"], "needs a value, e.g. --forfeit-after 10s"),
            (&["arena", "--hz", "50"], "30 or 60, not 50"),
            (&["arena", "--hz"], "e.g. --hz 60"),
            (&["arena", "--duration=2h"], "at most 1h, not 2h"),
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
