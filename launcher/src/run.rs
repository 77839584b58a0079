//! The launcher's loop: handles one order after another, and does what can wait while there is none.

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

use crate::confine::{self, NAMESPACES_NAME, game_group};
use crate::directories::{Directories, game_directory};
use crate::grace::Grace;
use crate::launch_step;
use crate::leftovers::LeftoverReaper;
use crate::limits::BATCH_MAX;
use crate::meter::{Excess, Meter};
use crate::orphans::Orphans;
use crate::spawner::{LaunchRequest, NewGame, OwnPort, Spawner, is_taken};
use crate::templates::{Outcome, Templates};
use crate::wire::{Answer, Channel, Fault, Order, Setup, instance};

/// The `argv[0]` by which Muster's binary knows that it is the launcher. `ps` shows it.
pub const NAME: &str = "muster-launcher";

/// Runs the part of this crate that a process was started as, by its name (`argv[0]`); `None` for any other name.
///
/// The launcher inherits three descriptors: its [`Setup`] as JSON, to be read to its end, its end of a [`Channel`],
/// and the log. `start_log` is called with the log level.
pub fn run_as(name: &OsStr, start_log: impl FnOnce(&str)) -> Option<ExitCode> {
    if name == NAMESPACES_NAME {
        return Some(confine::make_namespaces());
    }
    (name == NAME).then(|| match run(start_log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("the launcher has failed: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(start_log: impl FnOnce(&str)) -> io::Result<()> {
    let mut setup = String::new();
    io::stdin().read_to_string(&mut setup)?;
    let setup: Setup = serde_json::from_str(&setup).map_err(|_| {
        io::Error::other(format!("{NAME} is a part of muster serve; do not run it by hand"))
    })?;
    start_log(&setup.log);
    // The daemon acts on signals to all of Muster's processes, such as Ctrl-C or the service manager's.
    SigSet::all().thread_block()?;
    for (attempt, error) in start::begin(Part::Launcher) {
        log::warn!("the launcher cannot {attempt}: {error}; games inherit it");
    }
    let channel = launch_step::arrange_own_descriptors()?;
    Launcher::new(setup, channel).run()
}

struct Launcher {
    daemon: Channel,
    spawner: Spawner,
    templates: Templates,
    directories: Directories,
    leftovers: LeftoverReaper,
    /// The working directories of games that are not cleaned up.
    workplaces: BTreeMap<u64, PathBuf>,
    /// Measures these directories.
    meter: Meter,
    /// Launches by a template that failed, and why: processes that it created instead may hold the games' ports.
    failed: BTreeMap<u64, Fault>,
    grace: Grace,
    /// The ports of games that bind them themselves.
    own_ports: BTreeMap<u64, OwnPort>,
    /// Games that ended since the last scan, or whose grace period is over.
    ended: Vec<u64>,
    /// For ended games: how many processes were left, and whether their memory was used up.
    end_reports: BTreeMap<u64, (usize, bool)>,
    is_scan_due: bool,
}

impl Launcher {
    fn new(setup: Setup, daemon: OwnedFd) -> Self {
        let (unclean, living) = (setup.unclean.clone(), setup.games.clone());
        let awaited = setup.awaited.clone();
        let (daemon_pid, inherited) = (setup.daemon, setup.inherited.clone());
        let orphans = setup.after_crash.then(|| Orphans::new(instance(&setup.directory)));
        let spawner = Spawner::new(setup);
        let mut leftovers = LeftoverReaper::new(daemon_pid, inherited, orphans);
        let root = spawner.setup.directory.clone();
        let (mut workplaces, mut meter) = (BTreeMap::new(), Meter::default());
        for it in living {
            // A forked game shares its user with the template.
            let is_forked = spawner.program(it.program).template.is_some();
            let user = spawner.user(it.program, it.port).filter(|_| !is_forked);
            let group = spawner.make_group(it.program, &game_group(it.game));
            leftovers.note_launch(it.game, it.pid, user, group);
            let template_of = is_forked.then_some(it.program);
            let directory = game_directory(&root, it.game, template_of);
            let max = spawner.program(it.program).directory_max();
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
        let directories = Directories::new(root, &kept);
        Self {
            daemon: Channel::new(daemon),
            spawner,
            templates: Templates::default(),
            directories,
            leftovers,
            workplaces,
            meter,
            failed: BTreeMap::new(),
            grace,
            own_ports: BTreeMap::new(),
            ended: Vec::new(),
            end_reports: BTreeMap::new(),
            is_scan_due: false,
        }
    }

    /// Runs until the daemon closes the channel.
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
            self.templates.poll(&mut self.spawner, &self.directories, &mut outcomes);
            self.report(outcomes)?;
            self.is_scan_due |= self.leftovers.dying().next().is_some();
            for game in self.grace.take_finished(&self.leftovers) {
                self.note_end(game);
            }
            self.is_scan_due |= self.leftovers.next_scan().is_some();
            // One scan of the daemon's children serves all games of the batch that ended, and comes
            // last: players may be waiting for the launches.
            if std::mem::take(&mut self.is_scan_due) {
                self.clean_up()?;
            }
        }
        Ok(())
    }

    /// Waits for something to do, and does chores meanwhile.
    fn wait(&mut self) -> io::Result<bool> {
        loop {
            let has_chores = self.directories.has_discarded() || self.spawner.lacks_spare();
            let pauses = [self.grace.next_check(), self.leftovers.next_scan()];
            let scan = pauses.into_iter().flatten().min().map(|pause| Instant::now() + pause);
            let due = self.templates.next_deadline().into_iter().chain(scan);
            let due = due.chain(self.meter.next_turn()).min();
            let timeout = match due {
                _ if has_chores => PollTimeout::ZERO,
                None => PollTimeout::NONE,
                // A millisecond more than is left, to not wake up early.
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
                Ok(0) if self.spawner.lacks_spare() => self.spawner.prepare(),
                Ok(0) if has_chores => self.directories.remove_some(),
                Ok(_) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reports the games whose directories hold too much.
    fn measure(&mut self) -> io::Result<()> {
        for Excess { game, usage } in self.meter.turn(&self.spawner.setup.directory) {
            let (bytes, entries) = (usage.bytes, usage.entries);
            self.daemon.send(&Answer::DirectoryFull { game, bytes, entries }, &[])?;
        }
        Ok(())
    }

    fn handle(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Launch { game, program, port, bind, players } => {
                self.launch(LaunchRequest { game, program, port, bind, players })?;
            }
            Order::CleanUp { game } => self.note_end(game),
            Order::Await { game } => match self.leftovers.note_leader_end(game) {
                Some(leader) => self.grace.begin(game, leader),
                None => self.note_end(game),
            },
            Order::Terminate { game, is_group_signalled } => {
                self.grace.terminate(game, is_group_signalled, &self.leftovers);
            }
            Order::Disown { game, program } => {
                self.leftovers.note_end(game);
                self.is_scan_due = true;
                self.discard_template(program)?;
            }
            Order::Scan => self.is_scan_due = true,
            Order::Purge { game } if self.grace.end(game) => self.note_end(game),
            Order::Purge { game } => self.leftovers.purge(game),
            Order::Renew { templates } => {
                let mut outcomes = Vec::new();
                self.templates.retire_all_but(&templates, &mut outcomes);
                self.spawner.set_times(templates);
                self.templates.renew(&mut self.spawner, &self.directories, &mut outcomes);
                self.report(outcomes)?;
            }
            Order::Pause => {
                self.leftovers.set_paused(true);
                self.daemon.send(&Answer::Paused, &[])?;
            }
            Order::Resume { exempt } => {
                exempt.into_iter().for_each(|pid| self.leftovers.exempt(pid));
                self.leftovers.set_paused(false);
                self.is_scan_due = true;
            }
            Order::Ping => self.daemon.send(&Answer::Pong, &[])?,
        }
        Ok(())
    }

    /// The game has ended, or its grace period: its leftovers are to be killed.
    fn note_end(&mut self, game: u64) {
        self.grace.end(game);
        self.ended.push(game);
        self.is_scan_due = true;
    }

    fn launch(&mut self, request: LaunchRequest) -> io::Result<()> {
        let mut outcomes = Vec::new();
        if self.spawner.program(request.program).template.is_some() {
            self.templates.request(request, &mut self.spawner, &self.directories, &mut outcomes);
        } else {
            let directory = game_directory(&self.spawner.setup.directory, request.game, None);
            let identity = self.spawner.identity(request.program, request.port);
            let made = self.directories.make(&directory, identity);
            if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return self.recreate_root();
            }
            let made = made.map_err(Fault::of("make its working directory"));
            let result = made.and_then(|()| self.spawner.make_game(&request, &directory));
            outcomes.push(Outcome::Answered { request, directory, result });
        }
        self.report(outcomes)
    }

    /// The root of all working directories was deleted, for example by a cleaner of old files in /tmp. The
    /// games' mount namespace still has the old one, so the launcher recreates it and ends; the next launcher
    /// uses the new one.
    fn recreate_root(&self) -> io::Result<()> {
        let root = &self.spawner.setup.directory;
        fs::create_dir_all(root)?;
        Err(io::Error::other(format!("{} was deleted; starting over", root.display())))
    }

    /// Notes what came of templates and requests, and reports it to the daemon.
    fn report(&mut self, outcomes: Vec<Outcome>) -> io::Result<()> {
        for outcome in outcomes {
            match outcome {
                Outcome::Started { program, pid, output } => {
                    self.leftovers.exempt(pid);
                    self.daemon.send(&Answer::Template { program, pid }, &[output.as_fd()])?;
                }
                Outcome::Ended { pid, directory } => {
                    self.leftovers.end_exemption(pid);
                    self.directories.discard(&directory);
                }
                Outcome::Answered { request, directory, result } => match result {
                    Ok(new) if self.is_forked(request.program) => {
                        self.report_forked(&request, directory, new)?;
                    }
                    Ok(new) => self.report_launched(&request, directory, new)?,
                    Err(fault) if self.is_forked(request.program) => {
                        self.fail_later(request.game, directory, fault);
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

    fn report_launched(
        &mut self,
        request: &LaunchRequest,
        directory: PathBuf,
        new: NewGame,
    ) -> io::Result<()> {
        let NewGame { pid, control, output, user, group } = new;
        self.leftovers.note_launch(request.game, pid, user, group);
        let own_port = self.spawner.own_port(request);
        self.own_ports.extend(own_port.map(|port| (request.game, port)));
        let max = self.spawner.program(request.program).directory_max();
        max.into_iter().for_each(|max| self.meter.watch(request.game, &directory, max));
        self.workplaces.insert(request.game, directory);
        let attached = [Some(output.as_fd()), control.as_ref().map(|it| it.as_fd())];
        let attached: Vec<_> = attached.into_iter().flatten().collect();
        self.daemon.send(&Answer::Launched { game: request.game, pid }, &attached)
    }

    fn is_forked(&self, program: usize) -> bool {
        self.spawner.program(program).template.is_some()
    }

    /// A template named a process, which may not be a game: the daemon would take it for one, and kill it. The
    /// daemon asks the kernel whether it is its child, because only the daemon knows the children that it has
    /// reaped.
    fn report_forked(
        &mut self,
        request: &LaunchRequest,
        directory: PathBuf,
        mut new: NewGame,
    ) -> io::Result<()> {
        let &LaunchRequest { game, program, .. } = request;
        if self.leftovers.knows(new.pid) {
            self.fail_later(game, directory, Fault::not_a_game());
            return self.discard_template(program);
        }
        new.group = self.spawner.make_group(program, &game_group(game));
        let group = new.group.as_ref().filter(|_| self.leftovers.is_child(new.pid));
        if let Some(Err(error)) = group.map(|group| group.add(new.pid)) {
            log::warn!("game {game} is in its template's control group: {error}");
        }
        self.report_launched(request, directory, new)
    }

    /// A template named a process that is not a game.
    fn discard_template(&mut self, program: usize) -> io::Result<()> {
        let mut outcomes = Vec::new();
        self.templates.discard(program, &mut outcomes);
        self.report(outcomes)
    }

    /// A launch failed, although a template may have created a process: the failure is reported when that is gone.
    fn fail_later(&mut self, game: u64, directory: PathBuf, fault: Fault) {
        self.workplaces.insert(game, directory);
        self.leftovers.note_end(game);
        self.failed.insert(game, fault);
        self.is_scan_due = true;
    }

    /// Kills the leftovers of ended games, and reports the games that are clean.
    fn clean_up(&mut self) -> io::Result<()> {
        let ended = std::mem::take(&mut self.ended);
        let mut left = self.leftovers.count(&ended);
        for game in ended {
            let is_out_of_memory = self.leftovers.was_out_of_memory(game);
            self.end_reports
                .insert(game, (left.remove(&game).unwrap_or_default(), is_out_of_memory));
            self.leftovers.note_end(game);
        }
        for game in self.leftovers.kill() {
            let is_directory_full = self.meter.is_full_at_end(game, &self.spawner.setup.directory);
            self.meter.forget(game);
            if let Some(directory) = self.workplaces.remove(&game) {
                self.directories.discard(&directory);
            }
            let (left, is_out_of_memory) = self.end_reports.remove(&game).unwrap_or_default();
            let port = self.own_ports.remove(&game);
            let is_port_taken = port.is_some_and(|port| is_taken(&port));
            let answer = match self.failed.remove(&game) {
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

    /// The daemon has closed the channel: the templates end with it, and the directories of ended games; living
    /// games play on to their end.
    fn end(mut self) -> io::Result<()> {
        self.spawner.confiner.release();
        self.templates.end();
        while self.directories.has_discarded() {
            self.directories.remove_some();
        }
        Ok(())
    }
}
