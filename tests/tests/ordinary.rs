//! Ordinary programs run under the default confinement: they find what programs expect to find, and no more.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use testkit::{Muster, SOON, Setup, set_mode};

/// A mode for one player whose game binds its port itself and knows nothing of Muster.
const PLAIN: &str = "players = 1\ncontract = \"plain\"\nbind = \"game\"\nready_line = \"^ready$\"\n\
                     ready_timeout = \"20s\"";

/// Says what is not as it should be, then that it is ready, and stays.
const LOOK: &str = r#"
import ctypes, errno, os, shutil, socket, stat, sys, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
port = int(sys.argv[1])
def check(name, is_right, *seen):
    if not is_right: print("WRONG", name, *seen, flush=True)
def attempt(name, what):
    try: return what()
    except Exception as error: print("WRONG", name, repr(error), flush=True)
def refused(name, what, *errors):
    try: what()
    except OSError as error: check(name, error.errno in errors, repr(error))
    else: print("WRONG", name, "was done", flush=True)
env, here = os.environ, os.getcwd()
check("HOME", env.get("HOME") == here and os.path.isabs(here), env.get("HOME"), here)
check("TMPDIR", env.get("TMPDIR") == here, env.get("TMPDIR"))
check("PATH", env.get("PATH") == "/usr/local/bin:/usr/bin:/bin", env.get("PATH"))
check("LANG", env.get("LANG") == "C.UTF-8", env.get("LANG"))
check("MINE", env.get("MINE") == "1")
check("MUSTER_BIND", env.get("MUSTER_BIND") == "127.0.0.1", env.get("MUSTER_BIND"))
for lie in ("MUSTER_PROTOCOL", "LISTEN_PID", "LISTEN_FDS", "MUSTER_CONTROL_FD"): check(lie, lie not in env)
for own in ("maps", "status", "mounts", "stat"): attempt("/proc/self/" + own, lambda: open("/proc/self/" + own).read())
attempt("/proc/self/task", lambda: os.listdir("/proc/self/task"))
refused("its parent's environment", lambda: open(f"/proc/{os.getppid()}/environ").read(), errno.EACCES, errno.ENOENT)
for device, flags in (("null", os.O_RDWR), ("zero", os.O_RDONLY), ("urandom", os.O_RDONLY), ("full", os.O_WRONLY)):
    attempt("/dev/" + device, lambda: os.close(os.open("/dev/" + device, flags)))
attempt("a temporary file", lambda: tempfile.mkstemp())
attempt("a fifo", lambda: os.mkfifo("fifo"))
refused("a device", lambda: os.mknod("device", stat.S_IFCHR | 0o600, 0x103), errno.EPERM)
open("file", "w").write("x")
# To change what a file is by its name takes a user of one's own.
attempt("copy", lambda: (shutil.copy2 if "root" in sys.argv else shutil.copyfile)("file", "copy"))
attempt("listxattr", lambda: os.listxattr("file"))
attempt("SCHED_OTHER", lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)))
attempt("SCHED_BATCH", lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)))
refused("SCHED_FIFO", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)
for number in (435, 452, 455, 900):
    libc.syscall(number, -1, 0, 0, 0, 0, 0)
    check(f"call {number}", ctypes.get_errno() == errno.ENOSYS, ctypes.get_errno())
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", port)); return s
game = attempt("UDP", udp)
def tcp(port, family=socket.AF_INET, host="127.0.0.1"):
    s = socket.socket(family, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port)); s.listen(); return s
listener = attempt("TCP on its own port", lambda: tcp(port))
if "landlock-net" in sys.argv:
    refused("another TCP port", lambda: tcp(port + 1), errno.EACCES)
    refused("connecting", lambda: socket.create_connection(("127.0.0.1", port)), errno.EACCES)
if "tmp" in sys.argv:
    check("/tmp is its own", "file" in os.listdir("/tmp"), os.listdir("/tmp"))
    attempt("a file in /tmp", lambda: open("/tmp/mine", "w").write("x"))
if "unix" in sys.argv:
    def unix():
        s = socket.socket(socket.AF_UNIX); s.bind("/tmp/socket"); s.listen()
        socket.socket(socket.AF_UNIX).connect("/tmp/socket")
    attempt("a Unix socket", unix)
    refused("a Unix socket of datagrams", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), errno.EPERM)
if "root" in sys.argv:
    numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    check("no other processes in /proc", numbers == [str(os.getpid())], numbers)
print("ready", flush=True)
time.sleep(60)
"#;

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Whether the kernel has Landlock's rules for TCP, from 6.7 on.
fn has_port_rules() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|it| it.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    version >= (6, 7)
}

/// Has a match of the mode start, and gives what its game found wrong.
fn found_wrong(muster: &Muster, queue: &str) -> Vec<String> {
    muster.join(queue, "ada").assignment(SOON).unwrap();
    muster.log().lines_with(&["output", "WRONG"])
}

fn look(setup: Setup, words: &[&str]) {
    let mut command = vec!["/usr/bin/python3", "-c", LOOK, "{port}"];
    command.extend(words);
    if has_port_rules() {
        command.push("landlock-net");
    }
    let muster =
        setup.mode("look", &command, &format!("{PLAIN}\nenv = {{ MINE = \"1\" }}")).start();
    assert_eq!(found_wrong(&muster, "look"), [""; 0], "{}", muster.log().text());
}

#[test]
fn an_ordinary_program_finds_its_usual_environment() {
    look(Setup::default(), if is_root() { &["root"] } else { &[] });
}

