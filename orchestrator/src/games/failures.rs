//! Games that failed: how they are reported, and what is kept to show why a mode fails.

use std::time::Duration;

use brain::{Event, Exit, GameFault, GameId, ModeId};
use bytesize::ByteSize;
use launcher::Contract;
use nix::sys::signal::Signal;

use super::launcher::Remains;
use super::{GamePhases, Games};
use crate::config::{Config, Transport};
use crate::turn::Turn;
use crate::units::Span;

impl Games {
    /// Reports a game that failed, and keeps the reason for operators who ask about its mode.
    pub(crate) fn note_failure(&mut self, event: &Event, config: &Config, phases: &dyn GamePhases) {
        let Event::GameFailed { game, mode, fault, retry_in } = event else { return };
        let mut why = self.describe_failure(*game, *mode, fault, config, phases);
        if self.processes.get(*game).is_some_and(|process| process.is_port_taken) {
            why.push_str(PORT_TAKEN);
        }
        log::log!(
            // That a mode waits for an address was logged once.
            if lacks_address(config, *mode) { log::Level::Debug } else { log::Level::Warn },
            "game failed game={game} mode={}{}: {why}; next try {}",
            config.modes[mode.0].name,
            self.with_pid(*game),
            pause(*retry_in)
        );
        self.failures.insert(*mode, why);
    }

    /// The pid of a game's process for the log, where it has one.
    pub(crate) fn with_pid(&self, game: GameId) -> String {
        self.processes.get(game).map_or_else(String::new, |it| format!(" pid={}", it.pid))
    }

    /// The limit that a game's process ran into and died of, if one can be named: the key and its value.
    pub(crate) fn limit_hit(
        &self,
        id: GameId,
        exit: Exit,
        config: &Config,
        phases: &dyn GamePhases,
    ) -> Option<(&'static str, String)> {
        let game = self.processes.get(id)?;
        let ended = game.ended.as_ref()?;
        let program = self.records.get(id)?.program;
        let limits = &config.programs.get(program)?.run.confinement.limits;
        let bytes = |limit: Option<u64>| limit.map(|bytes| ByteSize(bytes).to_string());
        if game.is_directory_full && exit != Exit::Status(0) {
            return Some((DIRECTORY_MAX, bytes(limits.directory_max)?));
        }
        // A shell says of a child that a signal has killed 128 and the signal's number.
        let signal = match exit {
            Exit::Signal(signal) => signal,
            Exit::Status(status) => status.checked_sub(128).filter(|signal| *signal > 0)?,
            Exit::Unknown => return None,
        };
        let used = (ended.cpu_user + ended.cpu_system).as_secs_f64().round();
        let has_used_up = |seconds: &u64| used >= *seconds as f64;
        let cpu_time = limits.cpu_time_max.filter(has_used_up).map(|seconds| format!("{seconds}s"));
        // Where both bounds of the time are one, the kernel sends SIGKILL; setrlimit(2).
        let limit = match Signal::try_from(signal).ok()? {
            // A file that may be as large as the directory fills it.
            Signal::SIGXFSZ if limits.file_size_max == limits.directory_max => {
                (DIRECTORY_MAX, bytes(limits.directory_max)?)
            }
            Signal::SIGXFSZ => ("file_size_max", bytes(limits.file_size_max)?),
            Signal::SIGXCPU | Signal::SIGKILL if cpu_time.is_some() => ("cpu_time_max", cpu_time?),
            Signal::SIGKILL if game.is_out_of_memory => ("memory_max", bytes(limits.memory_max)?),
            _ => return None,
        };
        Some(limit).filter(|_| !phases.is_stopping(id) || signal != Signal::SIGKILL as i32)
    }

    /// Kills a game whose working directory holds too much: all games' directories are in one file system, which it
    /// would fill.
    pub(super) fn end_full(
        &mut self,
        id: GameId,
        (bytes, entries): (u64, u64),
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) {
        let Some(process) = self.processes.get_mut(id).filter(|it| it.ended.is_none()) else {
            return;
        };
        process.is_directory_full = true;
        let Some(record) = self.records.get(id) else { return };
        let limits = turn.config.programs.get(record.program);
        let limits = limits.map(|program| &program.run.confinement.limits);
        let max = limits.and_then(|limits| limits.directory_max).unwrap_or_default();
        log::warn!(
            "game killed game={id} mode={}{}: its directory holds {} in {entries} files, or more; the bounds are \
             confinement.directory_max = {}, one file for each 16 KiB of that, and half of the file system of {}",
            turn.config.modes[record.mode.0].name,
            self.with_pid(id),
            ByteSize(bytes),
            ByteSize(max),
            self.launcher.work_directory().display(),
        );
        self.kill(id, phases);
    }

