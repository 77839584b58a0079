//! Restart without a gap: what the daemon is, written down so that another process can go on in its place.
//!
//! The brain is pure, so what it is can be written down whole; the body adds the descriptors that it holds and
//! what it has half read or not sent yet. At an upgrade in place the same process executes another program: its
//! pid, its children and its descriptors stay, and the [`State`] tells the new program what they are. Before that
//! the new program reads a copy of the state as a child, and says whether it can go on with it: [`preflight`].
//! Then [`exec`] is the point of no return.
//!
//! The state is JSON: a version may leave out what it does not know, and has defaults for what it does not find.
//! Nobody is answered while it is written and read. So the brain is an object of its own behind the other, and two
//! threads write and read them side by side.

use std::os::fd::RawFd;
use std::{panic, thread};

use matchmaker::Matchmaker;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::descriptors::{FORMAT, StateError};
use super::journal;
use crate::clock::Instant;
use crate::config::{Config, Places};
use crate::games::{keys, launcher, processes, reports, templates};
use crate::lookup::Resolved;
use crate::operators::socket;
use crate::players::connections;

/// All that another process needs to go on, but for the brain.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// Who wrote it, for the log.
    pub(crate) version: String,
    /// When it was written: the gap begins.
    pub(crate) written: Instant,
    /// The brain's time zero.
    pub(crate) started: Instant,
    /// `None`: those of the configuration.
    #[serde(default)]
    pub(crate) places: Option<Places>,
    /// `None`: its address could not be had yet.
    #[serde(default)]
    pub(crate) listener: Option<RawFd>,
    pub(crate) admin: Option<socket::Saved>,
    pub(crate) clients: connections::Saved,
    pub(crate) games: Vec<processes::Saved>,
    pub(crate) doors: keys::Saved,
    pub(crate) launcher: launcher::Saved,
    pub(crate) templates: templates::Saved,
    pub(crate) reports: reports::Saved,
    #[serde(default)]
    pub(crate) stop_was_asked: bool,
    /// Upgrades before this one.
    #[serde(default)]
    pub(crate) upgrades: u64,
    #[serde(default)]
    pub(crate) journal: Option<journal::Saved>,
    /// The addresses of the public name.
    #[serde(default)]
    pub(crate) resolved: Option<Resolved>,
    /// The operator who asked for this upgrade.
    #[serde(default)]
    pub(crate) asked_by: Option<socket::PendingReply>,
}

/// Just enough of a state to see whether the rest can be read.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) format: u32,
}

/// The brain's half of a state.
#[derive(Serialize, Deserialize)]
pub(super) struct Mind<B> {
    pub(super) brain: B,
}

/// What a brain's object begins with where it stands behind the rest: no text in JSON holds such an end of a line.
const BRAIN: &str = "\n{\"brain\":";

/// The text of a state, in its two halves. Where there is one object, it is both.
#[derive(Clone, Copy)]
pub(crate) struct Halves<'a> {
    rest: &'a str,
    brain: &'a str,
}

impl<'a> Halves<'a> {
    /// # Errors
    /// [`StateError`] when it is no text.
    pub(crate) fn of(state: &'a [u8]) -> Result<Self, StateError> {
        let text =
            str::from_utf8(state).map_err(<serde_json::Error as serde::de::Error>::custom)?;
        let (rest, brain) = match memmem::find(state, BRAIN.as_bytes()) {
            Some(at) => text.split_at(at),
            None => (text, text),
        };
        Ok(Self { rest, brain })
    }
}

impl State {
    /// Reads a state without its brain.
    ///
    /// # Errors
    /// [`StateError`] when it is none, or of a later format.
    pub(crate) fn read(halves: Halves<'_>) -> Result<Self, StateError> {
        let read = serde_json::from_str::<Self>(halves.rest);
        // The rest of another format may be beyond understanding.
        let format = match &read {
            Ok(state) => state.format,
            Err(_) => serde_json::from_str::<Head>(halves.rest)?.format,
        };
        if format > FORMAT {
            return Err(StateError::Format(format));
        }
        Ok(read?)
    }

