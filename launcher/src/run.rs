//! The launcher's loop: an order at a time, and what can wait when there is none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use process::start::{self, Part};

use crate::adrift::Adrift;
use crate::birth::{Born, Maker, OwnPort, Request, is_taken};
use crate::confine::{self, NAMESPACES_NAME};
use crate::directories::{Directories, workplace};
use crate::grace::Grace;
use crate::launch_step;
use crate::leftovers::Leftovers;
use crate::meter::{Excess, Meter};
use crate::templates::{Outcome, Templates};
use crate::wire::{Answer, Channel, Fault, Order, Setup, instance};

/// The name by which Muster's binary knows that it is the launcher. `ps` shows it.
pub const NAME: &str = "muster-launcher";

/// Orders carried out together, at most.
const BATCH_MAX: usize = 256;

/// Runs the part of this crate that a process was started as, by its name (`argv[0]`). `None`: it is none of ours.
///
/// The launcher is born with three descriptors: its [`Setup`] as JSON to read to its end, its end of a
/// [`Channel`], and the log. `start_log` is called with the level of the log.
pub fn run_as(name: &OsStr, start_log: impl FnOnce(&str)) -> Option<ExitCode> {
    if name == NAMESPACES_NAME {
        return Some(confine::make_namespaces());
    }
    (name == NAME).then(|| match run(start_log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("the launcher cannot go on: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(start_log: impl FnOnce(&str)) -> io::Result<()> {
    let mut setup = String::new();
    io::stdin().read_to_string(&mut setup)?;
    let setup: Setup = serde_json::from_str(&setup).map_err(|_| {
        io::Error::other(format!("{NAME} is a part of muster serve; it is not run by hand"))
    })?;
    start_log(&setup.log);
    // A signal to all of Muster's processes, Ctrl-C or a service manager's, is for the daemon to act on.
    SigSet::all().thread_block()?;
    for (attempt, error) in start::begin(Part::Launcher) {
        log::warn!("the launcher cannot {attempt}: {error}; games begin as it does");
    }
    let channel = launch_step::arrange_own_descriptors()?;
    Launcher::new(setup, channel).run()
}

struct Launcher {
    daemon: Channel,
    maker: Maker,
    templates: Templates,
    directories: Directories,
    leftovers: Leftovers,
    /// Where each game works that is not cleaned up.
    workplaces: BTreeMap<u64, PathBuf>,
    /// What lies there.
    meter: Meter,
    /// Games that a template did not bring about, and why: whatever it made instead holds their ports.
    unborn: BTreeMap<u64, Fault>,
    grace: Grace,
    /// The ports of games that bind them themselves.
    own_ports: BTreeMap<u64, OwnPort>,
    /// Games that ended since the last look, or whose grace is over.
    ended: Vec<u64>,
    /// Of games that ended: how many processes were left, and whether their memory was used up.
    ends: BTreeMap<u64, (usize, bool)>,
    is_to_look: bool,
}

impl Launcher {
    fn new(setup: Setup, daemon: OwnedFd) -> Self {
        let (unclean, living) = (setup.unclean.clone(), setup.games.clone());
        let awaited = setup.awaited.clone();
        let (daemon_pid, inherited) = (setup.daemon, setup.inherited.clone());
        let adrift = setup.has_crashed.then(|| Adrift::new(instance(&setup.place)));
        let maker = Maker::new(setup);
        let mut leftovers = Leftovers::new(daemon_pid, inherited, adrift);
        let place = maker.setup.place.clone();
        let (mut workplaces, mut meter) = (BTreeMap::new(), Meter::default());
        for it in living {
            // Of a game of a template the user is not its alone.
            let is_forked = maker.program(it.mode).template.is_some();
            let user = maker.user(it.mode, it.port).filter(|_| !is_forked);
            let group = maker.make_group(it.mode, &group_of(it.game));
            leftovers.note_launch(it.game, it.pid, user, group);
            let template_of = is_forked.then_some(it.mode);
            let directory = workplace(&place, it.game, template_of);
            let max = maker.program(it.mode).directory_max();
            max.into_iter().for_each(|max| meter.watch(it.game, &directory, max));
            workplaces.insert(it.game, directory);
        }
        for game in unclean {
            leftovers.note_end(game);
        }
        let mut grace = Grace::default();
        for game in awaited {
            let leader = leftovers.note_leader_end(game);
            leader.into_iter().for_each(|leader| grace.begin(game, leader));
        }
        let kept: Vec<PathBuf> = workplaces.values().cloned().collect();
        let directories = Directories::new(place, &kept);
        Self {
            daemon: Channel::new(daemon),
            maker,
            templates: Templates::default(),
            directories,
            leftovers,
            workplaces,
            meter,
            unborn: BTreeMap::new(),
            grace,
            own_ports: BTreeMap::new(),
            ended: Vec::new(),
            ends: BTreeMap::new(),
            is_to_look: false,
        }
    }

    /// Serves until the daemon is gone.
    fn run(mut self) -> io::Result<()> {
        self.clean_up()?;
        while self.wait()? {
            for _ in 0..BATCH_MAX {
                match self.daemon.receive() {
                    Ok(Some((order, _))) => self.handle(order)?,
                    Ok(None) => return self.end(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.measure()?;
            let mut outcomes = Vec::new();
            self.templates.look_after(&mut self.maker, &self.directories, &mut outcomes);
            self.tell(outcomes)?;
            self.is_to_look |= self.leftovers.dying().next().is_some();
            for game in self.grace.over(&self.leftovers) {
                self.note_end(game);
            }
            self.is_to_look |= self.leftovers.next_look().is_some();
            // One look at the daemon's children serves all games of the batch that ended, and comes last: players
            // may be waiting for the launches.
            if std::mem::take(&mut self.is_to_look) {
                self.clean_up()?;
            }
        }
        Ok(())
    }

    /// Waits for something to do; what can wait itself is done until there is.
    fn wait(&mut self) -> io::Result<bool> {
        loop {
            let has_chores = self.directories.has_discarded() || self.maker.lacks_spare();
            let pauses = [self.grace.next_look(), self.leftovers.next_look()];
            let look = pauses.into_iter().flatten().min().map(|pause| Instant::now() + pause);
            let due = self.templates.next_deadline().into_iter().chain(look);
            let due = due.chain(self.meter.next_look()).min();
            let timeout = match due {
                _ if has_chores => PollTimeout::ZERO,
                None => PollTimeout::NONE,
                // A millisecond more than is left, so as not to come early.
                Some(due) => PollTimeout::try_from(
                    due.saturating_duration_since(Instant::now()).as_millis().saturating_add(1),
                )
                .unwrap_or(PollTimeout::MAX),
            };
            let channels = self.templates.channels();
            let own = self.leftovers.dying().chain(self.grace.watched());
            let own = own.chain([self.daemon.as_fd()]);
            let mut fds: Vec<PollFd<'_>> = (channels.into_iter().chain(own))
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            match poll(&mut fds, timeout) {
                Ok(0) if self.meter.is_due() => return Ok(true),
                Ok(0) if self.maker.lacks_spare() => self.maker.prepare(),
                Ok(0) if has_chores => self.directories.remove_some(),
                Ok(_) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tells the daemon of games whose directories hold too much.
    fn measure(&mut self) -> io::Result<()> {
        for Excess { game, held } in self.meter.look(&self.maker.setup.place) {
            let (bytes, entries) = (held.bytes, held.entries);
            self.daemon.send(&Answer::DirectoryFull { game, bytes, entries }, &[])?;
        }
        Ok(())
    }

    fn handle(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Launch { game, mode, port, bind, guests } => {
                self.launch(Request { game, mode, port, bind, guests })?;
            }
            Order::CleanUp { game } => self.note_end(game),
            Order::Await { game } => match self.leftovers.note_leader_end(game) {
                Some(leader) => self.grace.begin(game, leader),
                None => self.note_end(game),
            },
            Order::Terminate { game, has_group_heard } => {
                self.grace.terminate(game, has_group_heard, &self.leftovers);
            }
            Order::Disown { game, mode } => {
                self.leftovers.note_end(game);
                self.is_to_look = true;
                self.distrust(mode)?;
            }
            Order::LookAgain => self.is_to_look = true,
            Order::Purge { game } if self.grace.end(game) => self.note_end(game),
            Order::Purge { game } => self.leftovers.purge(game),
            Order::Renew { templates } => {
                let mut outcomes = Vec::new();
                self.templates.retire_all_but(&templates, &mut outcomes);
                self.maker.set_times(templates);
                self.templates.renew(&mut self.maker, &self.directories, &mut outcomes);
                self.tell(outcomes)?;
            }
            Order::Hold => {
                self.leftovers.hold(true);
                self.daemon.send(&Answer::Holding, &[])?;
            }
            Order::Release { spared } => {
                spared.into_iter().for_each(|pid| self.leftovers.note_other(pid));
                self.leftovers.hold(false);
                self.is_to_look = true;
            }
            Order::Ping => self.daemon.send(&Answer::Pong, &[])?,
        }
        Ok(())
    }

    /// Whatever is left of a game is to be killed.
    fn note_end(&mut self, game: u64) {
        self.grace.end(game);
        self.ended.push(game);
        self.is_to_look = true;
    }

    fn launch(&mut self, request: Request) -> io::Result<()> {
        let mut outcomes = Vec::new();
        if self.maker.program(request.mode).template.is_some() {
            self.templates.request(request, &mut self.maker, &self.directories, &mut outcomes);
        } else {
            let directory = workplace(&self.maker.setup.place, request.game, None);
            let identity = self.maker.identity(request.mode, request.port);
            let made = self.directories.make(&directory, identity);
            if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return self.make_place_again();
            }
            let made = made.map_err(Fault::of("make its working directory"));
            let result = made.and_then(|()| self.maker.make_game(&request, &directory));
            outcomes.push(Outcome::Answered { request, directory, result });
        }
        self.tell(outcomes)
    }

    /// Somebody tidied up: who removes what is old from /tmp, for one. The games' namespace still has the old
    /// place; a launcher that starts anew makes one with the new.
    fn make_place_again(&self) -> io::Result<()> {
        let place = &self.maker.setup.place;
        fs::create_dir_all(place)?;
        Err(io::Error::other(format!("{} was gone; starting anew", place.display())))
    }

    /// Keeps account of what came of templates and requests, and tells the daemon.
    fn tell(&mut self, outcomes: Vec<Outcome>) -> io::Result<()> {
        for outcome in outcomes {
            match outcome {
                Outcome::Started { mode, pid, output } => {
                    self.leftovers.note_other(pid);
                    self.daemon.send(&Answer::Template { mode, pid }, &[output.as_fd()])?;
                }
                Outcome::Ended { pid, directory } => {
                    self.leftovers.forget_other(pid);
                    self.directories.discard(&directory);
                }
                Outcome::Answered { request, directory, result } => match result {
                    Ok(born) if self.is_forked(request.mode) => {
                        self.tell_forked(&request, directory, born)?;
                    }
                    Ok(born) => self.tell_born(&request, directory, born)?,
                    Err(fault) if self.is_forked(request.mode) => {
                        self.give_up(request.game, directory, fault);
                    }
                    Err(fault) => {
                        self.directories.discard(&directory);
                        self.daemon.send(&Answer::Failed { game: request.game, fault }, &[])?;
                    }
                },
            }
        }
        Ok(())
    }

    fn tell_born(&mut self, request: &Request, directory: PathBuf, born: Born) -> io::Result<()> {
        let Born { pid, control, output, user, group } = born;
        self.leftovers.note_launch(request.game, pid, user, group);
        let own_port = self.maker.own_port(request);
        self.own_ports.extend(own_port.map(|port| (request.game, port)));
        let max = self.maker.program(request.mode).directory_max();
        max.into_iter().for_each(|max| self.meter.watch(request.game, &directory, max));
        self.workplaces.insert(request.game, directory);
        let attached = [Some(output.as_fd()), control.as_ref().map(|it| it.as_fd())];
        let attached: Vec<_> = attached.into_iter().flatten().collect();
        self.daemon.send(&Answer::Launched { game: request.game, pid }, &attached)
    }

    fn is_forked(&self, mode: usize) -> bool {
        self.maker.program(mode).template.is_some()
    }

    /// A template names a process, which need not be what it says: the daemon would take it for a game, and kill it.
    /// The daemon asks the kernel whether that is its child, which alone knows the children that it has reaped.
    fn tell_forked(
        &mut self,
        request: &Request,
        directory: PathBuf,
        mut born: Born,
    ) -> io::Result<()> {
        let &Request { game, mode, .. } = request;
        if self.leftovers.knows(born.pid) {
            self.give_up(game, directory, Fault::not_a_game());
            return self.distrust(mode);
        }
        born.group = self.maker.make_group(mode, &group_of(game));
        let group = born.group.as_ref().filter(|_| self.leftovers.is_child(born.pid));
        if let Some(Err(error)) = group.map(|group| group.take_in(born.pid)) {
            log::warn!("game {game} is in its template's control group: {error}");
        }
        self.tell_born(request, directory, born)
    }

    /// A mode's template said what was not true.
    fn distrust(&mut self, mode: usize) -> io::Result<()> {
        let mut outcomes = Vec::new();
        self.templates.distrust(mode, &mut outcomes);
        self.tell(outcomes)
    }

    /// A game is not to be, although a template may have made something of it: the daemon hears so when that is gone.
    fn give_up(&mut self, game: u64, directory: PathBuf, fault: Fault) {
        self.workplaces.insert(game, directory);
        self.leftovers.note_end(game);
        self.unborn.insert(game, fault);
        self.is_to_look = true;
    }

    /// Kills what ended games left behind, and says which of them are gone for good.
    fn clean_up(&mut self) -> io::Result<()> {
        let ended = std::mem::take(&mut self.ended);
        let mut left = self.leftovers.count(&ended);
        for game in ended {
            let is_out_of_memory = self.leftovers.was_out_of_memory(game);
            self.ends.insert(game, (left.remove(&game).unwrap_or_default(), is_out_of_memory));
            self.leftovers.note_end(game);
        }
        for game in self.leftovers.kill() {
            let is_directory_full = self.meter.is_full_at_end(game, &self.maker.setup.place);
            self.meter.forget(game);
            if let Some(directory) = self.workplaces.remove(&game) {
                self.directories.discard(&directory);
            }
            let (left, is_out_of_memory) = self.ends.remove(&game).unwrap_or_default();
            let port = self.own_ports.remove(&game);
            let is_port_taken = port.is_some_and(|port| is_taken(&port));
            let answer = match self.unborn.remove(&game) {
                Some(fault) => Answer::Failed { game, fault },
                None => Answer::CleanedUp {
                    game,
                    left,
                    is_out_of_memory,
                    is_port_taken,
                    is_directory_full,
                },
            };
            self.daemon.send(&answer, &[])?;
        }
        Ok(())
    }

    /// The daemon is gone: so are the templates; games play on to their end. Nothing is left of those that are
    /// dead.
    fn end(mut self) -> io::Result<()> {
        self.maker.confiner.release();
        self.templates.end();
        while self.directories.has_discarded() {
            self.directories.remove_some();
        }
        Ok(())
    }
}

/// The name of a game's control group.
pub(crate) fn group_of(game: u64) -> String {
    format!("game-{game}")
}
