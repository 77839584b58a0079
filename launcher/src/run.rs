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

use crate::birth::{Born, Maker, Request};
use crate::confine::{self, NAMESPACES_NAME};
use crate::directories::Directories;
use crate::launch_step;
use crate::leftovers::Leftovers;
use crate::templates::{Outcome, Templates};
use crate::wire::{Answer, Channel, Fault, Order, Setup};

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
    launch_step::reset_signal_actions();
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
}

impl Launcher {
    fn new(setup: Setup, daemon: OwnedFd) -> Self {
        let living: Vec<u64> = setup.games.iter().map(|it| it.game).collect();
        let directories = Directories::new(setup.place.clone(), &living);
        let mut leftovers = Leftovers::new(setup.daemon, setup.inherited.iter().copied());
        let unclean = setup.unclean.clone();
        let living = setup.games.clone();
        let maker = Maker::new(setup);
        let mut workplaces = BTreeMap::new();
        for it in living {
            // Of a game of a template the user is not its alone.
            let is_forked = maker.program(it.mode).template.is_some();
            let user = maker.user(it.mode, it.port).filter(|_| !is_forked);
            leftovers.note_launch(it.game, it.pid, user, None);
            workplaces.insert(it.game, directories.of(it.game));
        }
        for game in unclean {
            leftovers.note_end(game);
        }
        Self {
            daemon: Channel::new(daemon),
            maker,
            templates: Templates::default(),
            directories,
            leftovers,
            workplaces,
        }
    }

    /// Serves until the daemon is gone.
    fn run(mut self) -> io::Result<()> {
        self.clean_up()?;
        while self.wait()? {
            let mut is_to_look = false;
            for _ in 0..BATCH_MAX {
                match self.daemon.receive() {
                    Ok(Some((order, _))) => is_to_look |= self.handle(order)?,
                    Ok(None) => return self.end(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            let mut outcomes = Vec::new();
            self.templates.look_after(&mut self.maker, &self.directories, &mut outcomes);
            self.tell(outcomes)?;
            // One look at the daemon's children serves all games of the batch that ended, and comes last: players
            // may be waiting for the launches.
            if is_to_look {
                self.clean_up()?;
            }
        }
        Ok(())
    }

    /// Waits for something to do; what can wait itself is done until there is.
    fn wait(&mut self) -> io::Result<bool> {
        loop {
            let has_chores = self.directories.has_discarded();
            let due = self.templates.next_deadline();
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
            let mut fds: Vec<PollFd<'_>> = (channels.into_iter().chain([self.daemon.as_fd()]))
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            match poll(&mut fds, timeout) {
                Ok(0) if has_chores => self.directories.remove_some(),
                Ok(_) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Carries an order out. The answer says whether leftovers are to be looked for.
    fn handle(&mut self, order: Order) -> io::Result<bool> {
        match order {
            Order::Launch { game, mode, port, guests } => {
                self.launch(Request { game, mode, port, guests })?;
                return Ok(false);
            }
            Order::CleanUp { game } => self.leftovers.note_end(game),
            Order::LookAgain => {}
            Order::Purge { game } => {
                self.leftovers.purge(game, &mut self.maker.stack);
                return Ok(false);
            }
            Order::Renew => {
                let mut outcomes = Vec::new();
                self.templates.renew(&mut self.maker, &self.directories, &mut outcomes);
                self.tell(outcomes)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn launch(&mut self, request: Request) -> io::Result<()> {
        let mut outcomes = Vec::new();
        if self.maker.program(request.mode).template.is_some() {
            self.templates.request(request, &mut self.maker, &self.directories, &mut outcomes);
        } else {
            let directory = self.directories.of(request.game);
            let user = self.maker.user(request.mode, request.port);
            let made = self.directories.make(&directory, user);
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
                    Ok(born) => self.tell_born(&request, directory, born)?,
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
        self.workplaces.insert(request.game, directory);
        let attached = [Some(output.as_fd()), control.as_ref().map(|it| it.as_fd())];
        let attached: Vec<_> = attached.into_iter().flatten().collect();
        self.daemon.send(&Answer::Launched { game: request.game, pid }, &attached)
    }

    /// Kills what ended games left behind, and says which of them are gone for good.
    fn clean_up(&mut self) -> io::Result<()> {
        for game in self.leftovers.kill(&mut self.maker.stack) {
            if let Some(directory) = self.workplaces.remove(&game) {
                self.directories.discard(&directory);
            }
            self.daemon.send(&Answer::CleanedUp { game }, &[])?;
        }
        Ok(())
    }

    /// The daemon is gone: so are the templates; games play on to their end. Nothing is left of those that are
    /// dead.
    fn end(mut self) -> io::Result<()> {
        self.templates.end();
        while self.directories.has_discarded() {
            self.directories.remove_some();
        }
        Ok(())
    }
}
