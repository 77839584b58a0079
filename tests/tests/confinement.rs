//! What a game that means harm can do: nothing (row 26, one probe a denial), and what one that takes all that it can
//! get does to others: nothing (row 27).
//!
//! A hostile game tries what the test asks of it, with facts that it would not have by itself. What each layer
//! denies is written beside the probe ([`probes`]), and is tried with that layer alone; with all of them; and
//! with none, so that nothing is denied because the probe is wrong.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use nix::libc;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_unlink};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::statvfs::FsFlags;
use tempfile::TempDir;
use tests::{Log, Muster, SOON, Setup, hostile_game, proc, wait_until};

use Layer::{Default, Ipc, Landlock, Mount, Network, Strict, User};

/// A layer of confinement that denies something by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    User,
    Network,
    Ipc,
    Mount,
    Landlock,
    /// System calls, but for those of ordinary programs.
    Default,
    /// System calls, but for those of a game that has all that it needs.
    Strict,
}

/// Something that a game is to try, and who denies it alone to a game of root's.
struct Probe {
    words: String,
    denied_by: &'static [Layer],
    /// The game is another one afterwards, if it is there at all.
    is_last: bool,
}

/// What is there to be got at.
struct Prey {
    /// A directory that is open to all, and so is what is in it.
    directory: TempDir,
    /// A copy of the game that is nobody else's.
    program: PathBuf,
    tcp: TcpListener,
    udp: UdpSocket,
    abstract_name: String,
    queue: Queue,
    _listeners: [UnixListener; 2],
}

/// A message queue of the host's.
struct Queue {
    name: String,
    _open: MqdT,
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = mq_unlink(self.name.as_str());
    }
}

