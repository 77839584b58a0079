//! The games' processes: found by game and by pid, signalled, and reaped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use brain::{Exit, GameId};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::sys::signal::Signal;
use process::{Ended, Pidfd};
use rustix::fs::{FileType, fstat};
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::games::control::{Control, SavedControl};
use crate::games::output::{Output, SavedOutput};
use crate::handoff::descriptors::{InheritedFds, StateError, take};
use crate::tokens;

/// All processes of games, found by game and by pid.
#[derive(Default)]
pub(crate) struct Processes {
    by_game: BTreeMap<GameId, Process>,
    by_pid: HashMap<i32, GameId>,
    /// Games with more to read than their share of a turn.
    ready: VecDeque<GameId>,
    /// Games that have begun a line, and when it is looked at although it is not finished: games that launch alone.
    pauses: BTreeMap<GameId, Instant>,
    /// Games that have said too much, and when they are heard again.
    resting: BTreeMap<GameId, Instant>,
}

/// One game's process.
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// The process itself, whoever has its number later. `None`: there was no descriptor left for it.
    process: Option<Pidfd>,
    /// Whether the process is this one's child. It is not where the daemon that made it has crashed.
    is_child: bool,
    /// How it ended, once it was reaped.
    pub(crate) ended: Option<Ended>,
    pub(crate) control: Control,
    pub(crate) output: Output,
    /// Whether the kernel has killed a process of it for want of memory; known at its end.
    pub(crate) is_out_of_memory: bool,
    /// Whether its working directory holds more than it may: it is killed for that, or may have failed by it.
    pub(crate) is_directory_full: bool,
    /// Whether something else holds its port; known at its end.
    pub(crate) is_port_taken: bool,
    is_ready: bool,
    /// Whether it has ended, and nobody saw how.
    is_end_unknown: bool,
}

/// A game's process, as a snapshot holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedProcess {
    game: GameId,
    pid: i32,
    /// Its pidfd, where it is no child of the daemon.
    process: Option<RawFd>,
    ended: Option<Ended>,
    is_end_unknown: bool,
    control: SavedControl,
    output: SavedOutput,
}

/// A process that the launcher just made, with the daemon's ends of its channels. A channel that is missing was lost for
/// want of descriptors, or the game has none.
#[derive(Debug)]
pub(crate) struct NewProcess {
    pub(crate) pid: i32,
    pub(crate) control: Option<UnixStream>,
    pub(crate) output: Option<PipeReader>,
}

/// A child that was reaped.
pub(crate) enum Reaped {
    /// A game's process.
    Game(GameId),
    /// A process that is not known as a game's, yet or at all.
    Other(Ended),
}

impl Processes {
    /// Adds a process that was just made. `false`: it is no child of the daemon, or another game's process, and the
    /// template that named it is not to be believed.
    pub(crate) fn insert(
        &mut self,
        id: GameId,
        new: NewProcess,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) -> bool {
        let NewProcess { pid, control, output } = new;
        if self.by_pid.contains_key(&pid) {
            return false;
        }
        let output = output.map(Into::into);
        let output =
            Output::new(output, tokens::output(id), registry, lines_per_second, now).on_screen();
        let process = Process {
            process: open_child(pid),
            is_child: true,
            is_ready: false,
            ..Process::new(pid, Control::new(id, control, registry), output, now)
        };
        self.by_pid.insert(pid, id);
        self.by_game.insert(id, process);
        true
    }

