//! Confinement of a hostile game (faults row 26, one probe for each denial).
//!
//! The game tries what the test requests, with information that it would not have by itself. The layers that deny a
//! probe are listed beside it ([`probes`]), and each is tested alone, with all others, and with none, so that no probe
//! is denied for another reason.

use std::fs;
use std::path::Path;

use nix::libc;
use nix::sys::statvfs::FsFlags;
use testkit::{AttackTargets, ConfinementFixture, ProbeGame, ProbeResult, SOON, Setup, set_mode};

use Layer::{Default, Inside, Ipc, Landlock, Mount, Network, Rights, Strict, User};

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
    /// The same where the game is in a network of its own: in the host's it makes sockets.
    Inside,
    /// Root without capabilities.
    Rights,
    /// System calls, but for those of a game that has all that it needs.
    Strict,
}

/// An attempt of a game, and the layers that alone deny it to a game that runs as root.
struct Probe {
    words: String,
    denied_by: &'static [Layer],
    /// The game is another one afterwards, if it is there at all.
    is_last: bool,
}

impl Probe {
    fn is_denied_by(&self, layers: &[Layer]) -> bool {
        layers.iter().any(|layer| self.denied_by.contains(layer))
    }
}

/// Has every probe tried; `is_due` says whether its denial is.
fn try_all(fixture: &ConfinementFixture, is_due: impl Fn(&Probe) -> bool) {
    let mut game = ProbeGame::start(&fixture.muster, "bad");
    let mut wrong = Vec::new();
    for probe in probes(fixture) {
        let answer = game.ask(&fixture.muster, &probe.words);
        if answer.is_denied() != is_due(&probe) {
            wrong.push(format!("{}: {answer:?}", probe.words));
        }
        if probe.is_last && matches!(answer, ProbeResult::Done(_)) {
            game.end(&fixture.muster);
            game = ProbeGame::start(&fixture.muster, "bad");
        }
    }
    game.end(&fixture.muster);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), fixture.muster.log().text());
}

fn probes(fixture: &ConfinementFixture) -> Vec<Probe> {
    let mut probes = files(fixture);
    probes.extend(programs(fixture));
    probes.extend(network(fixture));
    probes.extend(processes(fixture));
    probes.extend(rights(fixture));
    probes
}

fn files(fixture: &ConfinementFixture) -> Vec<Probe> {
    let targets = |name: &str| fixture.targets.path(name);
    let daemon = fixture.muster.pid();
    let victim = fixture.victim.pid;
    let others = fixture.victim.directory();
    let others = others.to_str().unwrap();
    let config = config_of(daemon);
    let program = fixture.targets.program.to_str().unwrap();
    vec![
        probe("read /etc/passwd", &[Landlock]),
        probe("read /etc/shadow", &[Landlock, User]),
        probe(format!("read {}", targets("secret")), &[Landlock]),
        probe(format!("read {}", targets("mine")), &[Landlock, User]),
        probe(format!("read /proc/self/root{}", targets("secret")), &[Landlock]),
        probe(format!("read {config}"), &[Landlock]),
        probe(format!("read {others}/kept"), &[Landlock, User]),
        probe(format!("read /proc/{daemon}/environ"), &[Landlock, User, Rights]),
        probe(format!("read /proc/{victim}/environ"), &[Landlock, User]),
        probe(format!("read /proc/{victim}/maps"), &[Landlock, User]),
        probe(format!("read /proc/{victim}/mem"), &[Landlock, User]),
        probe(format!("read /proc/{daemon}/mem"), &[Landlock, User, Rights]),
        probe("read /dev/kmsg", &[Landlock, User, Rights]),
        probe("list /", &[Landlock, Strict]),
        probe("list /tmp", &[Landlock, Strict]),
        probe(format!("list {others}"), &[Landlock, User, Strict]),
        probe(format!("list /proc/{daemon}/fd"), &[Landlock, User, Strict]),
        probe(format!("write {}", targets("secret")), &[Landlock, Mount, Strict]),
        probe(format!("write {others}/kept"), &[Landlock, User, Strict]),
        probe(format!("create {}", targets("new")), &[Landlock, Mount, Strict]),
        probe("create /usr/muster-probe", &[Landlock, Mount, User, Strict]),
        probe("create /etc/muster-probe", &[Landlock, Mount, User, Strict]),
        probe("create /dev/shm/muster-probe", &[Landlock, Mount, Strict]),
        probe(format!("create {others}/new"), &[Landlock, User, Strict]),
        probe(format!("move {program}"), &[Landlock, Mount, Strict]),
        probe(format!("chmod {program}"), &[Mount, User, Default, Strict]),
        probe(format!("chmod {others}"), &[User, Default, Strict]),
        // Landlock does not look at what is only watched.
        probe("watch /etc", &[Default, Strict]),
        probe(format!("watch {}", fixture.targets.path("")), &[Default, Strict]),
        probe("device disk", &[User, Rights, Default, Strict]),
    ]
}

