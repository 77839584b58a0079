//! The games' processes: their channels and their ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use matchmaker::{Exit, GameId, MatchId};
use mio::event::Source;
use mio::net::UnixStream;
use mio::unix::pipe;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use protocol::{CONTROL_LINE_MAX, FromGame, LineBuffer, ToGame};
use rustix::io::Errno;
use rustix::process::WaitOptions;
use serde_json::error::Category;

use crate::launcher::Process;
use crate::tokens;

/// What waits to be written to a game that does not read, in bytes.
const CONTROL_OUTPUT_MAX: usize = 2 * CONTROL_LINE_MAX;

/// A line of a game's output, in bytes; a longer one is cut.
const OUTPUT_LINE_MAX: usize = 1024;

/// All processes of games, found by game and by pid.
#[derive(Default)]
pub(crate) struct Games {
    processes: BTreeMap<GameId, Game>,
    by_pid: HashMap<i32, GameId>,
    /// Games with more to read than their share of a turn.
    ready: VecDeque<GameId>,
}

/// One game's process.
pub(crate) struct Game {
    pub(crate) pid: i32,
    /// What is played there, for the log.
    pub(crate) match_id: Option<MatchId>,
    /// How it ended, once it was reaped.
    pub(crate) exit: Option<Exit>,
    control: Option<UnixStream>,
    control_input: LineBuffer,
    control_output: BytesMut,
    output: Option<pipe::Receiver>,
    output_lines: LineBuffer,
    /// Whether what comes next is the rest of a line that was cut.
    output_is_cut: bool,
    output_rate: OutputRate,
    is_ready: bool,
}

/// What a game said on one of its channels.
pub(crate) enum Said {
    /// A message of the contract.
    Message(FromGame),
    /// Something that is not of the contract, described for the log.
    Garbage(String),
    /// A line of its output.
    Output(Bytes),
    /// Lines of its output that were too many for the log.
    Suppressed(u64),
}

/// A child that was reaped.
pub(crate) enum Reaped {
    /// A game's process.
    Game(GameId),
    /// A process that is not known as a game's, yet or at all.
    Other(i32, Exit),
}

impl Games {
    /// Takes in a process that was just made. A channel that cannot be watched is closed: the game will not be
    /// heard, and the brain ends it when its time to say so is over.
    pub(crate) fn insert(
        &mut self,
        id: GameId,
        process: Process,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) {
        let game = Game {
            pid: process.pid,
            match_id: None,
            exit: None,
            control: watched(id, tokens::control(id), registry, || {
                Ok(UnixStream::from_std(process.control))
            }),
            control_input: LineBuffer::new(CONTROL_LINE_MAX),
            control_output: BytesMut::new(),
            output: watched(id, tokens::output(id), registry, || {
                let output = pipe::Receiver::from(OwnedFd::from(process.output));
                output.set_nonblocking(true)?;
                Ok(output)
            }),
            output_lines: LineBuffer::new(OUTPUT_LINE_MAX),
            output_is_cut: false,
            output_rate: OutputRate::new(lines_per_second, now),
            is_ready: false,
        };
        self.by_pid.insert(process.pid, id);
        self.processes.insert(id, game);
    }

    pub(crate) fn get(&self, id: GameId) -> Option<&Game> {
        self.processes.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: GameId) -> Option<&mut Game> {
        self.processes.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: GameId) {
        self.processes.remove(&id);
    }

    /// Remembers a game whose turn was over before its channels were empty.
    pub(crate) fn set_ready(&mut self, id: GameId) {
        if let Some(game) = self.processes.get_mut(&id)
            && !std::mem::replace(&mut game.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    pub(crate) fn take_ready(&mut self) -> VecDeque<GameId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(game) = self.processes.get_mut(id) {
                game.is_ready = false;
            }
        }
        ready
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reaps the next child that has died, until there is none. One signal may stand for any number of them.
    ///
    /// What is left of a game's process group is killed at once. Its number cannot mean another group by now:
    /// the kernel gives it out again only when the group is empty and all other numbers had their turn.
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        // rustix, as nix takes a child that a real-time signal killed for an error.
        let (pid, status) = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(reaped) => break reaped?,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        };
        let pid = pid.as_raw_nonzero().get();
        let exit = match status.terminating_signal() {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Status(status.exit_status().unwrap_or_default()),
        };
        let id = self.by_pid.remove(&pid);
        Some(match id.and_then(|id| self.processes.get_mut(&id).map(|game| (id, game))) {
            Some((id, game)) => {
                game.exit = Some(exit);
                kill_group(pid);
                Reaped::Game(id)
            }
            None => Reaped::Other(pid, exit),
        })
    }

    /// Takes note that a game's process has died before the loop knew of it.
    pub(crate) fn note_early_exit(&mut self, id: GameId, exit: Exit) {
        if let Some(game) = self.processes.get_mut(&id) {
            self.by_pid.remove(&game.pid);
            kill_group(game.pid);
            game.exit = Some(exit);
        }
    }
}

