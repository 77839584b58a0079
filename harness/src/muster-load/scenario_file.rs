//! Scenario files: the scenarios that idle players run, their rates, and their durations.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::spans::Span;
use crate::step::{GameName, Kind};

/// A scenario file. Every table is a scenario; missing values are those of [`Default`], where no scenario has a rate:
/// an idle player runs only the scenarios with a rate in the file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ScenarioFile {
    /// A sentence for the report.
    pub(crate) about: String,
    pub(crate) matchmaking: Matchmaking,
    pub(crate) in_game: InGame,
    pub(crate) ready_check: ReadyCheck,
    pub(crate) impatient: Impatient,
    pub(crate) flaky: Flaky,
    pub(crate) lurker: Lurker,
    pub(crate) logout: Plain,
    pub(crate) slow: Slow,
    pub(crate) firehose: Firehose,
    pub(crate) resets: Plain,
}

/// Queue, and play.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Matchmaking {
    /// Runs per second of an idle player.
    pub(crate) rate: f64,
}

/// The behaviour of an assigned player, in any scenario; hence no rate.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InGame {
    pub(crate) game: GameName,
    /// How long a player stays, if the game does not end before.
    #[serde(rename = "for")]
    pub(crate) stays: Span,
    /// How long a player thinks about a move.
    pub(crate) think: Span,
    /// The pause between two pings.
    pub(crate) ping_every: Span,
    /// The share of assigned players who never send a hello.
    pub(crate) no_show: f64,
}

/// A player's answer to an offered match, in any scenario; hence no rate. All other players accept.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReadyCheck {
    /// The share of players who decline.
    pub(crate) declines: f64,
    /// The share of players who do not answer.
    pub(crate) silent: f64,
}

/// Leaves the queue again.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Impatient {
    pub(crate) rate: f64,
    /// How long the player waits in the queue.
    pub(crate) after: Span,
}

/// Loses the connection while queued, and resumes the session.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Flaky {
    pub(crate) rate: f64,
    /// How long the player is queued before the connection is lost.
    pub(crate) after: Span,
    /// How long the player is absent.
    pub(crate) away: Span,
}

/// Connects and is silent.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lurker {
    pub(crate) rate: f64,
    /// How long the player stays, if not disconnected.
    pub(crate) stays: Span,
}

/// Sends lines one byte at a time, or only half of one.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Slow {
    pub(crate) rate: f64,
    /// The pause between two bytes.
    pub(crate) byte_every: Span,
    /// How long the player stays after half a line, if not disconnected.
    pub(crate) stays: Span,
}

/// Sends far too many lines.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Firehose {
    pub(crate) rate: f64,
    /// How long, if not disconnected.
    pub(crate) stays: Span,
}

/// A scenario with a rate only.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plain {
    pub(crate) rate: f64,
}

impl Default for InGame {
    fn default() -> Self {
        Self {
            game: GameName::Auto,
            stays: Span::millis(10_000, 30_000),
            think: Span::millis(300, 2000),
            ping_every: Span::millis(200, 200),
            no_show: 0.0,
        }
    }
}

impl Default for Impatient {
    fn default() -> Self {
        Self { rate: 0.0, after: Span::millis(500, 5000) }
    }
}

impl Default for Flaky {
    fn default() -> Self {
        Self { rate: 0.0, after: Span::millis(100, 2000), away: Span::millis(100, 2000) }
    }
}

impl Default for Lurker {
    fn default() -> Self {
        Self { rate: 0.0, stays: Span::millis(5000, 15_000) }
    }
}

impl Default for Slow {
    fn default() -> Self {
        let (byte_every, stays) = (Span::millis(50, 500), Span::millis(1000, 15_000));
        Self { rate: 0.0, byte_every, stays }
    }
}

impl Default for Firehose {
    fn default() -> Self {
        Self { rate: 0.0, stays: Span::millis(1000, 5000) }
    }
}

/// The built-in files, which can be named without a path.
const BUILT_IN: [(&str, &str); 5] = [
    ("evening", include_str!("../../scenarios/evening.toml")),
    ("launch-day", include_str!("../../scenarios/launch-day.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("sprint", include_str!("../../scenarios/sprint.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
];

/// The scenario of a run that names none.
pub(crate) const DEFAULT: &str = "evening";

/// The highest rate: far more than a player can run.
const RATE_MAX: f64 = 1e6;

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("no scenario {name}: it is neither a file nor one of {}", names())]
    NoSuchName { name: String },
    #[error("cannot read the scenario file {}: {source}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("the scenario file {}: {problem}", file.display())]
    Wrong { file: PathBuf, problem: String },
}