fn programs(fixture: &ConfinementFixture) -> Vec<Probe> {
    let program = fixture.targets.program.to_str().unwrap();
    let other = fixture.targets.path("other");
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

fn network(fixture: &ConfinementFixture) -> Vec<Probe> {
    let tcp = fixture.targets.tcp.local_addr().unwrap().port();
    let udp = fixture.targets.udp.local_addr().unwrap().port();
    let socket = fixture.targets.path("socket");
    let name = &fixture.targets.abstract_name;
    vec![
        probe("socket tcp", &[Inside, Strict]),
        probe("socket tcp6", &[Inside, Strict]),
        probe("socket udp", &[Inside, Strict]),
        probe("socket unix", &[Default, Strict]),
        probe("socket mptcp", &[Default, Strict]),
        probe(format!("datagrams {}", fixture.targets.path("datagrams")), &[Default, Strict]),
        probe("option device", &[Default, Strict]),
        probe("option group", &[Default, Strict]),
        probe("interface lo", &[Default, Strict]),
        probe("socket netlink", &[Inside, Strict]),
        probe("socket raw", &[User, Rights, Default, Strict]),
        probe("socket packet", &[User, Rights, Default, Strict]),
        probe(format!("tcp {tcp}"), &[Network, Strict]),
        probe(format!("udp {udp}"), &[Network, Strict]),
        probe(format!("unix {socket}"), &[Default, Strict]),
        probe(format!("abstract {name}"), &[Network, Landlock, Default, Strict]),
    ]
}

fn processes(fixture: &ConfinementFixture) -> Vec<Probe> {
    let daemon = fixture.muster.pid();
    let launcher = fixture.muster.launcher();
    let victim = fixture.victim.pid;
    let address = fixture.victim.address();
    let mut probes = vec![
        // Its process group.
        probe(format!("signal -{victim}"), &[Landlock, User, Default, Strict]),
        probe(format!("peek {victim} {address}"), &[Landlock, User, Default, Strict]),
    ];
    for pid in [daemon, launcher, victim] {
        // A victim has no more rights than its attacker.
        let slowed: &[Layer] = match pid == victim {
            true => &[User, Default, Strict],
            false => &[User, Rights, Default, Strict],
        };
        probes.extend([
            probe(format!("signal {pid}"), &[Landlock, User, Default, Strict]),
            probe(format!("trace {pid}"), &[Landlock, User, Default, Strict]),
            probe(
                format!("descriptor {pid} 1"),
                if pid == victim {
                    &[Landlock, User, Strict]
                } else {
                    &[Landlock, User, Rights, Strict]
                },
            ),
            probe(format!("limit {pid}"), &[User, Default, Strict]),
            probe(format!("slow {pid}"), slowed),
            probe(format!("pin {pid}"), slowed),
        ]);
    }
    probes
}

fn rights(fixture: &ConfinementFixture) -> Vec<Probe> {
    let daemon = fixture.muster.pid();
    let queue = fixture.targets.queue();
    vec![
        probe("become-root", &[User, Strict]),
        probe(format!("queue {queue}"), &[Ipc, Landlock, Default, Strict]),
        probe("mount .", &[User, Landlock, Default, Strict]),
        last("unshare net", &[User, Rights, Default, Strict]),
        last("unshare ipc", &[User, Rights, Default, Strict]),
        last("unshare pid", &[User, Rights, Default, Strict]),
        last("unshare mount", &[User, Rights, Default, Strict]),
        last("unshare user", &[Default, Strict]),
        last(format!("enter /proc/{daemon}/ns/net"), &[User, Landlock, Default, Strict]),
        last("chroot .", &[User, Rights, Default, Strict]),
    ]
}

fn probe(words: impl Into<String>, denied_by: &'static [Layer]) -> Probe {
    Probe { words: words.into(), denied_by, is_last: false }
}

fn last(words: impl Into<String>, denied_by: &'static [Layer]) -> Probe {
    Probe { is_last: true, ..probe(words, denied_by) }
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
        try_all(&ConfinementFixture::with(keys), is_due);
    }
}

