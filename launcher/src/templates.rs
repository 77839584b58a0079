//! Templates: programs that start once, load what they need, and fork a game for each match.
//!
//! A mode has one template that serves, and at times a second one that is loading and will replace it. Requests are
//! sent one at a time and answered at once, so that no fork is ever pending without the launcher's knowledge; a
//! template that does not answer is killed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use process::Pidfd;
use protocol::{FromTemplate, ToTemplate};

use crate::confine::{Group, Identity};
use crate::directories::{Directories, game_directory};
use crate::limits::{FORK_TIMEOUT, REASON_MAX};
use crate::spawner::{Channels, Endpoints, LaunchRequest, NewGame, NewTemplate, Spawner};
use crate::wire::{Channel, Fault};

/// All templates, by program.
#[derive(Default)]
pub(crate) struct Templates {
    by_program: BTreeMap<usize, Slot>,
    next_number: u64,
}

/// The templates of one program, and the requests that wait for them.
#[derive(Default)]
struct Slot {
    serving: Option<Template>,
    loading: Option<Template>,
    waiting: VecDeque<LaunchRequest>,
    /// Whether what the loading template reads may have changed since it started.
    is_stale: bool,
}

/// A template's process. It is killed on drop: between two requests it has nothing to lose.
struct Template {
    pid: i32,
    process: Option<Pidfd>,
    channel: Channel,
    directory: PathBuf,
    identity: Option<Identity>,
    _group: Option<Group>,
    due: Instant,
    forked: u64,
}

/// An event of a template.
pub(crate) enum Outcome {
    /// A template started; with its log.
    Started { program: usize, pid: i32, output: PipeReader },
    /// A template ended.
    Ended { pid: i32, directory: PathBuf },
    /// A request was answered.
    Answered { request: LaunchRequest, directory: PathBuf, result: Result<NewGame, Fault> },
}

impl Templates {
    /// Handles a request for a game.
    pub(crate) fn request(
        &mut self,
        request: LaunchRequest,
        spawner: &mut Spawner,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        let program = request.program;
        self.by_program.entry(program).or_default().waiting.push_back(request);
        // A dead template must not be asked, which would count as the game's failure.
        self.receive(program, &spawner.program(program).mode, outcomes);
        self.settle(program, spawner, directories, outcomes);
    }

    /// Ends the templates of programs that are not in use any more.
    pub(crate) fn retire_all_but(
        &mut self,
        in_use: &BTreeMap<usize, Duration>,
        outcomes: &mut Vec<Outcome>,
    ) {
        self.by_program.retain(|program, slot| {
            let is_used = in_use.contains_key(program);
            if !is_used {
                end(slot.serving.take(), outcomes);
                end(slot.loading.take(), outcomes);
                let fault = Fault::Other("its mode was removed".into());
                refuse_all(&mut slot.waiting, &fault, outcomes);
            }
            is_used
        });
    }

    /// Restarts all templates. Those that serve continue until the new ones are ready.
    pub(crate) fn renew(
        &mut self,
        spawner: &mut Spawner,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        for program in self.by_program.keys().copied().collect::<Vec<_>>() {
            if let Some(slot) = self.by_program.get_mut(&program) {
                slot.is_stale = slot.loading.is_some();
            }
            self.start(program, spawner, directories, outcomes);
        }
    }

