//! Templates: programs that are started once, load what they need, and fork a game for each match.
//!
//! One mode has one template that serves, and at times another that is loading to take its place. Requests go one
//! at a time and are answered at once, so that no game is ever on its way unknown; a template that does not
//! answer is killed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::{FromTemplate, ToTemplate};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::birth::{Born, BornTemplate, Channels, Ends, Maker, Request};
use crate::confine::{Group, Identity};
use crate::directories::{Directories, workplace};
use crate::wire::{Channel, Fault};

/// How long a template may take to fork, which takes it a tenth of a millisecond. The launcher waits meanwhile.
const FORK_TIMEOUT: Duration = Duration::from_secs(1);

/// Characters of a template's reason for the log.
const REASON_MAX: usize = 256;

/// All templates, by mode.
#[derive(Default)]
pub(crate) struct Templates {
    by_mode: BTreeMap<usize, Slot>,
    next_number: u64,
}

/// A mode's templates, and who waits for them.
#[derive(Default)]
struct Slot {
    serving: Option<Template>,
    loading: Option<Template>,
    waiting: VecDeque<Request>,
    /// What the one that is loading loads may have changed since it began.
    is_stale: bool,
}

/// A template's process. Dropped, it is killed: between two requests it has nothing to lose.
struct Template {
    pid: i32,
    /// What its number means, whoever has that number later.
    process: Option<OwnedFd>,
    channel: Channel,
    directory: PathBuf,
    identity: Option<Identity>,
    _group: Option<Group>,
    due: Instant,
    forked: u64,
}

/// What came of looking after templates.
pub(crate) enum Outcome {
    /// There is a new one, with its log.
    Started { mode: usize, pid: i32, output: PipeReader },
    /// It is gone.
    Ended { pid: i32, directory: PathBuf },
    /// A request was answered.
    Answered { request: Request, directory: PathBuf, result: Result<Born, Fault> },
}

impl Templates {
    /// Takes a request for a game.
    pub(crate) fn request(
        &mut self,
        request: Request,
        maker: &mut Maker,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        let mode = request.mode;
        self.by_mode.entry(mode).or_default().waiting.push_back(request);
        // One that is dead is not to be asked, which would count as its game's failure.
        self.hear(mode, outcomes);
        self.settle(mode, maker, directories, outcomes);
    }

    /// Ends those whose modes are not named: nobody will ask them for a game any more.
    pub(crate) fn retire_all_but(
        &mut self,
        in_use: &BTreeMap<usize, Duration>,
        outcomes: &mut Vec<Outcome>,
    ) {
        self.by_mode.retain(|mode, slot| {
            let is_used = in_use.contains_key(mode);
            if !is_used {
                give_up(slot.serving.take(), outcomes);
                give_up(slot.loading.take(), outcomes);
                let fault = Fault::Other("its mode was removed".into());
                refuse_all(&mut slot.waiting, &fault, outcomes);
            }
            is_used
        });
    }

    /// Starts all of them anew. Those that serve go on until the new ones do.
    pub(crate) fn renew(
        &mut self,
        maker: &mut Maker,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        for mode in self.by_mode.keys().copied().collect::<Vec<_>>() {
            if let Some(slot) = self.by_mode.get_mut(&mode) {
                slot.is_stale = slot.loading.is_some();
            }
            self.start(mode, maker, directories, outcomes);
        }
    }