    /// The processes, for the program that takes over their channels.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> Vec<SavedProcess> {
        let save = |(id, process): (&GameId, &Process)| SavedProcess {
            game: *id,
            pid: process.pid,
            process: process.foreign().map(|pidfd| kept.keep(&pidfd.as_fd())),
            ended: process.ended,
            is_end_unknown: process.is_end_unknown,
            control: process.control.save(kept),
            output: process.output.save(kept),
        };
        self.by_game.iter().map(save).collect()
    }

    /// Takes over all processes. Each is read in the next turn: what it sent may be in a buffer already.
    ///
    /// # Errors
    /// When a channel is missing.
    pub(crate) fn restore(
        saved: Vec<SavedProcess>,
        registry: &Registry,
    ) -> Result<Self, StateError> {
        let mut all = Self::default();
        for saved in saved {
            let (id, pid) = (saved.game, saved.pid);
            let foreign = saved.process.map(|it| take(it, "a game's process")).transpose()?;
            let is_child = foreign.is_none();
            if let Some(process) = &foreign {
                watch(process, id, registry)?;
            }
            let pidfd = match foreign {
                Some(process) => Some(Pidfd::from_parts(process, pid)),
                None if saved.ended.is_none() => open_child(pid),
                None => None,
            };
            let control = Control::restore(saved.control, id, registry)?;
            let output = Output::restore(&saved.output, tokens::output(id), registry)?;
            let process = Process {
                process: pidfd,
                is_child,
                ended: saved.ended,
                is_end_unknown: saved.is_end_unknown,
                ..Process::new(pid, control, output, Instant::now())
            };
            if process.ended.is_none() && is_child {
                all.by_pid.insert(pid, id);
            }
            all.by_game.insert(id, process);
            all.ready.push_back(id);
        }
        Ok(all)
    }

    /// Adopts a game of a daemon that crashed, by the descriptors that were stored: its process and its channels.
    pub(crate) fn adopt(
        &mut self,
        id: GameId,
        pid: i32,
        stored: Vec<OwnedFd>,
        registry: &Registry,
        lines_per_second: u32,
    ) {
        let Stored { process, control, output } = Stored::of(stored);
        if let Some(process) = &process
            && let Err(error) = watch(process, id, registry)
        {
            log::error!("cannot watch game {id}: {error}");
        }
        let now = Instant::now();
        let control = Control::adopt(id, control.map(Into::into), registry);
        let output = Output::new(output, tokens::output(id), registry, lines_per_second, now);
        let process = Process {
            process: process.map(|process| Pidfd::from_parts(process, pid)),
            ..Process::new(pid, control, output.on_screen(), now)
        };
        self.by_game.insert(id, process);
        self.ready.push_back(id);
    }

    /// The poll told of the end of a game that is no child. Whether it is known how it ended, or never will be.
    pub(crate) fn note_foreign_end(&mut self, id: GameId, is_reaped: bool) -> bool {
        let Some(game) = self.by_game.get_mut(&id).filter(|game| game.ended.is_none()) else {
            return false;
        };
        let Some(process) = game.foreign() else { return false };
        let end = match process::exit_of(process.as_fd()) {
            // Its parent takes it in a moment later, and the poll tells of that, too.
            Ok(None) if !is_reaped => return false,
            Ok(end) => end,
            // A kernel that does not know of such ends need not tell of the other, either.
            Err(_) => None,
        };
        let (pid, zero) = (game.pid, Duration::ZERO);
        game.is_end_unknown = end.is_none();
        let end = end.unwrap_or(Ok(0));
        game.ended = Some(Ended { pid, end, cpu_user: zero, cpu_system: zero, memory_peak_kib: 0 });
        true
    }

    /// How many games there are whose processes were not reaped yet.
    pub(crate) fn living_count(&self) -> usize {
        self.by_game.values().filter(|game| game.ended.is_none()).count()
    }

    pub(crate) fn get(&self, id: GameId) -> Option<&Process> {
        self.by_game.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: GameId) -> Option<&mut Process> {
        self.by_game.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: GameId) {
        self.pauses.remove(&id);
        self.by_game.remove(&id);
        self.resting.remove(&id);
    }

    /// Remembers a game whose turn was over before its channels were empty.
    pub(crate) fn set_ready(&mut self, id: GameId) {
        if let Some(game) = self.by_game.get_mut(&id)
            && !std::mem::replace(&mut game.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// What a game printed was read, or looked at.
    pub(crate) fn note_printed(&mut self, id: GameId) {
        match self.by_game.get(&id).and_then(|game| game.output.pause_at()) {
            Some(at) => drop(self.pauses.insert(id, at)),
            None => drop(self.pauses.remove(&id)),
        }
    }

    /// When a line is to be looked at that is not finished.
    pub(crate) fn next_pause(&self) -> Option<Instant> {
        self.pauses.values().min().copied()
    }

    /// The games that have printed nothing for a while since they began a line.
    pub(crate) fn paused(&self, now: Instant) -> Vec<GameId> {
        let is_due = |(id, at): (&GameId, &Instant)| (*at <= now).then_some(*id);
        self.pauses.iter().filter_map(is_due).collect()
    }

    pub(crate) fn take_ready(&mut self) -> VecDeque<GameId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(game) = self.by_game.get_mut(id) {
                game.is_ready = false;
            }
        }
        ready
    }

    /// Reads no more of a game until then.
    pub(crate) fn set_resting(&mut self, id: GameId, until: Instant) {
        let earliest = self.resting.entry(id).or_insert(until);
        *earliest = until.min(*earliest);
    }

    /// When a game that has said too much is heard again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.resting.values().min().copied()
    }

    /// Hears those again whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        let due: Vec<GameId> =
            self.resting.extract_if(.., |_, until| *until <= now).map(|(id, _)| id).collect();
        due.into_iter().for_each(|id| self.set_ready(id));
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reaps the next child that has died, until there is none. One signal may stand for any number of them.
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        let ended = process::reap()?;
        let id = self.by_pid.remove(&ended.pid);
        Some(match id.and_then(|id| self.by_game.get_mut(&id).map(|game| (id, game))) {
            Some((id, game)) => {
                game.ended = Some(ended);
                Reaped::Game(id)
            }
            None => Reaped::Other(ended),
        })
    }

    /// Sends a game's process and its group a signal. `false`: the process has ended, and nobody will ever say how:
    /// somebody else has reaped it.
    pub(crate) fn signal(&mut self, id: GameId, signal: Signal) -> bool {
        let Some(game) = self.by_game.get_mut(&id) else { return true };
        // Of a process that is no child the poll tells.
        if game.signal(signal) || !game.is_child {
            return true;
        }
        let (pid, zero) = (game.pid, Duration::ZERO);
        log::error!("game {id} is gone, and its end was not heard of pid={pid}");
        let end = Ok(0);
        game.ended = Some(Ended { pid, end, cpu_user: zero, cpu_system: zero, memory_peak_kib: 0 });
        game.is_end_unknown = true;
        self.by_pid.remove(&pid);
        false
    }

    /// Asks a game's process group to end, and its process as well if that is not in it: each of them once. Whether the
    /// group was reached; before Linux 6.9 it is not where the process has ended or is no child.
    pub(crate) fn terminate(&mut self, id: GameId) -> bool {
        let Some(game) = self.by_game.get(&id) else { return false };
        let signal = Signal::SIGTERM;
        let reached = game.process.as_ref().map(|process| game.signal_group(process, signal));
        let has_heard = matches!(reached, Some(Ok(_)));
        if game.ended.is_none() && !(has_heard && leads_its_group(game.pid)) {
            game.signal_alone(signal);
        }
        has_heard
    }

    /// Takes note that a game's process has died before the loop knew of it.
    pub(crate) fn note_early_end(&mut self, id: GameId, ended: Ended) {
        if let Some(game) = self.by_game.get_mut(&id) {
            self.by_pid.remove(&game.pid);
            game.ended = Some(ended);
        }
    }
}