    /// The channels to poll.
    pub(crate) fn channels(&self) -> Vec<BorrowedFd<'_>> {
        self.all().map(|template| template.channel.as_fd()).collect()
    }

    /// When a loading template must be ready.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_program.values().filter_map(|slot| slot.loading.as_ref()).map(|it| it.due).min()
    }

    /// Receives the messages of templates and handles their deadlines.
    pub(crate) fn poll(
        &mut self,
        spawner: &mut Spawner,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        for program in self.by_program.keys().copied().collect::<Vec<_>>() {
            self.receive(program, &spawner.program(program).mode, outcomes);
            self.settle(program, spawner, directories, outcomes);
            // A template that started too early for a renewal serves until it is replaced.
            let slot = self.by_program.get_mut(&program).filter(|slot| slot.loading.is_none());
            if slot.is_some_and(|slot| std::mem::take(&mut slot.is_stale)) {
                self.start(program, spawner, directories, outcomes);
            }
        }
    }

    /// A template named a process that is not its own: it is not asked again.
    pub(crate) fn discard(&mut self, program: usize, outcomes: &mut Vec<Outcome>) {
        if let Some(slot) = self.by_program.get_mut(&program) {
            end(slot.serving.take(), outcomes);
        }
    }

    /// Ends all templates.
    pub(crate) fn end(&mut self) {
        self.by_program.clear();
    }

    fn all(&self) -> impl Iterator<Item = &Template> {
        self.by_program.values().flat_map(|slot| slot.serving.iter().chain(&slot.loading))
    }

    /// Receives the messages of a program's templates: a loaded one takes over; one that has ended, violated
    /// the contract or is late is ended.
    fn receive(&mut self, program: usize, mode: &str, outcomes: &mut Vec<Outcome>) {
        let Some(slot) = self.by_program.get_mut(&program) else { return };
        if slot.serving.as_mut().is_some_and(|serving| serving.has_spoken_or_ended()) {
            log::warn!("template ended or sent a message unasked mode={mode}");
            end(slot.serving.take(), outcomes);
        }
        let Some(loading) = &mut slot.loading else { return };
        let problem = match loading.channel.receive::<FromTemplate>() {
            Ok(Some((FromTemplate::Ready, _))) => {
                log::debug!("template ready mode={mode} pid={}", loading.pid);
                if loading.is_traceable() {
                    log::warn!(
                        "the template of mode {mode} can be traced by its own games, and they by each other; it \
                                             should call prctl(PR_SET_DUMPABLE, 0) before it sends ready"
                    );
                }
                end(slot.serving.take(), outcomes);
                slot.serving = slot.loading.take();
                return;
            }
            Ok(Some(_)) => "it sent a message before it was ready",
            Ok(None) => "it ended",
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() < loading.due {
                    return;
                }
                "it did not say ready in time"
            }
            Err(_) => "its message violates the contract",
        };
        end(slot.loading.take(), outcomes);
        if slot.serving.is_none() {
            let fault = Fault::Other(format!("its template failed: {problem}"));
            refuse_all(&mut slot.waiting, &fault, outcomes);
        } else {
            log::warn!("the new template of mode {mode} failed, the old one continues: {problem}");
        }
    }

    /// Serves waiting requests, and starts a template if none serves.
    fn settle(
        &mut self,
        program: usize,
        spawner: &mut Spawner,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        loop {
            let Some(slot) = self.by_program.get_mut(&program) else { return };
            if slot.waiting.is_empty() {
                return;
            }
            let Some(serving) = &mut slot.serving else {
                return self.start(program, spawner, directories, outcomes);
            };
            let Some(request) = slot.waiting.pop_front() else { return };
            let directory = game_directory(&spawner.setup.directory, request.game, Some(program));
            let (result, survives) = serving.fork(&request, spawner, directories, &directory);
            outcomes.push(Outcome::Answered { request, directory, result });
            let forked = serving.forked;
            if !survives {
                end(slot.serving.take(), outcomes);
            } else if spawner.program(program).template.is_some_and(|renew| forked >= renew) {
                self.start(program, spawner, directories, outcomes);
            }
        }
    }

    /// Starts a template, unless one is loading.
    fn start(
        &mut self,
        program: usize,
        spawner: &mut Spawner,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some(slot) = self.by_program.get_mut(&program) else { return };
        if slot.loading.is_some() {
            return;
        }
        self.next_number += 1;
        let directory = directories.of_template(program, self.next_number);
        let identity = spawner.template_identity(program);
        let made = directories.make(&directory, identity).map_err(Fault::of("make a directory"));
        match made.and_then(|()| spawner.make_template(program, &directory)) {
            Ok(NewTemplate { pid, channel, output, group }) => {
                outcomes.push(Outcome::Started { program, pid, output });
                let process = Pidfd::open(pid).ok();
                let due = Instant::now() + spawner.program(program).ready_timeout;
                slot.loading = Some(Template {
                    pid,
                    process,
                    channel,
                    directory,
                    identity,
                    _group: group,
                    due,
                    forked: 0,
                });
            }
            Err(fault) if slot.serving.is_none() => {
                refuse_all(&mut slot.waiting, &fault, outcomes);
            }
            Err(fault) => log::warn!(
                "cannot renew the template of mode {}: {fault}",
                spawner.program(program).mode
            ),
        }
    }
}

