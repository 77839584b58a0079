//! Muster runs with any privileges: a layer that is not permitted is left out with one line, and games run.

use std::process::Command;

use testkit::{SOON, Setup, binary};

/// Executes the daemon as root of a user namespace with a number of users, as in containers; the users are the same
/// outside, so that the owners of files do not change.
macro_rules! user_namespace {
    ($count:literal) => {
        concat!(
            "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True); a, b = os.pipe(), os.pipe(); me = os.getpid()
helper = os.fork()
if helper == 0:
    os.read(a[0], 1)
    for what in ('uid_map', 'gid_map'): open(f'/proc/{me}/{what}', 'w').write('0 0 ",
            $count,
            "')
    os.write(b[1], b'x'); os._exit(0)
assert libc.unshare(0x10000000) == 0
os.write(a[1], b'x'); os.read(b[0], 1); os.waitpid(helper, 0)
os.closerange(3, 20)
os.execv(sys.argv[1], sys.argv[1:])"
        )
    };
}

const PYTHON: &str = "/usr/bin/python3";

fn is_root() -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        println!("skipped: only root can take rights away");
    }
    is_root
}

/// Starts a daemon after such steps, plays three matches of two modes, and gives the lines about what is left out.
fn plays(shell: &'static str, steps: &'static str, config: &str) -> Vec<String> {
    let keys = "players = 1\nwarm = 0\nhello_timeout = \"200ms\"";
    let muster = Setup::default()
        .config(config)
        .mode("own", &["muster-game", "echo"], keys)
        .mode("template", &["muster-game", "echo"], &format!("{keys}\ntemplate = true"))
        .through_shell(shell, steps)
        .start();
    for queue in ["own", "template", "own"] {
        let assigned = muster.join(queue, "ada").assignment(SOON);
        assert!(assigned.is_ok(), "{steps}: {assigned:?}\n{}", muster.log().text());
    }
    muster.wait_until_idle("own", 0);
    muster.log().lines_with(&["WARN", "confinement without"])
}

/// A container of 65,536 users: games have users of their own among these.
#[test]
fn matches_are_played_in_a_user_namespace_with_few_ids() {
    if is_root() {
        let left_out = plays(PYTHON, user_namespace!("65536"), "");
        assert_eq!(left_out, [""; 0]);
        // As the operator wants it, if the ports fit.
        let left_out = plays(PYTHON, user_namespace!("65536"), "[confinement]\nfirst_user = 1000");
        assert_eq!(left_out, [""; 0]);
    }
}

/// `unshare -U -r`: root is the only user.
#[test]
fn matches_are_played_in_a_user_namespace_with_one_id() {
    if is_root() {
        let left_out = plays(PYTHON, user_namespace!("1"), "");
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert!(left_out[0].contains("a user for each game"), "{left_out:?}");
        assert!(left_out[0].contains("0 to 0"), "{left_out:?}");
    }
}

/// Root of a container has what its runtime leaves it. Each capability that a layer needs is missed in turn, then all.
#[test]
fn matches_are_played_with_few_capabilities() {
    if !is_root() {
        return;
    }
    let cases: [(&str, &[&str]); 8] = [
        (
            "exec setpriv --bounding-set -setuid --inh-caps -all \"$0\" \"$@\"",
            &["a user for each game", "CAP_SETUID"],
        ),
        (
            "exec setpriv --bounding-set -chown --inh-caps -all \"$0\" \"$@\"",
            &["a user for each game", "CAP_CHOWN"],
        ),
        ("exec setpriv --bounding-set -sys_admin --inh-caps -all \"$0\" \"$@\"", &["namespace"]),
        (
            "exec setpriv --bounding-set -sys_chroot --inh-caps -all \"$0\" \"$@\"",
            &["namespaces", "CAP_SYS_CHROOT"],
        ),
        ("exec setpriv --bounding-set -kill --inh-caps -all \"$0\" \"$@\"", &[]),
        ("exec setpriv --bounding-set -dac_override --inh-caps -all \"$0\" \"$@\"", &[]),
        ("exec setpriv --bounding-set -net_admin --inh-caps -all \"$0\" \"$@\"", &[]),
        (
            "exec setpriv --bounding-set -all --inh-caps -all \"$0\" \"$@\"",
            &["a user for each game"],
        ),
    ];
    for (steps, words) in cases {
        let left_out = plays("/bin/sh", steps, "");
        assert_eq!(left_out.is_empty(), words.is_empty(), "{steps}: {left_out:?}");
        let said = left_out.join("\n");
        for word in words {
            assert!(said.contains(word), "{steps}: {left_out:?}");
        }
    }
}

/// Without /proc nothing starts, and the error says what is missing, for what, and what helps.
#[test]
fn a_missing_proc_is_reported() {
    if !is_root() {
        return;
    }
    let covered = "mount -t tmpfs none /proc && exec \"$0\" serve --tcp 127.0.0.1:0";
    let output = Command::new("timeout")
        .args(["20", "unshare", "--mount", "sh", "-c", covered])
        .arg(binary("muster"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("/proc") && said.contains("mount -t proc"), "{said}");
}

/// A /proc that hides others, and a root file system that is read-only.
#[test]
fn matches_are_played_with_hidden_proc_and_read_only_root() {
    if is_root() {
        let steps = "exec unshare --mount --propagation private sh -c '\
                     mount -t proc -o hidepid=2 proc /proc && mount --bind /tmp /tmp && \
                     mount -o remount,bind,ro / && exec \"$0\" \"$@\"' \
                     \"$0\" \"$@\"";
        assert_eq!(plays("/bin/sh", steps, ""), [""; 0]);
    }
}