    /// Fits the brain that goes with this and the configuration to each other.
    ///
    /// # Errors
    /// [`StateError`] when the configuration changes what cannot be changed.
    pub(crate) fn fit(
        &self,
        brain: &mut Matchmaker,
        config: &mut Config,
    ) -> Result<(), StateError> {
        if self.started + brain.now() > Instant::now() {
            return Err(StateError::Future);
        }
        if let Some(places) = &self.places {
            config.keep_places(places).map_err(StateError::Places)?;
        }
        let fitted = brain.reconfigure(config.for_brain());
        fitted.map_err(|unchangeable| StateError::Config(unchangeable.0))
    }
}

/// Reads the brain of a state.
///
/// # Errors
/// [`StateError`] when there is none.
pub(crate) fn read_brain(halves: Halves<'_>) -> Result<Matchmaker, StateError> {
    let mind: Mind<Matchmaker> = serde_json::from_str(halves.brain)?;
    Ok(mind.brain)
}

/// Reads a state to try it out: a brain that is thrown away takes its next step, and what it trips over, it trips over
/// here.
///
/// # Errors
/// [`StateError`] when it cannot be gone on with.
pub(crate) fn try_out(text: &[u8], mut config: Config) -> Result<(), StateError> {
    let halves = Halves::of(text)?;
    let (state, mut brain) = (State::read(halves)?, read_brain(halves)?);
    state.fit(&mut brain, &mut config)?;
    let now = Instant::now().saturating_duration_since(state.started);
    brain.handle_timeout(now);
    while brain.poll_action().is_some() {}
    Ok(())
}

/// Does two things at once, the first in a thread of its own if there is one to be had. The second should be the longer.
pub(crate) fn side_by_side<A: Send, B>(
    first: impl Fn() -> A + Sync,
    second: impl FnOnce() -> B,
) -> (A, B) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("aside".into()).spawn_scoped(scope, &first);
        let second = second();
        let first = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            Err(_) => first(),
        };
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use matchmaker::ModeId;
    use serde_json::{Value, json};

    use super::super::exec;
    use super::*;
    use crate::clock::NOT_YET;

    /// A state as version 0.1.0 wrote it: two players in a game, one who waits for two others, a half-read line.
    /// Written by hand-off to a program that kept it; never to be changed, as the versions out there are not.
    const GOLDEN: &str = include_str!("golden/state-1.json");

    const CONFIG: &str = r#"
