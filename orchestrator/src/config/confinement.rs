//! The confinement of a mode's games, from the keys of the mode and those for all modes.

use std::path::PathBuf;

use bytesize::ByteSize;
use launcher::{Confinement, Limits, Profile, User};

use super::ConfigError;
use super::check::Checker;
use super::raw::{self, Key};

/// No limit.
const UNLIMITED: &str = "unlimited";

const MEMORY_MAX: u64 = 1 << 30;
const FILES_MAX: u64 = 1_024;
const FILE_SIZE_MAX: u64 = 1 << 30;
const DIRECTORY_MAX: u64 = 1 << 30;
const PROCESSES_MAX: u64 = 256;

/// The highest limit on open files; the system's own may be lower.
const FILES_CEILING: u64 = 1 << 20;

impl Checker<'_> {
    /// A mode's confinement: its own keys take precedence over those for all modes, and those over the defaults.
    /// `longest` is the longest time of a game, in seconds; `is_ours` says that its program is a reference game.
    pub(super) fn confinement(
        &self,
        mode: &raw::Confinement,
        all: &raw::Confinement,
        longest: u64,
        is_ours: bool,
    ) -> Result<Confinement, ConfigError> {
        let flag = |mode: &Key<bool>, all: &Key<bool>, default: bool| {
            mode.as_ref().or(all.as_ref()).map_or(default, |it| *it.get_ref())
        };
        let on = flag(&mode.enabled, &all.enabled, true);
        let wall = |key: &str, word: &str, mode: &Key<raw::Wall>, all: &Key<raw::Wall>| {
            self.wall(key, word, mode.as_ref().or(all.as_ref()), on)
        };
        let paths = |mode: &Key<Vec<PathBuf>>, all: &Key<Vec<PathBuf>>, key: &str| {
            self.paths(key, mode.as_ref().or(all.as_ref()))
        };
        let confinement = Confinement {
            user: self.user(mode.user.as_ref().or(all.user.as_ref()), on)?,
            no_new_privileges: flag(&mode.no_new_privileges, &all.no_new_privileges, on),
            network: wall("network", "none", &mode.network, &all.network)?,
            ipc: wall("ipc", "private", &mode.ipc, &all.ipc)?,
            mount: wall("mount", "private", &mode.mount, &all.mount)?,
            landlock: flag(&mode.landlock, &all.landlock, on),
            seccomp: self.profile(mode, all, on, is_ours)?,
            cgroup: flag(&mode.cgroup, &all.cgroup, on),
            read: paths(&mode.read, &all.read, "confinement.read")?,
            write: paths(&mode.write, &all.write, "confinement.write")?,
            limits: self.limits_of_games(mode, all, on, longest)?,
        };
        self.promise_is_kept(mode, all, &confinement)?;
        Ok(confinement)
    }

    /// Whether a layer is on: by a word, by `"host"`, or by the older `true` and `false`.
    fn wall(
        &self,
        key: &str,
        up: &str,
        value: Option<&toml::Spanned<raw::Wall>>,
        default: bool,
    ) -> Result<bool, ConfigError> {
        let Some(value) = value else { return Ok(default) };
        match value.get_ref() {
            raw::Wall::Flag(is_up) => Ok(*is_up),
            raw::Wall::Word(word) if word == up => Ok(true),
            raw::Wall::Word(word) if word == "host" => Ok(false),
            raw::Wall::Word(word) => {
                let problem = format!("must be \"{up}\" or \"host\", is \"{word}\"");
                Err(self.wrong(&format!("confinement.{key}"), value, problem))
            }
        }
    }

    /// The user of games: one of their own, Muster's, or one of the system's.
    fn user(
        &self,
        value: Option<&toml::Spanned<raw::User>>,
        default: bool,
    ) -> Result<User, ConfigError> {
        let flag = |is_own| if is_own { User::Own } else { User::Muster };
        let Some(value) = value else { return Ok(flag(default)) };
        let found = match value.get_ref() {
            raw::User::Flag(is_own) => return Ok(flag(*is_own)),
            raw::User::Name(name) => nix::unistd::User::from_name(name),
            raw::User::Number(number) => {
                let Some(number) = u32::try_from(*number).ok().filter(|id| *id != u32::MAX) else {
                    let problem = format!("must be a user by name or number, is {number}");
                    return Err(self.wrong("confinement.user", value, problem));
                };
                let named = nix::unistd::User::from_uid(number.into());
                // A user without a name has a group of the same number, as games with users of their own do.
                let unnamed = User::Named { user: number, group: number };
                return Ok(named.ok().flatten().map_or(unnamed, |it| named_user(&it)));
            }
        };
        match found {
            Ok(Some(user)) => Ok(named_user(&user)),
            Ok(None) => {
                let problem = "there is no such user on this machine; useradd --system makes one";
                Err(self.wrong("confinement.user", value, problem))
            }
            Err(error) => {
                let problem = format!("cannot look this user up: {error}");
                Err(self.wrong("confinement.user", value, problem))
            }
        }
    }

    /// Landlock and seccomp require no_new_privileges; landlock_restrict_self(2), seccomp(2).
    fn promise_is_kept(
        &self,
        mode: &raw::Confinement,
        all: &raw::Confinement,
        confinement: &Confinement,
    ) -> Result<(), ConfigError> {
        let needs_it = confinement.landlock || confinement.seccomp != Profile::Off;
        let key = mode.no_new_privileges.as_ref().or(all.no_new_privileges.as_ref());
        match key.filter(|_| needs_it && !confinement.no_new_privileges) {
            None => Ok(()),
            Some(key) => {
                let problem = "can be off only with landlock = false and seccomp = \"off\"";
                Err(self.wrong("confinement.no_new_privileges", key, problem))
            }
        }
    }

    fn profile(
        &self,
        mode: &raw::Confinement,
        all: &raw::Confinement,
        on: bool,
        is_ours: bool,
    ) -> Result<Profile, ConfigError> {
        let Some(word) = mode.seccomp.as_ref().or(all.seccomp.as_ref()) else {
            return Ok(match (on, is_ours) {
                (false, _) => Profile::Off,
                (true, true) => Profile::Strict,
                (true, false) => Profile::Default,
            });
        };
        match word.get_ref().as_str() {
            "strict" => Ok(Profile::Strict),
            "default" => Ok(Profile::Default),
            "off" => Ok(Profile::Off),
            other => {
                let problem = format!("must be \"strict\", \"default\" or \"off\", is \"{other}\"");
                self.note(self.wrong("confinement.seccomp", word, problem));
                Ok(Profile::Default)
            }
        }
    }

    fn limits_of_games(
        &self,
        mode: &raw::Confinement,
        all: &raw::Confinement,
        on: bool,
        longest: u64,
    ) -> Result<Limits, ConfigError> {
        let default = |value: u64| on.then_some(value);
        let count = |key: &str, mode: &Key<raw::Amount>, all: &Key<raw::Amount>, value| {
            self.amount(key, mode.as_ref().or(all.as_ref()), value, |text| text.parse().ok())
        };
        let bytes = |key: &str, mode: &Key<raw::Amount>, all: &Key<raw::Amount>, value| {
            let parse = |text: &str| Some(text.parse::<ByteSize>().ok()?.as_u64());
            self.amount(key, mode.as_ref().or(all.as_ref()), value, parse)
        };
        let seconds = |text: &str| Some(humantime::parse_duration(text).ok()?.as_secs().max(1));
        let per_cent = |text: &str| text.trim_end_matches('%').parse().ok();
        // All that its threads can use while it runs, and as much again before that. A part of a second counts as a
        // whole one, as the kernel takes zero for no time at all.
        let processors = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
        let cpu_time = default((longest + 1).saturating_mul(processors).saturating_mul(2));
        let files_max =
            count("confinement.files_max", &mode.files_max, &all.files_max, Some(FILES_MAX))?;
        let cpu_time_max = mode.cpu_time_max.as_ref().or(all.cpu_time_max.as_ref());
        let cpu_max = mode.cpu_max.as_ref().or(all.cpu_max.as_ref());
        let directory_max = bytes(
            "confinement.directory_max",
            &mode.directory_max,
            &all.directory_max,
            default(DIRECTORY_MAX),
        )?;
        // By default no file is larger than the directory of a game may be.
        let file_size_max =
            default(directory_max.map_or(FILE_SIZE_MAX, |max| max.min(FILE_SIZE_MAX)));
        Ok(Limits {
            memory_max: bytes(
                "confinement.memory_max",
                &mode.memory_max,
                &all.memory_max,
                default(MEMORY_MAX),
            )?,
            cpu_time_max: self.amount(
                "confinement.cpu_time_max",
                cpu_time_max,
                cpu_time,
                seconds,
            )?,
            cpu_max: self.amount("confinement.cpu_max", cpu_max, None, per_cent)?,
            files_max: files_max.unwrap_or(FILES_CEILING).clamp(8, FILES_CEILING),
            file_size_max: bytes(
                "confinement.file_size_max",
                &mode.file_size_max,
                &all.file_size_max,
                file_size_max,
            )?,
            directory_max,
            processes_max: count(
                "confinement.processes_max",
                &mode.processes_max,
                &all.processes_max,
                default(PROCESSES_MAX),
            )?,
        })
    }

    /// A limit: a number, a text that `parse` understands, or none at all.
    fn amount(
        &self,
        key: &str,
        value: Option<&toml::Spanned<raw::Amount>>,
        default: Option<u64>,
        parse: impl FnOnce(&str) -> Option<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = value else { return Ok(default) };
        let amount = match value.get_ref() {
            raw::Amount::Text(text) if text == UNLIMITED => return Ok(None),
            raw::Amount::Text(text) => parse(text),
            raw::Amount::Number(number) => u64::try_from(*number).ok(),
        };
        let amount = amount.filter(|amount| *amount > 0).map(Some).ok_or_else(|| {
            let problem = "must be over zero, with its unit if it has one (\"512MiB\", \"30s\", \"150%\"), or \"unlimited\"";
            self.wrong(key, value, problem)
        });
        Ok(self.kept(amount).unwrap_or(default))
    }

    fn paths(
        &self,
        key: &str,
        value: Option<&toml::Spanned<Vec<PathBuf>>>,
    ) -> Result<Vec<PathBuf>, ConfigError> {
        let Some(value) = value else { return Ok(Vec::new()) };
        match value.get_ref().iter().find(|path| !path.is_absolute()) {
            None => Ok(value.get_ref().clone()),
            Some(path) => {
                let problem = format!("must be absolute paths, is \"{}\"", path.display());
                self.note(self.wrong(key, value, problem));
                Ok(Vec::new())
            }
        }
    }
}

/// The layers that are off, by the names of their keys.
pub(super) fn left_out(confinement: &Confinement) -> Vec<&'static str> {
    let layers = [
        ("user", confinement.user != User::Muster),
        ("no_new_privileges", confinement.no_new_privileges),
        ("network", confinement.network),
        ("ipc", confinement.ipc),
        ("mount", confinement.mount),
        ("landlock", confinement.landlock),
        ("seccomp", confinement.seccomp != Profile::Off),
        ("cgroup", confinement.cgroup),
    ];
    layers.into_iter().filter_map(|(name, is_up)| (!is_up).then_some(name)).collect()
}

fn named_user(user: &nix::unistd::User) -> User {
    User::Named { user: user.uid.as_raw(), group: user.gid.as_raw() }
}