    /// Reports processes that a game has left.
    pub(super) fn note_remains(
        &mut self,
        id: GameId,
        remains: Remains,
        turn: &Turn<'_>,
        phases: &dyn GamePhases,
    ) {
        let Some(process) = self.processes.get_mut(id) else { return };
        process.is_out_of_memory = remains.is_out_of_memory;
        process.is_directory_full |= remains.is_directory_full;
        process.is_port_taken = remains.is_port_taken;
        let Some(record) = self.records.get(id).filter(|_| remains.left > 0) else { return };
        let processes = match remains.left {
            1 => "1 process".to_owned(),
            left => format!("{left} processes"),
        };
        let mode = &turn.config.modes[record.mode.0].name;
        match phases.is_stopping(id) {
            true => log::info!(
                "game {id} had {processes} that did not end in its grace, killed mode={mode}"
            ),
            false => log::warn!(
                "game left {processes} behind, killed game={id} mode={mode}: its first process has ended; a server \
                 that daemonizes must stay in the foreground, and a start script must wait for it"
            ),
        }
    }

    /// Why a mode's games fail, if they keep failing.
    pub(crate) fn why_failing(&self, mode: ModeId, phases: &dyn GamePhases) -> Option<String> {
        self.failures.get(&mode).filter(|_| phases.is_failing(mode)).cloned()
    }

    /// Describes a failure, with the last lines of the game's output where they may explain it.
    fn describe_failure(
        &self,
        game: GameId,
        mode: ModeId,
        fault: &GameFault,
        config: &Config,
        phases: &dyn GamePhases,
    ) -> String {
        let last_lines = || {
            let lines = self.processes.get(game).map_or_else(Vec::new, |it| it.output.last_lines());
            let quoted = |line: &String| format!("\"{}\"", line.escape_debug());
            match lines.is_empty() {
                true => "it printed nothing".to_owned(),
                false => format!(
                    "last lines: {}",
                    lines.iter().map(quoted).collect::<Vec<_>>().join(" | ")
                ),
            }
        };
        let by = |exit: &Exit| match self.limit_hit(game, *exit, config, phases) {
            Some((key, value)) => format!(" (by confinement.{key} = {value})"),
            None => String::new(),
        };
        let program = self.program(config, game, mode);
        let ready_line = program.ready_line.as_ref();
        match (fault, ready_line) {
            (GameFault::NotReady | GameFault::NotStarted, Some(ready_line)) => {
                let within = Span(config.modes[mode.0].ready_timeout);
                let lines = last_lines();
                // What is written to a pipe is buffered in blocks, unless a program says otherwise; setbuf(3).
                let hint = if lines.starts_with("last") { "" } else { STDBUF };
                format!(
                    "no line matched ready_line \"{ready_line}\" within {within}; {lines}{hint}"
                )
            }
            (GameFault::Ended(exit), Some(ready_line)) => format!(
                "it ended with {exit}{} before a line matched ready_line \"{ready_line}\"; {}",
                by(exit),
                last_lines()
            ),
            (GameFault::Ended(exit), None) if program.run.contract == Contract::Muster => {
                format!("it {fault}{}; {}", by(exit), last_lines())
            }
            (GameFault::EndedSoon { exit, .. } | GameFault::Ended(exit), _) => {
                format!("it {fault}{}", by(exit))
            }
            _ => format!("it {fault}"),
        }
    }
}

fn pause(duration: Duration) -> String {
    if duration.is_zero() { "at once".into() } else { format!("in {}", Span(duration)) }
}

/// Whether the games of a mode cannot be launched because no address is known at which players reach them.
fn lacks_address(config: &Config, mode: ModeId) -> bool {
    config.program_of(mode).transport == Transport::Netcode
        && config.ports.public_addresses().is_empty()
}

/// The key of the bound for what a game's working directory holds.
const DIRECTORY_MAX: &str = "directory_max";

/// Advice for a program that buffers its output.
const STDBUF: &str =
    " (a program that buffers its output may need \"stdbuf\", \"-oL\" before its command)";

/// A possible cause if a game binds its port itself.
const PORT_TAKEN: &str = "; its port is taken by another program or, with TCP, by connections that are just over (TIME_WAIT), and rests";