/// Without walls a game of root's can do all of it: no probe is denied for another reason than a wall.
#[test]
fn every_probe_succeeds_without_confinement() {
    alone("", |_| false);
}

#[test]
fn a_user_of_its_own_denies_its_probes() {
    alone("user = true", |probe| probe.denied_by.contains(&User));
}

#[test]
fn a_network_namespace_denies_its_probes() {
    alone("network = true", |probe| probe.denied_by.contains(&Network));
}

#[test]
fn an_ipc_namespace_denies_its_probes() {
    alone("ipc = true", |probe| probe.denied_by.contains(&Ipc));
}

#[test]
fn a_read_only_file_system_denies_its_probes() {
    alone("mount = true", |probe| probe.denied_by.contains(&Mount));
}

#[test]
fn landlock_denies_its_probes() {
    let keys = "landlock = true\nno_new_privileges = true";
    alone(keys, |probe| probe.is_denied_by(&[Landlock, Rights]));
}

/// Of the files that its linking takes it can read any, as that is for Landlock to say, but write and make none.
#[test]
fn the_strict_system_call_profile_denies_its_probes() {
    let keys = "seccomp = \"strict\"\nno_new_privileges = true";
    alone(keys, |probe| probe.is_denied_by(&[Strict, Rights]));
}

#[test]
fn the_default_system_call_profile_denies_its_probes() {
    let keys = "seccomp = \"default\"\nno_new_privileges = true";
    alone(keys, |probe| probe.is_denied_by(&[Default, Rights]));
}

/// Tries everything behind all walls. With the default list of calls a game runs programs of the system, and has
/// threads and children: those are the probes that only the strict list denies.
fn behind_all_walls(setup: Setup, targets: AttackTargets, profile: &str) {
    let fixture = ConfinementFixture::of(setup, targets, &format!("seccomp = \"{profile}\""));
    try_all(&fixture, |probe| profile == "strict" || probe.denied_by != [Strict]);
    let game = ProbeGame::start(&fixture.muster, "bad");
    let ask = |words: &str| game.ask(&fixture.muster, words);
    assert_eq!(ask("descriptors"), ProbeResult::Done("[0, 1, 2, 3, 4]".to_owned()));
    assert!(ask("raise-limit").is_denied());
    assert!(ask(&format!("join-group {}", fixture.victim.pid)).is_denied());
    // What ordinary programs do with sockets and signals of their own they may.
    let is_ordinary = profile == "default";
    for words in ["pair stream", "pair packets", "signal-own"] {
        assert_eq!(ask(words).is_denied(), !is_ordinary, "{words}");
    }
    for words in ["option broadcast", "option buffer"] {
        assert!(!ask(words).is_denied(), "{words}");
    }
    // The kernel reports success, whichever processes were signalled.
    ask("signal-all");
    assert!(!fixture.victim.is_signalled());
    // Playing it may: with its socket, and where files are made with its own.
    let udp = fixture.targets.udp.local_addr().unwrap().port();
    assert!(profile == "strict" || !ask("create own").is_denied());
    assert!(!ask(&format!("send {udp}")).is_denied());
    game.end(&fixture.muster);
}