/// Whether a process is a child that was not reaped, by the kernel's word.
pub(crate) fn is_child(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    let only_ask = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), only_ask).is_ok()
}

/// What a descriptor of a game is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Process,
    Control,
    Output,
}

impl Kind {
    pub(crate) fn of(stored: &OwnedFd) -> Self {
        match fstat(stored).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Socket) => Self::Control,
            Ok(FileType::Fifo) => Self::Output,
            _ => Self::Process,
        }
    }
}

/// What is stored of a game.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) process: Option<OwnedFd>,
    control: Option<OwnedFd>,
    output: Option<OwnedFd>,
}

impl Stored {
    /// Tells a game's descriptors apart by what they are: they come back in no order.
    pub(crate) fn of(stored: Vec<OwnedFd>) -> Self {
        let mut parts = Self::default();
        for descriptor in stored {
            let part = match Kind::of(&descriptor) {
                Kind::Control => &mut parts.control,
                Kind::Output => &mut parts.output,
                Kind::Process => &mut parts.process,
            };
            *part = Some(descriptor);
        }
        parts
    }
}

/// How a process ended, in the brain's words.
pub(crate) fn exit_of(ended: &Ended) -> Exit {
    match ended.end {
        Ok(status) => Exit::Status(status),
        Err(signal) => Exit::Signal(signal),
    }
}

/// Has the poll tell of the end of a process that is no child; pidfd_open(2).
fn watch(process: &OwnedFd, id: GameId, registry: &Registry) -> io::Result<()> {
    let descriptor = process.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), tokens::process(id), Interest::READABLE)
}

impl Process {
    /// A process that is no child, has not ended, and may have sent something already.
    fn new(pid: i32, control: Control, output: Output, now: Instant) -> Self {
        Self {
            pid,
            process: None,
            is_child: false,
            ended: None,
            control,
            output: output.bounded(now),
            is_out_of_memory: false,
            is_directory_full: false,
            is_port_taken: false,
            is_ready: true,
            is_end_unknown: false,
        }
    }