    /// What to wait for.
    pub(crate) fn channels(&self) -> Vec<BorrowedFd<'_>> {
        self.all().map(|template| template.channel.as_fd()).collect()
    }

    /// When a template has to be ready that is not.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_mode.values().filter_map(|slot| slot.loading.as_ref()).map(|it| it.due).min()
    }

    /// Hears what templates say, and does what time demands.
    pub(crate) fn look_after(
        &mut self,
        maker: &mut Maker,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        for mode in self.by_mode.keys().copied().collect::<Vec<_>>() {
            self.hear(mode, outcomes);
            self.settle(mode, maker, directories, outcomes);
            // One that came too early for a renewal serves until there is another.
            let slot = self.by_mode.get_mut(&mode).filter(|slot| slot.loading.is_none());
            if slot.is_some_and(|slot| std::mem::take(&mut slot.is_stale)) {
                self.start(mode, maker, directories, outcomes);
            }
        }
    }

    /// A mode's template said what was not true: nothing that it says is to be believed any more.
    pub(crate) fn distrust(&mut self, mode: usize, outcomes: &mut Vec<Outcome>) {
        if let Some(slot) = self.by_mode.get_mut(&mode) {
            give_up(slot.serving.take(), outcomes);
        }
    }

    /// Ends all of them.
    pub(crate) fn end(&mut self) {
        self.by_mode.clear();
    }

    fn all(&self) -> impl Iterator<Item = &Template> {
        self.by_mode.values().flat_map(|slot| slot.serving.iter().chain(&slot.loading))
    }

    /// Hears a mode's templates: one that has loaded takes over; one that has ended, or said what it may not, or
    /// is late, is given up.
    fn hear(&mut self, mode: usize, outcomes: &mut Vec<Outcome>) {
        let Some(slot) = self.by_mode.get_mut(&mode) else { return };
        if slot.serving.as_mut().is_some_and(|serving| serving.has_spoken_or_ended()) {
            log::warn!("template ended or spoke unasked mode={mode}");
            give_up(slot.serving.take(), outcomes);
        }
        let Some(loading) = &mut slot.loading else { return };
        let problem = match loading.channel.receive::<FromTemplate>() {
            Ok(Some((FromTemplate::Ready, _))) => {
                log::debug!("template ready mode={mode} pid={}", loading.pid);
                if loading.is_traceable() {
                    log::warn!(
                        "the template of mode {mode} can be traced by its own games, and they by each other; it \
                         is to call prctl(PR_SET_DUMPABLE, 0) before it says ready"
                    );
                }
                give_up(slot.serving.take(), outcomes);
                slot.serving = slot.loading.take();
                return;
            }
            Ok(Some(_)) => "it spoke before it was ready",
            Ok(None) => "it ended",
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() < loading.due {
                    return;
                }
                "it did not say ready in time"
            }
            Err(_) => "what it said is no message of the contract",
        };
        give_up(slot.loading.take(), outcomes);
        if slot.serving.is_none() {
            let fault = Fault::Other(format!("its template failed: {problem}"));
            refuse_all(&mut slot.waiting, &fault, outcomes);
        } else {
            log::warn!("the new template of mode {mode} failed, the old one goes on: {problem}");
        }
    }

    /// Serves who waits, and starts what is missing.
    fn settle(
        &mut self,
        mode: usize,
        maker: &mut Maker,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        loop {
            let Some(slot) = self.by_mode.get_mut(&mode) else { return };
            if slot.waiting.is_empty() {
                return;
            }
            let Some(serving) = &mut slot.serving else {
                return self.start(mode, maker, directories, outcomes);
            };
            let Some(request) = slot.waiting.pop_front() else { return };
            let directory = workplace(&maker.setup.place, request.game, Some(mode));
            let (result, survives) = serving.fork(&request, maker, directories, &directory);
            outcomes.push(Outcome::Answered { request, directory, result });
            let forked = serving.forked;
            if !survives {
                give_up(slot.serving.take(), outcomes);
            } else if maker.program(mode).template.is_some_and(|renew| forked >= renew) {
                self.start(mode, maker, directories, outcomes);
            }
        }
    }

    /// Starts a template, if none is loading.
    fn start(
        &mut self,
        mode: usize,
        maker: &mut Maker,
        directories: &Directories,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some(slot) = self.by_mode.get_mut(&mode) else { return };
        if slot.loading.is_some() {
            return;
        }
        self.next_number += 1;
        let directory = directories.of_template(mode, self.next_number);
        let identity = maker.template_identity(mode);
        let made = directories.make(&directory, identity).map_err(Fault::of("make a directory"));
        match made.and_then(|()| maker.make_template(mode, &directory)) {
            Ok(BornTemplate { pid, channel, output, group }) => {
                outcomes.push(Outcome::Started { mode, pid, output });
                let process =
                    Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                let due = Instant::now() + maker.program(mode).ready_timeout;
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
            Err(fault) => log::warn!("cannot renew the template of mode {mode}: {fault}"),
        }
    }
}

impl Template {
    /// Has a game forked. The flag says whether the template is still of use.
    fn fork(
        &mut self,
        request: &Request,
        maker: &mut Maker,
        directories: &Directories,
        directory: &Path,
    ) -> (Result<Born, Fault>, bool) {
        let made = directories.make(directory, self.identity);
        let made = made.map_err(Fault::of("make its directory"));
        let ends = made.and_then(|()| maker.make_ends(request));
        let told = ends.and_then(|ends| ends.channels.tell(&request.guests).map(|()| ends));
        let Ends { socket, channels } = match told {
            Ok(ends) => ends,
            Err(fault) => return (Err(fault), true),
        };
        let Channels { control, its_control, output, its_output } = channels;
        let fork = ToTemplate::Fork {
            game: request.game.to_string(),
            port: request.port,
            directory: directory.display().to_string(),
        };
        let attached = [socket.as_fd(), its_control.as_fd(), its_output.as_fd()];
        if let Err(error) = self.channel.send(&fork, &attached) {
            return (Err(Fault::of("ask its template")(error)), false);
        }
        match self.await_answer() {
            Ok(FromTemplate::Forked { game, pid })
                if game == request.game.to_string() && pid > 0 =>
            {
                self.forked += 1;
                // Whoever that is, it has to be looked at before it is put into a group.
                (Ok(Born { pid, control: Some(control), output, user: None, group: None }), true)
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

    /// Whether processes of its user may look into it, and so into its forks; proc(5): then its files in /proc are its
    /// user's. Of one that runs as root there is nothing to see.
    fn is_traceable(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let owner = std::fs::metadata(format!("/proc/{}/stat", self.pid)).map(|it| it.uid());
        owner.is_ok_and(|owner| owner != 0)
    }

    /// Whether something is there to hear although nothing was asked.
    fn has_spoken_or_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // ESRCH: it has ended by itself.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

fn give_up(template: Option<Template>, outcomes: &mut Vec<Outcome>) {
    if let Some(template) = template {
        let directory = template.directory.clone();
        outcomes.push(Outcome::Ended { pid: template.pid, directory });
    }
}

fn refuse_all(waiting: &mut VecDeque<Request>, fault: &Fault, outcomes: &mut Vec<Outcome>) {
    for request in waiting.drain(..) {
        let (directory, result) = (PathBuf::new(), Err(fault.clone()));
        outcomes.push(Outcome::Answered { request, directory, result });
    }
}