/// Muster without root cannot change users: the games share its user with each other, and with the daemon.
fn unprivileged(targets: &AttackTargets) -> Setup {
    let setup = Setup::default();
    match rustix::process::getuid().is_root() {
        true => {
            setup.copied_into(targets.directory.path()).user(40_000 + std::process::id() % 20_000)
        }
        false => setup,
    }
}

#[test]
fn full_confinement_with_the_default_profile_denies_every_probe() {
    behind_all_walls(Setup::default(), AttackTargets::create(), "default");
}

#[test]
fn full_confinement_with_the_strict_profile_denies_every_probe() {
    behind_all_walls(Setup::default(), AttackTargets::create(), "strict");
}

#[test]
fn the_default_profile_denies_every_probe_without_root() {
    let targets = AttackTargets::create();
    behind_all_walls(unprivileged(&targets), targets, "default");
}

#[test]
fn the_strict_profile_denies_every_probe_without_root() {
    let targets = AttackTargets::create();
    behind_all_walls(unprivileged(&targets), targets, "strict");
}

/// The attempt that confinement denies succeeds without it: a signal to all processes. The daemon's user limits it to
/// processes of that user.
#[test]
fn an_unconfined_game_can_signal_all_processes_of_its_user() {
    let targets = AttackTargets::create();
    if rustix::process::getuid().is_root() {
        let fixture = ConfinementFixture::of(unprivileged(&targets), targets, "enabled = false");
        ProbeGame::start(&fixture.muster, "bad").ask(&fixture.muster, "signal-all");
        assert!(fixture.victim.is_signalled());
    }
}

/// If the kernel's Landlock has no scope for signals, the system call filter suffices: a game that shares its user can
/// signal only itself.
#[test]
fn without_landlock_a_game_that_shares_its_user_cannot_signal_others() {
    let targets = AttackTargets::create();
    let fixture = ConfinementFixture::of(unprivileged(&targets), targets, "landlock = false");
    let ask = |words: &str| fixture.victim.ask(&fixture.muster, words);
    let other = ProbeGame::start(&fixture.muster, "bad");
    for pid in [other.pid, fixture.muster.pid(), fixture.muster.launcher()] {
        assert!(ask(&format!("signal {pid}")).is_denied(), "{pid}");
        assert!(ask(&format!("signal -{pid}")).is_denied(), "{pid}");
    }
    ask("signal-all");
    assert!(!other.is_signalled());
    assert!(!ask("signal-own").is_denied());
}

/// A program that binds its port makes sockets for UDP and TCP, and no others: on which ports is for Landlock to say.
#[test]
fn a_program_that_binds_its_port_cannot_make_other_sockets() {
    let keys = "players = 1\nwarm = 0\ncontract = \"plain\"\nbind = \"game\"";
    let python = "/usr/bin/python3";
    if !Path::new(python).exists() {
        return println!("skipped: no {python}");
    }
    let script = "\
import os, socket as s
def attempt(name, *kind):
    try: s.socket(*kind); print(name, 'made', flush=True)
    except OSError as error: print(name, 'error', error.errno, flush=True)
attempt('udp', s.AF_INET, s.SOCK_DGRAM)
attempt('udp6', s.AF_INET6, s.SOCK_DGRAM, s.IPPROTO_UDP)
attempt('tcp', s.AF_INET, s.SOCK_STREAM)
attempt('mptcp', s.AF_INET, s.SOCK_STREAM, 262)
attempt('sctp', s.AF_INET, s.SOCK_STREAM, 132)
attempt('ping', s.AF_INET, s.SOCK_DGRAM, s.IPPROTO_ICMP)
game = s.socket(s.AF_INET, s.SOCK_DGRAM)
game.bind(('127.0.0.1', int(os.environ['MUSTER_PORT'])))
print('done', flush=True)
game.recv(100)
";
    let muster = Setup::default().mode("bad", &[python, "-c", script], keys).start();
    muster.join("bad", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["output game=", ": done"]);
    for (name, end) in [
        ("udp", "made"),
        ("udp6", "made"),
        ("tcp", "made"),
        ("mptcp", "error 1"),
        ("sctp", "error 1"),
        ("ping", "error 1"),
    ] {
        let words = format!(": {name} {end}");
        assert_eq!(muster.log().lines_with(&["output game=", &words]).len(), 1, "{words}");
    }
}