impl Prey {
    fn lay_out() -> Self {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o777);
        let secret = directory.path().join("secret");
        fs::write(&secret, "a secret\n").unwrap();
        set_mode(&secret, 0o666);
        let mine = directory.path().join("mine");
        fs::write(&mine, "root's alone\n").unwrap();
        set_mode(&mine, 0o600);
        let program = directory.path().join("hostile-game");
        // A process of its own copies: what is open for writing cannot be run.
        let status = std::process::Command::new("cp").arg(hostile_game()).arg(&program).status();
        assert!(status.unwrap().success());
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        set_mode(&path, 0o777);
        let abstract_name = directory.path().to_str().unwrap().replace('/', "-");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            program,
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            queue: Queue::make(&format!("/{abstract_name}")),
            _listeners: [listener, UnixListener::bind_addr(&address).unwrap()],
            abstract_name,
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Queue {
    fn make(name: &str) -> Self {
        let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL;
        let size = MqAttr::new(0, 1, 100, 0);
        let _open = mq_open(name, flags, Mode::from_bits_truncate(0o666), Some(&size)).unwrap();
        Self { name: name.to_owned(), _open }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A daemon with hostile games.
struct Stage {
    prey: Prey,
    muster: Muster,
    victim: Game,
}

/// A hostile game that does what it is asked.
struct Game {
    number: String,
    pid: i32,
    socket: UdpSocket,
}

/// What a game says of a probe.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done(String),
    Denied(String),
}

impl Stage {
    /// With games that are confined as `keys` say, and everything else off.
    fn with(keys: &str) -> Self {
        Self::of(Setup::default(), Prey::lay_out(), &format!("enabled = false\n{keys}"))
    }

    fn of(setup: Setup, prey: Prey, keys: &str) -> Self {
        let keys = format!("players = 1\nwarm = 0\n[mode.confinement]\n{keys}");
        let program = prey.program.to_str().unwrap();
        let muster = setup.mode("bad", &[program, "probes"], &keys).start();
        let victim = Game::start(&muster, "bad");
        fs::write(victim.directory().join("kept"), "the game's own").unwrap();
        Self { prey, muster, victim }
    }

    /// Has every probe tried; `is_due` says whether its denial is.
    fn try_all(&self, is_due: impl Fn(&Probe) -> bool) {
        let mut game = Game::start(&self.muster, "bad");
        let mut wrong = Vec::new();
        for probe in self.probes() {
            let answer = game.ask(&self.muster, &probe.words);
            if is_denied(&answer) != is_due(&probe) {
                wrong.push(format!("{}: {answer:?}", probe.words));
            }
            if probe.is_last && matches!(answer, Answer::Done(_)) {
                game.end(&self.muster);
                game = Game::start(&self.muster, "bad");
            }
        }
        game.end(&self.muster);
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.muster.log().text());
    }

    fn probes(&self) -> Vec<Probe> {
        let mut probes = self.files();
        probes.extend(self.programs());
        probes.extend(self.network());
        probes.extend(self.processes());
        probes.extend(self.rights());
        probes
    }

    fn files(&self) -> Vec<Probe> {
        let prey = |name: &str| self.prey.path(name);
        let daemon = self.muster.pid();
        let victim = self.victim.pid;
        let others = self.victim.directory();
        let others = others.to_str().unwrap();
        let config = config_of(daemon);
        let program = self.prey.program.to_str().unwrap();
        vec![
            probe("read /etc/passwd", &[Landlock]),
            probe("read /etc/shadow", &[Landlock, User]),
            probe(format!("read {}", prey("secret")), &[Landlock]),
            probe(format!("read {}", prey("mine")), &[Landlock, User]),
            probe(format!("read /proc/self/root{}", prey("secret")), &[Landlock]),
            probe(format!("read {config}"), &[Landlock]),
            probe(format!("read {others}/kept"), &[Landlock, User]),
            probe("read /proc/self/environ", &[Landlock]),
            probe(format!("read /proc/{daemon}/environ"), &[Landlock, User]),
            probe(format!("read /proc/{victim}/environ"), &[Landlock, User]),
            probe(format!("read /proc/{victim}/maps"), &[Landlock, User]),
            probe(format!("read /proc/{victim}/mem"), &[Landlock, User]),
            probe(format!("read /proc/{daemon}/mem"), &[Landlock, User]),
            probe("read /dev/kmsg", &[Landlock, User]),
            probe("list /", &[Landlock, Strict]),
            probe("list /tmp", &[Landlock, Strict]),
            probe("list /proc", &[Landlock, Strict]),
            probe(format!("list {others}"), &[Landlock, User, Strict]),
            probe(format!("list /proc/{daemon}/fd"), &[Landlock, User, Strict]),
            probe(format!("write {}", prey("secret")), &[Landlock, Mount, Strict]),
            probe(format!("write {others}/kept"), &[Landlock, User, Strict]),
            probe(format!("create {}", prey("new")), &[Landlock, Mount, Strict]),
            probe("create /usr/muster-probe", &[Landlock, Mount, User, Strict]),
            probe("create /etc/muster-probe", &[Landlock, Mount, User, Strict]),
            probe("create /dev/shm/muster-probe", &[Landlock, Mount, Strict]),
            probe(format!("create {others}/new"), &[Landlock, User, Strict]),
            probe(format!("move {program}"), &[Landlock, Mount, Strict]),
            probe(format!("chmod {program}"), &[Mount, User, Default, Strict]),
            probe(format!("chmod {others}"), &[User, Default, Strict]),
            probe("device disk", &[User, Default, Strict]),
        ]
    }

    fn programs(&self) -> Vec<Probe> {
        let program = self.prey.program.to_str().unwrap();
        let other = self.prey.path("other");
        let _ = fs::copy("/bin/echo", &other);
        vec![
            last("exec /bin/sh -c echo${IFS}executed", &[Strict]),
            last("exec /bin/echo executed", &[Strict]),
            last(format!("exec {program} executed"), &[Strict]),
            last(format!("exec {other} executed"), &[Landlock, Strict]),
            last(format!("exec {} /bin/echo executed", loader()), &[Strict]),
            last("exec-memory /bin/echo", &[Strict]),
            probe("spawn /bin/echo spawned", &[Strict]),
            probe("thread", &[Strict]),
        ]
    }

    fn network(&self) -> Vec<Probe> {
        let tcp = self.prey.tcp.local_addr().unwrap().port();
        let udp = self.prey.udp.local_addr().unwrap().port();
        let socket = self.prey.path("socket");
        let name = &self.prey.abstract_name;
        vec![
            probe("socket tcp", &[Default, Strict]),
            probe("socket tcp6", &[Default, Strict]),
            probe("socket udp", &[Default, Strict]),
            probe("socket unix", &[Default, Strict]),
            probe("socket netlink", &[Default, Strict]),
            probe("socket raw", &[User, Default, Strict]),
            probe("socket packet", &[User, Default, Strict]),
            probe(format!("tcp {tcp}"), &[Network, Landlock, Default, Strict]),
            probe(format!("udp {udp}"), &[Network, Default, Strict]),
            probe(format!("unix {socket}"), &[Default, Strict]),
            probe(format!("abstract {name}"), &[Network, Landlock, Default, Strict]),
        ]
    }

    fn processes(&self) -> Vec<Probe> {
        let daemon = self.muster.pid();
        let launcher = self.muster.launcher();
        let victim = self.victim.pid;
        let address = self.victim.address();
        let mut probes = vec![
            // Its process group.
            probe(format!("signal -{victim}"), &[Landlock, User, Strict]),
            probe(format!("peek {victim} {address}"), &[Landlock, User, Default, Strict]),
        ];
        for pid in [daemon, launcher, victim] {
            probes.extend([
                probe(format!("signal {pid}"), &[Landlock, User, Strict]),
                probe(format!("trace {pid}"), &[Landlock, User, Default, Strict]),
                probe(format!("descriptor {pid} 1"), &[Landlock, User]),
                probe(format!("limit {pid}"), &[User, Default, Strict]),
                probe(format!("slow {pid}"), &[User, Default, Strict]),
                probe(format!("pin {pid}"), &[User, Default, Strict]),
            ]);
        }
        probes
    }

    fn rights(&self) -> Vec<Probe> {
        let daemon = self.muster.pid();
        let queue = &self.prey.queue.name;
        vec![
            probe("become-root", &[User, Strict]),
            probe(format!("queue {queue}"), &[Ipc, Landlock, Default, Strict]),
            probe("mount .", &[User, Landlock, Default, Strict]),
            last("unshare net", &[User, Default, Strict]),
            last("unshare ipc", &[User, Default, Strict]),
            last("unshare pid", &[User, Default, Strict]),
            last("unshare mount", &[User, Default, Strict]),
            last("unshare user", &[Default, Strict]),
            last(format!("enter /proc/{daemon}/ns/net"), &[User, Landlock, Default, Strict]),
            last("chroot .", &[User, Default, Strict]),
        ]
    }
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer, Answer::Denied(_))
}