impl Template {
    /// Has a game forked. The flag says whether the template can continue.
    fn fork(
        &mut self,
        request: &LaunchRequest,
        spawner: &mut Spawner,
        directories: &Directories,
        directory: &Path,
    ) -> (Result<NewGame, Fault>, bool) {
        let made = directories.make(directory, self.identity);
        let made = made.map_err(Fault::of("make its directory"));
        let endpoints = made.and_then(|()| spawner.make_endpoints(request));
        let sent = endpoints.and_then(|endpoints| {
            endpoints.channels.send_players(&request.players).map(|()| endpoints)
        });
        let Endpoints { socket, channels } = match sent {
            Ok(endpoints) => endpoints,
            Err(fault) => return (Err(fault), true),
        };
        let Channels { control, game_control, output, game_output } = channels;
        let fork = ToTemplate::Fork {
            game: request.game.to_string(),
            port: request.port,
            directory: directory.display().to_string(),
        };
        let attached = [socket.as_fd(), game_control.as_fd(), game_output.as_fd()];
        if let Err(error) = self.channel.send(&fork, &attached) {
            return (Err(Fault::of("ask its template")(error)), false);
        }
        match self.await_answer() {
            Ok(FromTemplate::Forked { game, pid })
                if game == request.game.to_string() && pid > 0 =>
            {
                self.forked += 1;
                // The process must be checked before it is put into a control group.
                (Ok(NewGame { pid, control: Some(control), output, user: None, group: None }), true)
            }
            Ok(FromTemplate::Failed { game, reason }) if game == request.game.to_string() => {
                let reason: String = reason.chars().take(REASON_MAX).collect();
                (Err(Fault::Other(format!("its template cannot fork: {reason}"))), true)
            }
            Ok(_) => (Err(Fault::Other("its template answered something else".into())), false),
            Err(error) => (Err(Fault::of("fork it from its template")(error)), false),
        }
    }

    fn await_answer(&mut self) -> io::Result<FromTemplate> {
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(FORK_TIMEOUT).unwrap_or(PollTimeout::NONE);
        if poll(&mut fds, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let answer = self.channel.receive()?;
        answer.map(|(answer, _)| answer).ok_or_else(|| io::Error::other("it ended"))
    }

    /// Whether processes of its user may inspect it, and so its forks; proc(5): then its user owns its files in
    /// /proc. A template that runs as root cannot be checked.
    fn is_traceable(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let owner = std::fs::metadata(format!("/proc/{}/stat", self.pid)).map(|it| it.uid());
        owner.is_ok_and(|owner| owner != 0)
    }

    /// Whether the channel is readable although nothing was asked.
    fn has_spoken_or_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // `false`, or an error: it has ended by itself.
            let _ = process.signal(libc::SIGKILL);
        }
    }
}

fn end(template: Option<Template>, outcomes: &mut Vec<Outcome>) {
    if let Some(template) = template {
        let directory = template.directory.clone();
        outcomes.push(Outcome::Ended { pid: template.pid, directory });
    }
}

fn refuse_all(waiting: &mut VecDeque<LaunchRequest>, fault: &Fault, outcomes: &mut Vec<Outcome>) {
    for request in waiting.drain(..) {
        let (directory, result) = (PathBuf::new(), Err(fault.clone()));
        outcomes.push(Outcome::Answered { request, directory, result });
    }
}