impl ScenarioFile {
    /// Reads a file, or a built-in one by its name.
    ///
    /// # Errors
    /// [`ScenarioError`], with the file, and the line and the key if possible.
    pub(crate) fn load(name: &str) -> Result<Self, ScenarioError> {
        let file = Path::new(name);
        let built_in = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        let text = match (built_in, std::fs::read_to_string(file)) {
            (_, Ok(text)) => text,
            (Some((_, text)), Err(_)) => (*text).to_owned(),
            (None, Err(_)) if !name.contains(['/', '.']) => {
                return Err(ScenarioError::NoSuchName { name: name.to_owned() });
            }
            (None, Err(source)) => {
                return Err(ScenarioError::Unreadable { file: file.to_owned(), source });
            }
        };
        Self::parse(&text)
            .map_err(|problem| ScenarioError::Wrong { file: file.to_owned(), problem })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        for (kind, rate) in self.rates() {
            // Written so that NaN is refused, too.
            if !(0.0..=RATE_MAX).contains(&rate) {
                return Err(format!("{}.rate is {rate}, must be 0 to {RATE_MAX}", kind.name()));
            }
        }
        if self.rates().iter().all(|(_, rate)| *rate == 0.0) {
            return Err("no scenario has a rate, so that nothing would ever happen; \
                        say e.g. [matchmaking] rate = 0.1"
                .to_owned());
        }
        if !(0.0..=1.0).contains(&self.in_game.no_show) {
            let no_show = self.in_game.no_show;
            return Err(format!("in-game.no_show is {no_show}, must be 0 to 1"));
        }
        let ReadyCheck { declines, silent } = self.ready_check;
        if !(declines >= 0.0 && silent >= 0.0 && declines + silent <= 1.0) {
            return Err(format!(
                "ready-check.declines is {declines} and ready-check.silent is {silent}; their sum must be 0 to 1"
            ));
        }
        if self.in_game.ping_every.min().is_zero() {
            return Err("in-game.ping_every must be longer than 0s".to_owned());
        }
        Ok(())
    }

    /// How often an idle player runs each scenario, per second.
    pub(crate) fn rates(&self) -> [(Kind, f64); 8] {
        [
            (Kind::Matchmaking, self.matchmaking.rate),
            (Kind::Impatient, self.impatient.rate),
            (Kind::Flaky, self.flaky.rate),
            (Kind::Lurker, self.lurker.rate),
            (Kind::Logout, self.logout.rate),
            (Kind::Slow, self.slow.rate),
            (Kind::Firehose, self.firehose.rate),
            (Kind::Resets, self.resets.rate),
        ]
    }
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_files_are_valid() {
        for (name, _) in BUILT_IN {
            let scenario = ScenarioFile::load(name).unwrap();
            assert!(!scenario.about.is_empty(), "{name}");
            assert!(scenario.matchmaking.rate > 0.0, "{name}");
        }
        let storm = ScenarioFile::load("storm").unwrap();
        assert!(storm.rates().iter().all(|(_, rate)| *rate > 0.0), "the storm has all scenarios");
    }

    #[test]
    fn missing_values_are_the_defaults() {
        let scenario = ScenarioFile::parse("[matchmaking]\nrate = 2").unwrap();
        assert_eq!((scenario.matchmaking.rate, scenario.flaky), (2.0, Flaky::default()));
        let longer = "[matchmaking]\nrate = 1\n[in-game]\nfor = \"2s..4s\"\ngame = \"arena\"";
        let in_game = ScenarioFile::parse(longer).unwrap().in_game;
        assert_eq!((in_game.stays, in_game.game), (Span::millis(2000, 4000), GameName::Arena));
    }

    #[test]
    fn errors_name_the_invalid_value() {
        for (text, named) in [
            ("", "no scenario has a rate"),
            ("[matchmaking]\nrate = 0", "no scenario has a rate"),
            ("[matchmaking]\nrat = 1", "unknown field `rat`"),
            ("[matchmaker]\nrate = 1", "unknown field `matchmaker`"),
            ("rate = 1", "unknown field `rate`"),
            ("[matchmaking]\nrate = -1", "matchmaking.rate is -1"),
            ("[matchmaking]\nrate = nan", "matchmaking.rate is NaN"),
            ("[matchmaking]\nrate = inf", "matchmaking.rate is inf"),
            ("[in-game]\nrate = 1", "unknown field `rate`"),
            ("[flaky]\nrate = 1\nafter = \"5\"", "\"5\" is not a duration"),
            ("[flaky]\nrate = 1\nafter = \"5s..1s\"", "shorter than the shortest"),
            ("[flaky]\nrate = 1\nafter = 5", "line 3"),
            ("[logout]\nrate = 1\n[in-game]\nno_show = 2", "in-game.no_show is 2"),
            ("[logout]\nrate = 1\n[ready-check]\ndeclines = 2", "ready-check.declines is 2"),
            ("[logout]\nrate = 1\n[ready-check]\nsilent = nan", "ready-check.silent is NaN"),
            ("[logout]\nrate = 1\n[in-game]\nping_every = \"0s\"", "ping_every"),
            ("[logout]\nrate = 1\n[in-game]\ngame = \"chess\"", "chess"),
        ] {
            let problem = ScenarioFile::parse(text).unwrap_err();
            assert!(problem.contains(named), "{text:?}: {problem}");
        }
    }

    #[test]
    fn unknown_names_and_missing_files_are_errors() {
        let error = ScenarioFile::load("evning").unwrap_err().to_string();
        assert!(error.contains("no scenario evning") && error.contains("evening"), "{error}");
        let error = ScenarioFile::load("./nowhere.toml").unwrap_err().to_string();
        assert!(error.contains("cannot read the scenario file ./nowhere.toml"), "{error}");
    }
}