impl Game {
    /// Reads what the game said on its control channel, its share of a turn. The flag says whether there may be
    /// more.
    pub(crate) fn read_control(&mut self, chunk: &mut [u8]) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let Some(control) = &mut self.control else { return (said, false) };
        match control.read(chunk) {
            // The game closed its end: it plays on, and has nothing more to say.
            Ok(0) => self.control = None,
            Ok(read) => self.control_input.extend(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (said, false),
            Err(_) => self.control = None,
        }
        loop {
            match self.control_input.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => match FromGame::parse(&line) {
                    Ok(message) => said.push(Said::Message(message)),
                    Err(error) => return self.end_of_trust(said, describe(&error, line.len())),
                },
                Err(error) => return self.end_of_trust(said, error.to_string()),
            }
        }
        (said, self.control.is_some())
    }

    /// What follows garbage is not even looked at.
    fn end_of_trust(&mut self, mut said: Vec<Said>, what: String) -> (Vec<Said>, bool) {
        self.control = None;
        said.push(Said::Garbage(what));
        (said, false)
    }

    /// Reads what the game printed, its share of a turn. The flag says whether there may be more.
    pub(crate) fn read_output(&mut self, chunk: &mut [u8], now: Instant) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let Some(output) = &mut self.output else { return (said, false) };
        match output.read(chunk) {
            Ok(0) => self.output = None,
            Ok(read) => self.output_lines.extend(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (said, false),
            Err(_) => self.output = None,
        }
        self.cut_output_lines(&mut said, now);
        (said, self.output.is_some())
    }

    fn cut_output_lines(&mut self, said: &mut Vec<Said>, now: Instant) {
        loop {
            let (line, is_cut) = match self.output_lines.next_line() {
                Ok(Some(line)) => (line, false),
                Ok(None) if self.output.is_none() && !self.output_lines.is_empty() => {
                    (self.output_lines.take_rest(), false)
                }
                Ok(None) => return,
                Err(_) => self.cut_long_line(),
            };
            // The rest of a line that was cut is no line.
            if std::mem::replace(&mut self.output_is_cut, is_cut) {
                continue;
            }
            let line = line.slice(..line.len().min(OUTPUT_LINE_MAX));
            match self.output_rate.take(now) {
                Ok(0) => said.push(Said::Output(line)),
                Ok(suppressed) => said.extend([Said::Suppressed(suppressed), Said::Output(line)]),
                Err(()) => {}
            }
        }
    }

    /// Takes a line that is too long: to its end, or all there is of it. The flag says that the end is to come.
    fn cut_long_line(&mut self) -> (Bytes, bool) {
        let mut line = self.output_lines.take_rest();
        let Some(end) = memchr::memchr(b'\n', &line) else { return (line, true) };
        self.output_lines.extend(&line[end + 1..]);
        line.truncate(end);
        (line, false)
    }

    /// Sends the game a message. `false`: the game does not read, or its channel is closed.
    pub(crate) fn tell(&mut self, message: &ToGame, registry: &Registry, id: GameId) -> bool {
        self.control_output.extend_from_slice(message.to_line().as_bytes());
        self.flush_control(registry, id) && self.control_output.len() <= CONTROL_OUTPUT_MAX
    }

    /// Writes what the control channel takes. `false`: the channel is closed.
    pub(crate) fn flush_control(&mut self, registry: &Registry, id: GameId) -> bool {
        while !self.control_output.is_empty() {
            let Some(control) = &mut self.control else { return false };
            match control.write(&self.control_output) {
                Ok(written) => self.control_output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    return registry.reregister(control, tokens::control(id), interest).is_ok();
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends a signal to the game's process and to its group, which the process may have left. Nothing happens
    /// once the process was reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.is_some() {
            return;
        }
        let pid = Pid::from_raw(self.pid);
        // ESRCH: nobody else is in the group, or nobody at all.
        let _ = killpg(pid, signal);
        if let Err(error) = kill(pid, signal) {
            log::error!("cannot send {signal} to process {pid}, a game: {error}");
        }
    }
}

/// Lets the poll watch a game's channel. `None`, with a word to the operator, where that fails.
fn watched<S: Source>(
    id: GameId,
    token: Token,
    registry: &Registry,
    open: impl FnOnce() -> io::Result<S>,
) -> Option<S> {
    let watch = || {
        let mut channel = open()?;
        registry.register(&mut channel, token, Interest::READABLE)?;
        Ok(channel)
    };
    let report = |error: io::Error| log::error!("cannot watch a channel of game {id}: {error}");
    watch().map_err(report).ok()
}

/// Says what is wrong with a control line, without a word of the line: it may hold a token.
fn describe(error: &serde_json::Error, length: usize) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            format!("a control line of {length} bytes is not JSON, at byte {}", error.column())
        }
        Category::Data => format!("a control line of {length} bytes is no message of the contract"),
    }
}

fn kill_group(pid: i32) {
    // ESRCH: nobody else was in the group.
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
}

/// How many lines of its output a game may put into the log: as many as fit a second, each second.
struct OutputRate {
    per_second: u32,
    left: u32,
    second_began: Instant,
    suppressed: u64,
}

impl OutputRate {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, left: per_second, second_began: now, suppressed: 0 }
    }

    /// Takes room for a line; with it comes how many went without before.
    fn take(&mut self, now: Instant) -> Result<u64, ()> {
        if now.saturating_duration_since(self.second_began).as_secs() >= 1 {
            (self.left, self.second_began) = (self.per_second, now);
        }
        if self.left == 0 {
            self.suppressed += 1;
            return Err(());
        }
        self.left -= 1;
        Ok(std::mem::take(&mut self.suppressed))
    }

    fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

impl Game {
    /// The lines that were suppressed and not told yet, at the game's end.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        self.output_rate.take_suppressed()
    }
}