/// Where the games' directories are in memory, as they are by default, nothing of theirs is in /tmp.
#[test]
fn a_program_has_a_private_tmp() {
    if is_root() {
        look(Setup::default().env("TMPDIR", "/dev/shm"), &["root", "tmp", "unix"]);
    }
}

#[test]
fn an_ordinary_program_runs_without_root() {
    let directory = public_directory();
    if is_root() {
        let user = 40_000 + std::process::id() % 20_000;
        look(Setup::default().copied_into(directory.path()).user(user), &[]);
        // The same with the games' directories in memory, as they are by default, and a /tmp of their own.
        let setup = Setup::default().copied_into(directory.path()).user(user);
        look(setup.env("TMPDIR", "/dev/shm"), &["tmp"]);
    }
}

/// A directory in `/tmp` that everybody may read.
fn public_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    directory
}

/// Prints what a path holds, or why it cannot be read.
const LIST: &str = "
import os, sys, time
for word in sys.argv[2:]:
    path = word.split('=')[-1]
    try: print('listed', word, os.listdir(path), flush=True)
    except OSError as error: print('closed', word, error.errno, flush=True)
print('ready', flush=True)
time.sleep(60)
";

#[test]
fn directories_named_in_the_command_are_readable() {
    let directory = public_directory();
    fs::write(directory.path().join("map"), "x").unwrap();
    let other = public_directory();
    let (named, other) =
        (directory.path().display().to_string(), other.path().display().to_string());
    let behind = format!("--data={other}");
    let command = ["/usr/bin/python3", "-c", LIST, "{port}", &named, &behind, "/etc", "/"];
    let muster = Setup::default().mode("list", &command, PLAIN).start();
    muster.log().wait_for(&["WARN", "its command names the directory /etc", "confinement.read"]);
    muster.join("list", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["output", &format!("listed {named} ['map']")]);
    muster.log().wait_for(&["output", &format!("listed {behind} []")]);
    muster.log().wait_for(&["output", "closed /etc 13"]);
    muster.log().wait_for(&["output", "closed / 13"]);
}

/// A world outlives its match: the next one's game is the same user.
#[test]
fn a_named_user_keeps_files_between_games() {
    if !is_root() {
        return;
    }
    let world = public_directory();
    chown(world.path(), Some(65534), Some(65534)).unwrap();
    let path = world.path().display().to_string();
    let program = format!(
        "import os; w = open('{path}/world', 'a+'); w.seek(0); print('found', len(w.read()), os.getuid(), os.getgid()); \
         w.write('x'); w.close(); os.chmod('{path}/world', 0o600); print('ready', flush=True); import time; time.sleep(0.2)"
    );
    let keys = format!(
        "{PLAIN}\n[mode.confinement]\nuser = \"nobody\"\nwrite = [{path:?}]\nmount = \"private\""
    );
    let muster =
        Setup::default().mode("world", &["/usr/bin/python3", "-c", &program], &keys).start();
    for found in ["found 0 65534", "found 1 65534"] {
        muster.join("world", "ada").assignment(SOON).unwrap();
        muster.log().wait_for(&["output", found]);
        muster.wait_until_idle("world", 0);
    }
    let mode = fs::metadata(world.path().join("world")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// `user = false` under root is root, but without its rights, and not in silence.
#[test]
fn a_game_that_runs_as_root_has_no_capabilities() {
    if !is_root() {
        return;
    }
    let program = "
import os
sets = [line.split() for line in open('/proc/self/status') if line.startswith('Cap')]
print('user', os.getuid(), 'has', [name for name, value in sets if int(value, 16)], flush=True)
os.execv('/bin/sh', ['sh', '-c', 'grep -c \"Cap.*0000000000000000\" /proc/self/status; echo ready; sleep 60'])
";
    let keys = format!("{PLAIN}\n[mode.confinement]\nuser = false");
    let muster = Setup::default().mode("root", &["/usr/bin/python3", "-c", program], &keys).start();
    muster.log().wait_for(&["WARN", "mode root", "run as root"]);
    muster.join("root", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["output", "user 0 has []"]);
    // All five sets, and what it runs next has none either.
    muster.log().wait_for(&["output game=1 mode=root match=1: 5"]);
}

/// The network of the host by its name: TCP of any port, with all files closed that were.
#[test]
fn one_key_gives_the_hosts_network() {
    let program = "
import socket
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
try: open('/etc/passwd')
except PermissionError: print('ready', flush=True)
import time; time.sleep(60)
";
    let keys = format!("{PLAIN}\n[mode.confinement]\nnetwork = \"host\"");
    let muster = Setup::default().mode("net", &["/usr/bin/python3", "-c", program], &keys).start();
    muster.join("net", "ada").assignment(SOON).unwrap();
}

#[test]
fn a_32_bit_program_is_refused_with_a_reason() {
    let directory = public_directory();
    let program = directory.path().join("old-game");
    fs::write(&program, b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0").unwrap();
    set_mode(&program, 0o755);
    let program: &Path = &program;
    let keys = "players = 1\ncontract = \"plain\"";
    let muster = Setup::default().mode("old", &[program.to_str().unwrap()], keys).start();
    muster.log().wait_for(&["WARN", "mode old", "32 bits", "for 64 bits"]);
    let _ada = muster.join("old", "ada");
    muster.log().wait_for(&["game failed", "32 bits", "confinement.seccomp"]);
}