fn probe(words: impl Into<String>, denied_by: &'static [Layer]) -> Probe {
    Probe { words: words.into(), denied_by, is_last: false }
}

fn last(words: impl Into<String>, denied_by: &'static [Layer]) -> Probe {
    Probe { is_last: true, ..probe(words, denied_by) }
}

impl Game {
    fn start(muster: &Muster, mode: &str) -> Self {
        let assigned = muster.join(mode, "ada").assignment(SOON).unwrap();
        let of_match = format!("match={} ", assigned.match_id);
        let line = muster.log().wait_for(&["match assigned", &of_match]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, assigned.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let number = Log::field(&line, "game").to_owned();
        Self { number, pid: Log::field(&line, "pid").parse().unwrap(), socket }
    }

    /// Asks for a probe; a game that became another program cannot answer, which says so in the log.
    fn ask(&self, muster: &Muster, words: &str) -> Answer {
        self.socket.send(words.as_bytes()).unwrap();
        let output = format!("output game={} ", self.number);
        let mut datagram = [0; 60_000];
        let mut answer = None;
        wait_until(&format!("an answer to {words}"), || {
            answer = match self.socket.recv(&mut datagram) {
                Ok(length) => Some(String::from_utf8_lossy(&datagram[..length]).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
                Err(_) => {
                    let executed = muster.log().lines_with(&[&output, ": executed"]);
                    executed.first().map(|_| "done executed".to_owned())
                }
            };
            answer.is_some()
        });
        let answer = answer.unwrap();
        match answer.split_once(' ').unwrap() {
            ("done", what) => Answer::Done(what.to_owned()),
            (_, why) => Answer::Denied(why.to_owned()),
        }
    }

    /// Has it end, if it has not yet, and waits for its port.
    fn end(&self, muster: &Muster) {
        let _ = self.socket.send(b"end");
        muster.log().wait_for(&["game ended", &format!("game={} ", self.number)]);
    }

    /// Whether it got the signal that a game sends to everybody.
    fn is_signalled(&self) -> bool {
        let pending = proc::status(self.pid, "ShdPnd").unwrap();
        let bit = 1 << (Signal::SIGURG as u32 - 1);
        u64::from_str_radix(&pending, 16).unwrap() & bit != 0
    }

    /// As whom it runs.
    fn user(&self) -> u32 {
        let users = proc::status(self.pid, "Uid").unwrap();
        users.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    fn directory(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap()
    }

    /// An address in its memory where there is something.
    fn address(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).unwrap();
        usize::from_str_radix(heap.split_once('-').unwrap().0, 16).unwrap()
    }
}

/// The config file that a daemon was started with.
fn config_of(daemon: i32) -> String {
    let words = fs::read_to_string(format!("/proc/{daemon}/cmdline")).unwrap();
    let mut words = words.split('\0').skip_while(|word| *word != "--config");
    words.nth(1).unwrap().to_owned()
}

/// The dynamic loader, which runs programs that may not be run.
fn loader() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut files = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
    files.find(|file| file.contains("/ld-")).expect("a dynamic loader").to_owned()
}

/// Tries the probes with one layer and no other. Where the test is not root's, much of it is denied by that.
fn alone(keys: &str, is_due: impl Fn(&Probe) -> bool) {
    if rustix::process::getuid().is_root() {
        Stage::with(keys).try_all(is_due);
    }
}

/// Without walls a game of root's can do all of it: no probe is denied for another reason than a wall.
#[test]
fn everything_can_be_done_without_walls() {
    alone("", |_| false);
}

#[test]
fn a_user_alone() {
    alone("user = true", |probe| probe.denied_by.contains(&User));
}

#[test]
fn a_network_alone() {
    alone("network = true", |probe| probe.denied_by.contains(&Network));
}

#[test]
fn an_ipc_namespace_alone() {
    alone("ipc = true", |probe| probe.denied_by.contains(&Ipc));
}

#[test]
fn a_read_only_file_system_alone() {
    alone("mount = true", |probe| probe.denied_by.contains(&Mount));
}

#[test]
fn landlock_alone() {
    let keys = "landlock = true\nno_new_privileges = true";
    alone(keys, |probe| probe.denied_by.contains(&Landlock));
}

/// Of the files that its linking takes it can read any, as that is for Landlock to say, but write and make none.
#[test]
fn the_strict_list_of_calls_alone() {
    let keys = "seccomp = \"strict\"\nno_new_privileges = true";
    alone(keys, |probe| probe.denied_by.contains(&Strict));
}

#[test]
fn the_default_list_of_calls_alone() {
    let keys = "seccomp = \"default\"\nno_new_privileges = true";
    alone(keys, |probe| probe.denied_by.contains(&Default));
}

/// Tries everything behind all walls. With the default list of calls a game runs programs of the system, and has
/// threads and children: those are the probes that only the strict list denies.
fn behind_all_walls(setup: Setup, prey: Prey, profile: &str) {
    let stage = Stage::of(setup, prey, &format!("seccomp = \"{profile}\""));
    stage.try_all(|probe| profile == "strict" || probe.denied_by != [Strict]);
    let game = Game::start(&stage.muster, "bad");
    let ask = |words: &str| game.ask(&stage.muster, words);
    assert_eq!(ask("descriptors"), Answer::Done("[0, 1, 2, 3, 4]".to_owned()));
    assert!(is_denied(&ask("raise-limit")));
    // The kernel says that it was done, whoever was not signalled.
    ask("signal-all");
    assert!(!stage.victim.is_signalled());
    // Playing it may: with its socket, and where files are made with its own.
    let udp = stage.prey.udp.local_addr().unwrap().port();
    assert!(profile == "strict" || !is_denied(&ask("create own")));
    assert!(!is_denied(&ask(&format!("send {udp}"))));
    game.end(&stage.muster);
}

/// Who is not root has no users to give away: the games share his with each other, and with the daemon.
fn unprivileged(prey: &Prey) -> Setup {
    let setup = Setup::default();
    match rustix::process::getuid().is_root() {
        true => setup.beside(prey.directory.path()).user(40_000 + std::process::id() % 20_000),
        false => setup,
    }
}

#[test]
fn nothing_can_be_done_behind_all_walls_with_the_default_list() {
    behind_all_walls(Setup::default(), Prey::lay_out(), "default");
}

#[test]
fn nothing_can_be_done_behind_all_walls_with_the_strict_list() {
    behind_all_walls(Setup::default(), Prey::lay_out(), "strict");
}

#[test]
fn nothing_can_be_done_with_the_default_list_where_muster_is_not_root() {
    let prey = Prey::lay_out();
    behind_all_walls(unprivileged(&prey), prey, "default");
}

#[test]
fn nothing_can_be_done_with_the_strict_list_where_muster_is_not_root() {
    let prey = Prey::lay_out();
    behind_all_walls(unprivileged(&prey), prey, "strict");
}

/// What is not seen behind walls is seen without them: a signal to everybody. It is the daemon's user that keeps
/// it from everybody else.
#[test]
fn everybody_of_a_user_is_signalled_without_walls() {
    let prey = Prey::lay_out();
    if rustix::process::getuid().is_root() {
        let stage = Stage::of(unprivileged(&prey), prey, "enabled = false");
        Game::start(&stage.muster, "bad").ask(&stage.muster, "signal-all");
        assert!(stage.victim.is_signalled());
    }
}

/// A daemon with greedy games, and honest ones of another mode. Who has no users to give away has no limit to the
/// number of a game's processes either, unless a tree of control groups was delegated to him: what is counted by
/// user would count the games of others. So these are for root.
fn with_greed(setup: Setup, behaviour: &str) -> Option<Muster> {
    let keys = "players = 1\nwarm = 0\n[mode.confinement]\nseccomp = \"default\"\n\
                memory_max = \"64MiB\"\nprocesses_max = 24";
    let setup = setup.confined_hostile("greedy", &[behaviour], keys);
    let setup = setup.confined_hostile("honest", &["probes"], keys);
    rustix::process::getuid().is_root().then(|| setup.start())
}

fn plays(muster: &Muster, game: &Game) {
    // A thread and a process of its own: nobody else's count against it.
    assert_eq!(game.ask(muster, "thread"), Answer::Done("ran".to_owned()));
    let spawned = game.ask(muster, "spawn /bin/echo spawned");
    assert_eq!(spawned, Answer::Done("spawned".to_owned()));
}

/// The living processes of a user.
fn processes_of(user: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_his = |pid: &i32| {
        let users = proc::status(*pid, "Uid");
        let is_his = users.is_some_and(|users| users.starts_with(&format!("{user}\t")));
        is_his && proc::is_alive(*pid)
    };
    pids.filter(is_his).collect()
}

/// Row 27: while a fork bomb goes off, the game of others is played on, and new ones start. At the end of its match
/// nothing is left of it.
#[test]
fn a_fork_bomb_harms_its_own_match_alone() {
    let Some(muster) = with_greed(Setup::default(), "bombs") else { return };
    let before = Game::start(&muster, "honest");
    let greedy = Game::start(&muster, "greedy");
    let user = greedy.user();
    muster.log().wait_for(&[&format!("output game={} ", greedy.number), "refused"]);
    let count = processes_of(user).len();
    assert!((2..=24).contains(&count), "{count} processes");
    plays(&muster, &before);
    let after = Game::start(&muster, "honest");
    plays(&muster, &after);
    greedy.end(&muster);
    muster.log().wait_for(&["port free"]);
    assert_eq!(processes_of(user), [0; 0]);
    plays(&muster, &before);
    before.end(&muster);
    after.end(&muster);
    muster.wait_until_calm("greedy", 0);
}

/// Rows 21 and 27: processes that are always others than a moment ago, in the name of nobody, when their game ends.
#[test]
fn those_who_never_stay_are_ended_with_their_user() {
    let Some(muster) = with_greed(Setup::default().ports(1), "leaves-fugitives") else { return };
    for number in 1..=10 {
        let game = Game::start(&muster, "greedy");
        muster.log().wait_for_count(8 * number, &["output game=", ": fled"]);
        game.end(&muster);
        muster.log().wait_for_count(number, &["port free"]);
    }
    muster.wait_until_calm("greedy", 0);
    // They have the port, each of them. No list of processes would show any.
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// Row 27: a game that takes all the memory that there is gets no more than its mode allows, and ends by that.
#[test]
fn a_memory_hog_ends_its_own_match_alone() {
    let Some(muster) = with_greed(Setup::default(), "hogs") else { return };
    let honest = Game::start(&muster, "honest");
    let greedy = Game::start(&muster, "greedy");
    greedy.end(&muster);
    let output = format!("output game={} ", greedy.number);
    muster.log().wait_for(&[&output, "has 32 MB"]);
    assert_eq!(muster.log().lines_with(&[&output, "has 64 MB"]), [""; 0]);
    plays(&muster, &honest);
    honest.end(&muster);
    muster.wait_until_calm("greedy", 0);
}

/// A mode's limits, with no other wall than the user who cannot raise them.
#[test]
fn limits_alone() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let keys = "user = true\nmemory_max = \"64MiB\"\nfile_size_max = \"1MiB\"\nfiles_max = 32\n\
                cpu_time_max = \"1s\"";
    let stage = Stage::with(keys);
    let game = Game::start(&stage.muster, "bad");
    let ask = |words: &str| game.ask(&stage.muster, words);
    let (enough, too_much) = (["memory 16777216", "open 10"], ["memory 67108864", "open 40"]);
    assert_eq!(enough.map(|words| is_denied(&ask(words))), [false; 2]);
    assert_eq!(too_much.map(|words| is_denied(&ask(words))), [true; 2]);
    assert_eq!(ask("fill own 1048576"), Answer::Denied("File too large (os error 27)".to_owned()));
    assert!(is_denied(&ask("raise-limit")));
    // Of all this without limits there is plenty.
    let free = Stage::with("files_max = \"unlimited\"");
    let unlimited = Game::start(&free.muster, "bad");
    for words in too_much.into_iter().chain(["fill own 1048576"]) {
        assert!(!is_denied(&unlimited.ask(&free.muster, words)), "{words}");
    }
    game.socket.send(b"spin").unwrap();
    stage.muster.log().wait_for(&["game ended", &format!("game={} ", game.number), "signal"]);
}

/// A program that makes root of whoever runs it makes nothing of a game.
#[test]
fn no_new_privileges_alone() {
    let prey = Prey::lay_out();
    let place = nix::sys::statvfs::statvfs(prey.directory.path()).unwrap();
    if !rustix::process::getuid().is_root() || place.flags().contains(FsFlags::ST_NOSUID) {
        return;
    }
    let id = prey.path("id");
    fs::copy("/usr/bin/id", &id).unwrap();
    set_mode(Path::new(&id), 0o4755);
    let ask = |prey: Prey, keys: &str| {
        let stage = Stage::of(Setup::default(), prey, &format!("enabled = false\n{keys}"));
        let answer = stage.victim.ask(&stage.muster, &format!("spawn {id} -u"));
        (answer, stage.victim.user(), stage.prey)
    };
    let (answer, _, prey) = ask(prey, "user = true");
    assert_eq!(answer, Answer::Done("0".to_owned()));
    let (answer, user, _prey) = ask(prey, "user = true\nno_new_privileges = true");
    assert_eq!(answer, Answer::Done(user.to_string()));
}

/// System calls that no library offers to safe code, with arguments that do no harm. Perl makes them, where there is
/// one; the strict list, which runs no Perl, has no call that is not in the default one.
#[test]
fn calls_that_are_not_on_the_default_list() {
    const PERL: &str = "/usr/bin/perl";
    if !rustix::process::getuid().is_root() || !Path::new(PERL).exists() {
        return;
    }
    let walls = Stage::with("seccomp = \"default\"\nno_new_privileges = true");
    let free = Stage::with("");
    let (denied, missing) = (libc::EPERM.to_string(), libc::ENOSYS.to_string());
    for (call, arguments) in RAW_CALLS {
        let words = format!("spawn {PERL} -e print(syscall({call},{arguments})<0?$!+0:0)");
        let error_of = |stage: &Stage| match stage.victim.ask(&stage.muster, &words) {
            Answer::Done(error) => error,
            Answer::Denied(why) => panic!("{words}: {why}"),
        };
        let is_missing = [libc::SYS_clone3, libc::SYS_io_uring_setup].contains(call);
        assert_eq!(&error_of(&walls), if is_missing { &missing } else { &denied }, "{call}");
        assert_ne!(error_of(&free), denied, "{call}");
    }
}

/// Each of them is answered with another error than EPERM where it may be made.
const RAW_CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_bpf, "-1,0,0"),
    (libc::SYS_perf_event_open, "0,0,0,0,0"),
    (libc::SYS_io_uring_setup, "0,0"),
    (libc::SYS_userfaultfd, "-1"),
    (libc::SYS_keyctl, "-1,0,0,0,0"),
    (libc::SYS_add_key, "0,0,0,0,0"),
    (libc::SYS_request_key, "0,0,0,0"),
    (libc::SYS_shmget, "0,0,0"),
    (libc::SYS_semget, "0,0,0"),
    (libc::SYS_msgget, "1,0"),
    (libc::SYS_clone3, "0,0"),
    (libc::SYS_fsopen, "0,0"),
    (libc::SYS_open_tree, "-1,0,-1"),
    (libc::SYS_pivot_root, "0,0"),
    (libc::SYS_open_by_handle_at, "-1,0,0"),
    (libc::SYS_process_vm_writev, "0,0,0,0,0,-1"),
    (libc::SYS_swapon, "0,0"),
    (libc::SYS_syslog, "-1,0,0"),
    // By the numbers of another convention, x32, that the same kernel may know.
    #[cfg(target_arch = "x86_64")]
    (0x4000_0000 + libc::SYS_socket, "-1,0,0"),
];

/// Rows 20 and 21 behind walls: the daemon's reach into a game that has a user of its own is no shorter.
#[test]
fn stubborn_games_and_leftovers_end_behind_walls_too() {
    let keys = "players = 1\nwarm = 0\nmax_duration = \"300ms\"\nstop_grace = \"300ms\"\n\
                [mode.confinement]\nseccomp = \"default\"";
    let ways: [&[&str]; 6] = [
        &["stubborn"],
        &["stopped", "started"],
        &["leaves-group"],
        &["leaves", "daemon"],
        &["leaves", "only-socket"],
        &["leaves", "nameless"],
    ];
    for way in ways {
        // On a ring of one port the next match has to wait for what the last one left.
        let muster = Setup::default().ports(1).confined_hostile("bad", way, keys).start();
        for number in 1..=2 {
            muster.join("bad", "ada").assignment(SOON).unwrap();
            muster.log().wait_for_count(number, &["port free"]);
        }
        muster.wait_until_calm("bad", 0);
        assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0], "{way:?}");
    }
}