/// A set-user-id program gains no privileges in a game.
#[test]
fn no_new_privileges_denies_set_user_id() {
    let targets = AttackTargets::create();
    let place = nix::sys::statvfs::statvfs(targets.directory.path()).unwrap();
    if !rustix::process::getuid().is_root() || place.flags().contains(FsFlags::ST_NOSUID) {
        return;
    }
    let id = targets.path("id");
    fs::copy("/usr/bin/id", &id).unwrap();
    set_mode(Path::new(&id), 0o4755);
    let ask = |targets: AttackTargets, keys: &str| {
        let fixture =
            ConfinementFixture::of(Setup::default(), targets, &format!("enabled = false\n{keys}"));
        let answer = fixture.victim.ask(&fixture.muster, &format!("spawn {id} -u"));
        (answer, fixture.victim.user(), fixture.targets)
    };
    let (answer, _, targets) = ask(targets, "user = true");
    assert_eq!(answer, ProbeResult::Done("0".to_owned()));
    let (answer, user, _targets) = ask(targets, "user = true\nno_new_privileges = true");
    assert_eq!(answer, ProbeResult::Done(user.to_string()));
}

/// System calls that no library offers to safe code, with arguments that do no harm. Perl makes them, where there is
/// one; the strict list, which runs no Perl, has no call that is not in the default one.
#[test]
fn system_calls_outside_the_default_profile_fail() {
    const PERL: &str = "/usr/bin/perl";
    if !rustix::process::getuid().is_root() || !Path::new(PERL).exists() {
        return;
    }
    let confined = ConfinementFixture::with("seccomp = \"default\"\nno_new_privileges = true");
    let free = ConfinementFixture::with("");
    let (denied, missing) = (libc::EPERM.to_string(), libc::ENOSYS.to_string());
    for (call, arguments) in RAW_CALLS {
        let words = format!("spawn {PERL} -e print(syscall({call},{arguments})<0?$!+0:0)");
        let error_of =
            |fixture: &ConfinementFixture| match fixture.victim.ask(&fixture.muster, &words) {
                ProbeResult::Done(error) => error,
                ProbeResult::Denied(why) => panic!("{words}: {why}"),
            };
        let is_missing = [libc::SYS_clone3, libc::SYS_io_uring_setup].contains(call);
        assert_eq!(&error_of(&confined), if is_missing { &missing } else { &denied }, "{call}");
        assert_ne!(error_of(&free), denied, "{call}");
    }
    // abort(3) signals a thread by this call; which thread that is it names itself.
    let daemon = confined.muster.pid();
    let words = |of: i32| {
        format!("spawn {PERL} -e print(syscall({},{of},{of},0)<0?$!+0:0)", libc::SYS_tgkill)
    };
    let ask =
        |fixture: &ConfinementFixture, of: i32| fixture.victim.ask(&fixture.muster, &words(of));
    assert_eq!(ask(&confined, daemon), ProbeResult::Done(denied));
    assert_eq!(ask(&free, free.muster.pid()), ProbeResult::Done("0".to_owned()));
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

/// Faults rows 20 and 21 with confinement: a game with a separate user is stopped and cleaned up as well.
#[test]
fn confined_stubborn_games_and_leftovers_are_killed() {
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
        muster.wait_until_idle("bad", 0);
        assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0], "{way:?}");
    }
}
