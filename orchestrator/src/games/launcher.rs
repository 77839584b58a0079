//! The daemon's end of the launcher: what is on order, what was answered, and a new launcher when one dies or stands
//! still.
//!
//! Nothing here blocks: an order that the launcher has no room for waits for it, and what a launcher took with it
//! is asked of the next one. Until that one has looked whether anything came of it, nobody is told that it failed,
//! so that no port returns while somebody may hold it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, PipeReader, Seek as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use brain::{GameId, LaunchFault};
use launcher::{
    Answer as Told, Channel, Fault, INSTANCE, InitialPlayers, LivingGame, Order, Program, Setup,
};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::libc::SIGKILL;
use process::{Pidfd, first_directory, proc, temporary_directory, variable};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, WaitOptions};
use serde::{Deserialize, Serialize};

use super::processes::NewProcess;
use super::watchdog::{Verdict, Watchdog};
use crate::clock::Instant;
use crate::config::Config;
use crate::games::processes;
use crate::notify::WATCHDOG_VARIABLES;
use crate::notify::outbox::NOTIFY_SOCKET;
use crate::store;
use crate::tokens;
use crate::units;
use crate::users::Claim;

/// The shortest time between two launchers; doubled for each one that lived no longer than [`LIFE_MIN`].
const RESTART_MIN: Duration = Duration::from_millis(50);

/// The longest time between two launchers.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A launcher that lived so long was a good one.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// How long a launcher may take to end when the daemon does: it removes what is left of games' directories.
const END_MAX: Duration = Duration::from_secs(5);

/// What was done.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A game's process exists.
    Launched { game: GameId, process: NewProcess },
    /// A game's process could not be made.
    Failed { game: GameId, fault: LaunchFault },
    /// Nothing of the game is left.
    CleanedUp { game: GameId, remains: Remains },
    /// The working directory of a game holds more than it may: how many bytes, and files and directories.
    DirectoryFull { game: GameId, bytes: u64, entries: u64 },
    /// A program has a new template.
    Template { program: usize, pid: i32, output: Option<OwnedFd> },
    /// Nobody is killed for having been left behind, until [`release`](Launcher::release).
    Holding,
    /// The launcher is gone.
    Gone,
}

/// What was found of a game that has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Remains {
    /// Processes that were left and had to be killed.
    pub(crate) left: usize,
    /// Whether the kernel has killed a process of it for want of memory.
    pub(crate) is_out_of_memory: bool,
    /// Whether its port, which it was to bind itself, is not free although it is gone.
    pub(crate) is_port_taken: bool,
    /// Whether its working directory held more than it may.
    pub(crate) is_directory_full: bool,
}

/// The daemon's end.
pub(crate) struct Launcher {
    setup: Setup,
    /// Where the games work. Removed when the daemon is.
    place: Place,
    /// The games' users are this daemon's.
    _users: Option<Claim>,
    running: Option<Running>,
    /// When another one may be started, while there is none.
    restart_at: Option<Instant>,
    pause: Duration,
    watchdog: Watchdog,
    /// Launches that were ordered and not answered.
    ordered: BTreeSet<GameId>,
    /// Launches that failed, and why, of which something may be left.
    lost: BTreeMap<GameId, LaunchFault>,
    /// Games that were not cleaned up yet.
    unclean: BTreeSet<GameId>,
    /// Those of them that are being stopped, and whose other processes may finish what they do.
    awaited: BTreeSet<GameId>,
}

/// What another program has to know to start a launcher of its own in this one's place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedLauncher {
    place: PathBuf,
    inherited: Vec<i32>,
    pid: Option<i32>,
    lost: Vec<(GameId, LaunchFault)>,
    unclean: BTreeSet<GameId>,
    awaited: BTreeSet<GameId>,
    has_crashed: bool,
}

impl SavedLauncher {
    /// What is known after a crash: where the games work, and which of them may have been in the making. What was made
    /// of them, and the launcher of the daemon that crashed, is found and ended by the next launcher.
    pub(crate) fn after_a_crash(place: PathBuf, lost: impl Iterator<Item = GameId>) -> Self {
        let daemon = i32::try_from(std::process::id()).unwrap_or_default();
        Self {
            place,
            inherited: proc::children(daemon),
            pid: None,
            lost: lost.map(|game| (game, LaunchFault::Interrupted)).collect(),
            unclean: BTreeSet::new(),
            awaited: BTreeSet::new(),
            has_crashed: true,
        }
    }
}