[ports]
range = "30200-30203"
[[mode]]
name = "duel"
command = ["muster-game", "tictactoe"]
warm = 1
[[mode]]
name = "trio"
players = 3
command = ["muster-game", "echo"]
warm = 0
"#;

    fn config(text: &str) -> Config {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::from_file(file.path()).unwrap()
    }

    fn read(state: &Value) -> Result<(State, Matchmaker), StateError> {
        read_with(&state.to_string(), CONFIG)
    }

    fn read_with(text: &str, with: &str) -> Result<(State, Matchmaker), StateError> {
        let halves = Halves::of(text.as_bytes())?;
        let (state, mut brain) = (State::read(halves)?, read_brain(halves)?);
        state.fit(&mut brain, &mut config(with))?;
        Ok((state, brain))
    }

    /// The golden state, as if it had been written a second ago on this machine.
    fn golden() -> Value {
        let mut state: Value = serde_json::from_str(GOLDEN).unwrap();
        let (started, written) = (seconds(&state["started"]), seconds(&state["written"]));
        let now = seconds(&serde_json::to_value(Instant::now()).unwrap());
        shift(&mut state, started, now - 1 - written);
        state
    }

    /// The seconds of a time, in either form.
    fn seconds(time: &Value) -> i64 {
        time.get("secs").or_else(|| time.get(0)).unwrap().as_i64().unwrap()
    }

    /// Moves all times from `start` on. The brain's own count from its start, and are far less.
    fn shift(state: &mut Value, start: i64, by: i64) {
        match state {
            Value::Object(members) => {
                if let Some(secs) = members.get_mut("secs")
                    && secs.as_i64().is_some_and(|secs| secs >= start)
                {
                    *secs = json!(secs.as_i64().unwrap() + by);
                }
                members.values_mut().for_each(|member| shift(member, start, by));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| shift(item, start, by)),
            _ => {}
        }
    }

    #[test]
    fn a_state_of_the_first_version_is_read() {
        let (_, brain) = read(&golden()).unwrap();
        let waiting = [0, 1].map(|mode| brain.mode_status(ModeId(mode)).waiting);
        assert_eq!(waiting, [0, 1]);
        assert_eq!(brain.totals().assigned, 2);
        assert_eq!(brain.games().filter(|(_, has_process)| *has_process).count(), 2);
        brain.check_invariants().unwrap();
        try_out(golden().to_string().as_bytes(), config(CONFIG)).unwrap();
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (state, brain) = read(&golden()).unwrap();
        let mut text = Vec::new();
        io::copy(&mut exec::write_down(&state, &brain).unwrap(), &mut text).unwrap();
        let (again, brain_again) = read_with(str::from_utf8(&text).unwrap(), CONFIG).unwrap();
        let written = |it: &dyn Fn() -> serde_json::Result<Value>| it().unwrap();
        assert_eq!(
            written(&|| serde_json::to_value(&again)),
            written(&|| serde_json::to_value(&state))
        );
        assert_eq!(
            written(&|| serde_json::to_value(&brain_again)),
            written(&|| serde_json::to_value(&brain))
        );
        try_out(&text, config(CONFIG)).unwrap();
    }

    /// What the next version adds is nothing to this one, and what it adds has a default when it reads this.
    #[test]
    fn unknown_fields_are_ignored_and_new_ones_have_defaults() {
        let mut state = golden();
        state["of_tomorrow"] = json!({"deep": [1]});
        state["brain"]["of_tomorrow"] = json!(1);
        state["clients"]["clients"][0]["client"]["of_tomorrow"] = json!("x");
        state["games"][0]["of_tomorrow"] = json!(null);
        let members = state.as_object_mut().unwrap();
        for later in ["stop_was_asked", "upgrades", "journal", "asked_by"] {
            assert!(members.remove(later).is_some(), "{later}");
        }
        let (read, _) = read(&state).unwrap();
        assert!(!read.stop_was_asked && read.upgrades == 0 && read.journal.is_none());
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_refused_with_the_reason() {
        let mut later = golden();
        later["format"] = json!(FORMAT + 1);
        // Its brain may be beyond understanding, and it is still the format that is told.
        later["brain"] = json!("another one");
        let reason = |state| read(state).map(drop).unwrap_err().to_string();
        assert_eq!(reason(&later), "the state has format 2, and this version reads 1");
        let mut odd = golden();
        odd["brain"]["ports"]["free"] = json!(["no port"]);
        assert!(reason(&odd).contains("not understood"), "{}", reason(&odd));
        let other = CONFIG.replace("30203", "30204");
        let state = golden().to_string();
        let refused = read_with(&state, &other).map(drop).unwrap_err().to_string();
        assert!(refused.contains("the ring of ports"), "{refused}");
        for text in ["", "{", "[]", "nonsense"] {
            assert!(try_out(text.as_bytes(), config(CONFIG)).is_err(), "{text}");
        }
    }

    /// Written before the last boot, or on another machine: each time is looked at.
    #[test]
    fn a_state_of_a_time_to_come_is_refused() {
        let hour = 3600;
        let mut later = golden();
        let start = seconds(&later["started"]);
        shift(&mut later, start, hour);
        let mut brain = golden();
        brain["brain"]["now"]["secs"] = json!(hour);
        let one_of = |path: &str| {
            let mut state = golden();
            let time = state.pointer_mut(path).unwrap_or_else(|| panic!("no {path}"));
            time["secs"] = json!(seconds(time) + hour);
            state
        };
        let times = [
            "/started",
            "/written",
            "/clients/clients/0/client/times/quiet_since",
            "/reports/drafts/1/ordered",
        ];
        for state in times.map(one_of).into_iter().chain([later, brain]) {
            let refused = try_out(state.to_string().as_bytes(), config(CONFIG));
            let reason = refused.unwrap_err().to_string();
            assert!(reason.contains(NOT_YET), "{reason}");
        }
    }
}