    /// How it ended, in the brain's words; once it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let ended = self.ended.as_ref()?;
        Some(if self.is_end_unknown { Exit::Unknown } else { exit_of(ended) })
    }

    /// The process and its channels, to be stored. `None`: it has died, and is reaped in a moment.
    pub(crate) fn descriptors(&self) -> Option<Vec<BorrowedFd<'_>>> {
        let mut descriptors = vec![self.process.as_ref()?.as_fd()];
        descriptors.extend(self.control.descriptor());
        descriptors.extend(self.output.descriptor());
        Some(descriptors)
    }

    /// The process, if it is not this one's child.
    fn foreign(&self) -> Option<&Pidfd> {
        self.process.as_ref().filter(|_| !self.is_child)
    }

    /// Sends a signal to the game's process and to its group, which the process may have left. Nothing happens
    /// once the process was reaped. `false`: it is gone, although nobody here has reaped it.
    fn signal(&self, signal: Signal) -> bool {
        if self.ended.is_some() {
            return true;
        }
        // There may be a descriptor for it by now.
        let late = self.process.is_none().then(|| open_child(self.pid)).flatten();
        let Some(process) = self.process.as_ref().or(late.as_ref()) else {
            return !self.is_child || is_child(self.pid);
        };
        // What the group alone does not hear is not told: that nobody else is in it is the rule.
        let _ = self.signal_group(process, signal);
        process.signal(signal as i32).unwrap_or_else(|error| {
            log::error!("cannot send {signal} to process {}, a game: {error}", self.pid);
            true
        })
    }

    fn signal_alone(&self, signal: Signal) {
        let sent = match &self.process {
            Some(process) => process.signal(signal as i32),
            None => open_child(self.pid).map_or(Ok(false), |process| process.signal(signal as i32)),
        };
        if let Err(error) = sent {
            log::error!("cannot send {signal} to process {}, a game: {error}", self.pid);
        }
    }

    fn signal_group(&self, process: &Pidfd, signal: Signal) -> io::Result<bool> {
        match self.is_child && self.ended.is_none() {
            true => process.signal_group_of_child(signal as i32),
            false => process.signal_group(signal as i32),
        }
    }
}

/// Whether a process that was not reaped leads its process group, as it does unless it has joined another; getpgid(2).
fn leads_its_group(pid: i32) -> bool {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::unistd::getpgid(Some(pid)) == Ok(pid)
}

/// Holds on to a child that was not reaped. `None`, with a line in the log where it matters: there is no descriptor
/// left, or no such child any more.
fn open_child(pid: i32) -> Option<Pidfd> {
    if !is_child(pid) {
        return None;
    }
    let report = |error: &io::Error| {
        log::error!(
            "cannot hold on to process {pid}, a game: {error}; raise LimitNOFILE= or ulimit -n"
        );
    };
    // Only this thread reaps children, so that nobody else can have its number yet.
    Pidfd::open(pid).inspect_err(report).ok()
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    const GAME: GameId = GameId(7);

    /// What is stored of a game; for its process stands something that no kernel takes for one.
    fn stored() -> Vec<OwnedFd> {
        let process = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
        let (control, output) = (UnixStream::pair().unwrap().0, io::pipe().unwrap().0);
        vec![process, control.into(), output.into()]
    }

    fn adopted(stored: Vec<OwnedFd>) -> Processes {
        let poll = mio::Poll::new().unwrap();
        let mut games = Processes::default();
        games.adopt(GAME, i32::MAX, stored, poll.registry(), 0);
        games
    }

    /// systemd keeps descriptors in a set.
    #[test]
    fn what_was_stored_of_a_game_may_come_back_in_any_order() {
        for turns in 0..3 {
            for is_reversed in [false, true] {
                let mut stored = stored();
                let numbers = stored.iter().map(|it| it.as_raw_fd()).collect::<Vec<_>>();
                stored.rotate_left(turns);
                if is_reversed {
                    stored.reverse();
                }
                let games = adopted(stored);
                let game = games.get(GAME).unwrap();
                let found = [
                    game.process.as_ref().map(|it| it.as_fd().as_raw_fd()),
                    game.control.descriptor().map(|it| it.as_raw_fd()),
                    game.output.descriptor().map(|it| it.as_raw_fd()),
                ];
                assert_eq!(found.map(Option::unwrap).to_vec(), numbers);
            }
        }
        let games = adopted(stored().drain(..1).collect());
        let game = games.get(GAME).unwrap();
        assert!(
            game.process.is_some() && game.control.descriptor().is_none() && !game.output.is_open()
        );
    }

    #[test]
    fn where_the_kernel_cannot_say_how_a_game_ended_its_end_is_believed_at_once() {
        let mut games = adopted(stored());
        assert!(games.note_foreign_end(GAME, false));
        assert_eq!(games.get(GAME).unwrap().exit(), Some(Exit::Unknown));
        assert!(!games.note_foreign_end(GAME, true), "it ends once");
    }
}