/// A directory that is removed with whatever is in it.
struct Place(PathBuf);

/// A launcher that lives, as far as is known.
struct Running {
    process: Pidfd,
    channel: Channel,
    started: Instant,
    /// Orders that did not go out yet.
    unsent: VecDeque<Vec<u8>>,
}

impl Launcher {
    /// Starts one, before the daemon has much that it would have to make its way around.
    ///
    /// # Errors
    /// When there is no place for the games' working directories, or no process to be had.
    pub(crate) fn start(config: &Config, users: Option<Claim>) -> io::Result<Self> {
        let place = make_place()?;
        // Each game's own directory is closed to all others; on the way there all may pass.
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o711))?;
        let daemon = i32::try_from(std::process::id()).unwrap_or_default();
        let mut this = Self::new(config, place, proc::children(daemon), users);
        this.running = Some(this.spawn()?);
        this.setup.is_replacement = true;
        this.watchdog.begin(Instant::now());
        Ok(this)
    }

    /// Ends the launcher of the program before this one, and is about to start another. Whatever that one had on order is
    /// lost, and looked for.
    pub(crate) fn resume(config: &Config, saved: SavedLauncher) -> Self {
        if let Some(pid) = saved.pid {
            end_launcher(pid);
        }
        let users = Claim::retake(config.first_user);
        let mut this = Self::new(config, Place(saved.place), saved.inherited, users);
        (this.lost, this.unclean) = (saved.lost.into_iter().collect(), saved.unclean);
        this.awaited = saved.awaited;
        this.setup.after_crash = saved.has_crashed;
        this.setup.is_replacement = !saved.has_crashed;
        this.restart_at = Some(Instant::now());
        this
    }

    /// What is to be known of it, for the program that goes on.
    pub(crate) fn save(&self) -> SavedLauncher {
        let ordered = self.ordered.iter().map(|game| (*game, LaunchFault::Interrupted));
        let lost = self.lost.iter().map(|(game, fault)| (*game, fault.clone()));
        SavedLauncher {
            place: self.place.0.clone(),
            inherited: self.setup.inherited.clone(),
            pid: self.pid(),
            lost: lost.chain(ordered).collect(),
            unclean: self.unclean.clone(),
            awaited: self.awaited.clone(),
            has_crashed: self.setup.after_crash,
        }
    }

    fn new(config: &Config, place: Place, inherited: Vec<i32>, users: Option<Claim>) -> Self {
        let setup = Setup {
            daemon: i32::try_from(std::process::id()).unwrap_or_default(),
            programs: programs_of(config),
            public_host: config.ports.public_host.clone(),
            directory: place.0.clone(),
            first_user: config.first_user,
            ports: (*config.ports.range.start(), *config.ports.range.end()),
            log: config.log_level.to_string(),
            inherited,
            games: Vec::new(),
            unclean: Vec::new(),
            awaited: Vec::new(),
            after_crash: false,
            is_replacement: false,
        };
        Self {
            setup,
            place,
            _users: users,
            running: None,
            restart_at: None,
            pause: RESTART_MIN,
            watchdog: Watchdog::new(),
            ordered: BTreeSet::new(),
            lost: BTreeMap::new(),
            unclean: BTreeSet::new(),
            awaited: BTreeSet::new(),
        }
    }

    /// Has the poll watch it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn register(&self, registry: &Registry) -> io::Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let descriptor = running.channel.as_fd().as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&descriptor), tokens::LAUNCHER, interest)
    }

    /// The pid of the launcher that lives, as far as is known.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.process.pid())
    }

    /// Where the games work.
    pub(crate) fn work_directory(&self) -> &Path {
        &self.place.0
    }

    // ---- Orders ----

    /// Has a game's process made, with its socket on the first of some addresses that this machine has.
    pub(crate) fn launch(
        &mut self,
        game: GameId,
        program: usize,
        (port, bind): (u16, Vec<IpAddr>),
        players: InitialPlayers,
    ) {
        self.ordered.insert(game);
        self.order(&Order::Launch { game: game.0, program, port, bind, players });
    }

    pub(crate) fn clean_up(&mut self, game: GameId) {
        self.unclean.insert(game);
        self.order(&Order::CleanUp { game: game.0 });
    }

    /// The process of a game that is being stopped has ended: it is clean when nobody else of it is left.
    pub(crate) fn await_end(&mut self, game: GameId) {
        self.unclean.insert(game);
        self.awaited.insert(game);
        self.order(&Order::Await { game: game.0 });
    }

    /// A game is being stopped: the processes are asked to end that its own process and its group are not.
    pub(crate) fn terminate(&mut self, game: GameId, is_group_signalled: bool) {
        self.order(&Order::Terminate { game: game.0, is_group_signalled });
    }

    /// What a template named as a game is none; that it failed is told when whatever it made instead is gone.
    pub(crate) fn disown(&mut self, game: GameId, program: usize) {
        self.lost.insert(game, fault_of(Fault::not_a_game()));
        self.order(&Order::Disown { game: game.0, program });
    }

    /// A game is being killed.
    pub(crate) fn purge(&mut self, game: GameId) {
        self.awaited.remove(&game);
        self.order(&Order::Purge { game: game.0 });
    }

    /// A child that is no game was reaped.
    pub(crate) fn look_again(&mut self) {
        // What is on order may be waiting for the end of what a template made in its place.
        if self.awaits_anything() {
            self.order(&Order::Scan);
        }
    }

    /// A child is about to be made that is no game; answered by [`Answer::Holding`].
    pub(crate) fn hold(&mut self) {
        self.order(&Order::Pause);
    }

    /// That child was made, or was not.
    pub(crate) fn release(&mut self, spared: Option<i32>) {
        self.setup.inherited.extend(spared);
        self.order(&Order::Resume { exempt: spared });
    }

    /// A child that was spared is gone.
    pub(crate) fn forget(&mut self, spared: i32) {
        self.setup.inherited.retain(|pid| *pid != spared);
    }

    /// The templates of modes that are played are to be started anew, and others have had their time.
    pub(crate) fn renew(&mut self, config: &Config) {
        let in_use = config.order.iter().map(|mode| config.modes[mode.0].program);
        let template = |place: usize| {
            let program = &config.programs[place].run;
            program.template.map(|_| (place, program.ready_timeout))
        };
        self.order(&Order::Renew { templates: in_use.filter_map(template).collect() });
    }

    /// The launch that was ordered last, of those that were not answered. A process that exists now belongs to it,
    /// to an earlier one, or to none.
    pub(crate) fn last_ordered(&self) -> Option<GameId> {
        self.ordered.last().copied()
    }

    /// Whether a launch that was ordered before this one, or this one, was not answered.
    pub(crate) fn awaits_up_to(&self, game: GameId) -> bool {
        self.ordered.first().is_some_and(|first| *first <= game)
    }

    fn awaits_anything(&self) -> bool {
        !(self.unclean.is_empty() && self.lost.is_empty() && self.ordered.is_empty())
    }

    fn order(&mut self, order: &Order) {
        // While there is none, the next one is told all that matters at its start.
        if self.running.is_some() {
            self.watchdog.tell(Instant::now());
            self.push(order);
        }
    }

    fn push(&mut self, order: &Order) {
        let Some(running) = &mut self.running else { return };
        // Serializing fails only for maps with keys that are not strings, which no order holds.
        running.unsent.push_back(serde_json::to_vec(order).unwrap_or_default());
        running.send();
    }

    /// There is room for orders again.
    pub(crate) fn send(&mut self) {
        if let Some(running) = &mut self.running {
            running.send();
        }
    }

    // ---- Answers ----

    /// The next answer, until there is none.
    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let running = self.running.as_mut()?;
            let (told, attached) = match running.channel.receive() {
                Ok(Some(received)) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(None) | Err(_) => {
                    self.lose();
                    return Some(Answer::Gone);
                }
            };
            self.watchdog.hear();
            if let Some(answer) = self.take(told, attached) {
                return Some(answer);
            }
        }
    }

    fn take(&mut self, told: Told, attached: Vec<OwnedFd>) -> Option<Answer> {
        let mut attached = attached.into_iter();
        Some(match told {
            Told::Launched { game, pid } => {
                let game = GameId(game);
                if !self.ordered.remove(&game) {
                    return None;
                }
                let output = attached.next().map(PipeReader::from);
                let control = attached.next().map(UnixStream::from);
                Answer::Launched { game, process: NewProcess { pid, control, output } }
            }
            Told::Failed { game, fault } => {
                let game = GameId(game);
                if !self.ordered.remove(&game) {
                    return None;
                }
                Answer::Failed { game, fault: fault_of(fault) }
            }
            Told::CleanedUp { game, left, is_out_of_memory, is_port_taken, is_directory_full } => {
                let game = GameId(game);
                if let Some(fault) = self.lost.remove(&game) {
                    return Some(Answer::Failed { game, fault });
                }
                if !self.unclean.remove(&game) {
                    return None;
                }
                self.awaited.remove(&game);
                Answer::CleanedUp {
                    game,
                    remains: Remains { left, is_out_of_memory, is_port_taken, is_directory_full },
                }
            }
            Told::DirectoryFull { game, bytes, entries } => {
                Answer::DirectoryFull { game: GameId(game), bytes, entries }
            }
            Told::Template { program, pid } => {
                Answer::Template { program, pid, output: attached.next() }
            }
            Told::Paused => Answer::Holding,
            Told::Pong => {
                self.watchdog.hear_answer();
                return None;
            }
        })
    }

    // ---- Life and death ----

    /// When a launcher is to be started, while there is none; when to look after it, while there is one.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.restart_at.or(self.watchdog.look_at())
    }

    /// Kills a launcher that stands still. When it is dead that is heard as of any other: only then can it make no
    /// process any more, and is replaced.
    pub(crate) fn look_after(&mut self, now: Instant) {
        match self.watchdog.look(now, self.awaits_anything()) {
            Verdict::Wait => {}
            Verdict::Ask => self.push(&Order::Ping),
            Verdict::GiveUp => {
                let Some(running) = &self.running else { return };
                log::error!(
                    "the launcher does not answer pid={}; it is killed",
                    running.process.pid()
                );
                // `false`: it has died meanwhile.
                let _ = running.process.signal(SIGKILL);
            }
        }
    }

    /// Ends the launcher, and is about to start one that knows the programs of a configuration. Whether it had to: what
    /// this one knows may be enough.
    pub(crate) fn go_on_with(&mut self, config: &Config, now: Instant) -> bool {
        let known = std::mem::replace(&mut self.setup.programs, programs_of(config));
        let programs = &self.setup.programs;
        if known.len() == programs.len()
            && known.iter().zip(programs).all(|(it, is)| it.same_process_as(is))
        {
            return false;
        }
        if let Some(running) = self.running.take() {
            log::info!(
                "the launcher is replaced: it does not know all programs pid={}",
                running.process.pid()
            );
            end_launcher(running.process.pid());
        }
        self.lose_orders();
        self.restart_at = Some(now);
        true
    }

    /// Starts another launcher, if there is none and it is time, and tells it which games there are. Whether it did.
    pub(crate) fn restart(
        &mut self,
        now: Instant,
        games: impl Iterator<Item = LivingGame>,
    ) -> bool {
        if self.restart_at.is_none_or(|at| at > now) {
            return false;
        }
        self.unclean.retain(|game| !self.awaited.contains(game));
        self.setup.games = games.filter(|it| !self.unclean.contains(&GameId(it.game))).collect();
        self.setup.awaited = self.awaited.iter().map(|game| game.0).collect();
        // What was ordered while there was none is lost, too: nobody heard of it.
        self.lose_orders();
        self.setup.unclean =
            self.unclean.iter().chain(self.lost.keys()).map(|game| game.0).collect();
        self.unclean.extend(&self.awaited);
        match self.spawn() {
            Ok(running) => {
                log::info!("another launcher started pid={}", running.process.pid());
                (self.running, self.restart_at) = (Some(running), None);
                self.setup.is_replacement = true;
                self.watchdog.begin(now);
                true
            }
            Err(error) => {
                log::error!("cannot start the launcher: {error}; no game can start meanwhile");
                self.restart_at = Some(now + self.pause);
                self.pause = (self.pause * 2).min(RESTART_MAX);
                false
            }
        }
    }

    /// The launcher is gone, or as good as that.
    fn lose(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.watchdog.rest();
        // `false`: it is dead.
        let _ = running.process.signal(SIGKILL);
        let lived = running.started.elapsed();
        self.pause = if lived < LIFE_MIN { (self.pause * 2).min(RESTART_MAX) } else { RESTART_MIN };
        // The first time costs no pause.
        let pause = if self.pause <= RESTART_MIN * 2 { Duration::ZERO } else { self.pause };
        self.restart_at = Some(Instant::now() + pause);
        log::error!(
            "the launcher is gone pid={}; starting another {}",
            running.process.pid(),
            units::after(pause)
        );
        self.lose_orders();
    }

    fn lose_orders(&mut self) {
        let lost = std::mem::take(&mut self.ordered).into_iter();
        self.lost.extend(lost.map(|game| (game, LaunchFault::Interrupted)));
    }

    fn spawn(&self) -> io::Result<Running> {
        let mut setup = std::fs::File::from(memfd_create("muster-setup", MemfdFlags::CLOEXEC)?);
        setup.write_all(&serde_json::to_vec(&self.setup)?)?;
        setup.rewind()?;
        let (ours, its) = Channel::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let mut command = Command::new("/proc/self/exe");
        // What the service manager says is said to the daemon.
        let manager = store::VARIABLES.into_iter().chain(WATCHDOG_VARIABLES).chain([NOTIFY_SOCKET]);
        for variable in manager {
            command.env_remove(variable);
        }
        command.env(INSTANCE, launcher::instance(&self.setup.directory));
        let missing = |error: io::Error| match Path::new("/proc/self/exe").exists() {
            true => error,
            false => io::Error::other(
                "/proc is not there, by which Muster starts its own program and finds what games leave behind; \
                 mount -t proc proc /proc",
            ),
        };
        let child = command
            .arg0(launcher::NAME)
            .stdin(Stdio::from(OwnedFd::from(setup)))
            .stdout(Stdio::from(its))
            // What is meant for the daemon's group, Ctrl-C for one, is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(missing)?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        Ok(Running {
            process: Pidfd::open(pid)?,
            channel: Channel::new(ours),
            started: Instant::now(),
            unsent: VecDeque::new(),
        })
    }
}

/// Makes the place for the games' working directories: where the service manager says, or the environment; else in
/// memory if that can be had, as a directory is made there in a hundredth of the time that it takes on a disk.
fn make_place() -> io::Result<Place> {
    let given = first_directory("RUNTIME_DIRECTORY").or_else(|| variable("TMPDIR").map(Into::into));
    let make_in = |parent: PathBuf| {
        let parent = std::path::absolute(parent)?;
        let made = tempfile::Builder::new().prefix("muster-").tempdir_in(parent)?;
        Ok(Place(made.keep()))
    };
    match given {
        Some(parent) => make_in(parent),
        None => make_in("/dev/shm".into()).or_else(|_| make_in(temporary_directory())),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is gone if the launcher could do what it is to do.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Kills a launcher, and waits until it can make no process any more.
fn end_launcher(pid: i32) {
    let Some(process) = Pidfd::open(pid).ok().filter(|_| processes::is_child(pid)) else { return };
    // `false`: it is dead.
    let _ = process.signal(SIGKILL);
    if !process.wait(Some(END_MAX)).unwrap_or_default() {
        log::error!("the launcher of the program before this one does not end pid={pid}");
    }
}

fn programs_of(config: &Config) -> Vec<Program> {
    config.programs.iter().map(|program| program.run.clone()).collect()
}

fn fault_of(fault: Fault) -> LaunchFault {
    match fault {
        Fault::PortBusy => LaunchFault::PortBusy,
        Fault::Other(why) => LaunchFault::Other(why),
    }
}

impl Running {
    fn send(&mut self) {
        while let Some(packet) = self.unsent.front() {
            match self.channel.send_packet(packet, &[]) {
                Ok(()) => drop(self.unsent.pop_front()),
                // It has too much to do, which ends; or it is gone, which is heard when it is listened to.
                Err(_) => return,
            }
        }
    }
}

impl Drop for Launcher {
    /// Lets the launcher finish, so that the working directories are gone when the daemon is; but not for ever: it
    /// may stand still.
    fn drop(&mut self) {
        let Some(Running { process, channel, .. }) = self.running.take() else { return };
        drop(channel);
        let pid = process.pid();
        if !process.wait(Some(END_MAX)).unwrap_or_default() {
            log::warn!("the launcher does not end pid={pid}; it is killed");
            // `false`: it has ended meanwhile.
            let _ = process.signal(SIGKILL);
        }
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
        if let Err(error) = std::fs::remove_dir(&self.place.0) {
            log::debug!("{} is not empty: {error}", self.place.0.display());
        }
    }
}
