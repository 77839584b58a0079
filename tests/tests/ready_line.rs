//! The ready line of plain programs: matched however a program prints it, and reported if it is missed.

use protocol::WaitReason;
use testkit::{Muster, SOON, Setup, wait_for_reason};

/// A mode of programs in Python that print something and stay.
fn prints(setup: Setup, name: &str, ready_line: &str, program: &str, timeout: &str) -> Setup {
    let program = format!("import os, sys, time\n{program}\ntime.sleep(3600)");
    let keys = format!(
        "players = 1\ncontract = \"plain\"\nready_line = '{ready_line}'\nready_timeout = \"{timeout}\""
    );
    setup.mode(name, &["/usr/bin/python3", "-c", &program], &keys)
}

fn is_assigned(muster: &Muster, queue: &str) {
    muster.join(queue, "ada").assignment(SOON).unwrap_or_else(|error| panic!("{queue}: {error}"));
}

#[test]
fn the_ready_line_is_matched_as_a_terminal_shows_it() {
    let flood = "os.write(1, b''.join(b'loading %d\\n' % n for n in range(3000)) + b'Done!\\n')";
    let cases = [
        ("colour", r"^\[Server\] Ready", r"os.write(1, b'\x1b[32m[Server]\x1b[0m Ready\n')"),
        ("returns", "^Ready$", r"os.write(1, b'loading 10%\rloading 90%\rReady\r\n')"),
        ("prompt", "^> $", r"os.write(1, b'console\n> ')"),
        ("at-prompt", "^Ready", r"os.write(1, b'> Ready\n')"),
        ("latin", "Serveur démarré", r"os.write(1, b'Serveur d\xe9marr\xe9\n')"),
        ("no-end", "^Ready$", "os.write(1, b'Ready')"),
        (
            "split",
            "^Ready to play",
            "os.write(1, b'Ready to'); time.sleep(0.5); os.write(1, b' play\\n')",
        ),
        ("long", "Ready$", "os.write(1, b'x' * 9000 + b' Ready\\n')"),
        ("errors", "^Ready", r"os.write(2, b'\0Rea\x1b]0;t\x07dy\n')"),
        ("closes", "^Ready", "os.write(1, b'Ready'); os.close(1); os.close(2)"),
        ("flood", "^Done!", flood),
    ];
    let mut setup = Setup::default().ports(16);
    for (name, ready_line, program) in cases {
        setup = prints(setup, name, ready_line, program, "1m");
    }
    let muster = setup.start();
    for (name, ..) in cases {
        is_assigned(&muster, name);
    }
    assert!(muster.log().lines_with(&["game failed"]).is_empty());
}

/// An upgrade in the middle of a line forgets nothing of it.
#[test]
fn the_ready_line_is_matched_after_an_upgrade() {
    let program = "os.write(1, b'\\x1b[32mRea')\nwhile os.getppid() and not os.path.exists('/proc/self/nothing'):\n    \
                   time.sleep(0.01)\n    if sys.stdin.closed: break\n    if os.path.exists(sys.argv[1]): break\nos.write(1, b'dy\\n')";
    let directory = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let cue = directory.path().join("cue");
    let program = format!("import os, sys, time\n{program}\ntime.sleep(3600)");
    let keys = format!(
        "players = 1\ncontract = \"plain\"\nready_line = \"^Ready$\"\nready_timeout = \"1m\"\n\
         [mode.confinement]\nread = [{:?}]",
        directory.path()
    );
    let command = ["/usr/bin/python3", "-c", &program, cue.to_str().unwrap()];
    let muster = Setup::default().mode("slow", &command, &keys).start();
    let mut ada = muster.connect();
    let place = ada.join(Some("slow"), Some("ada"), SOON).unwrap();
    wait_for_reason(&mut ada, WaitReason::GameStarting);
    muster.upgrade(None).unwrap();
    std::fs::write(&cue, "").unwrap();
    ada.assignment(SOON).unwrap_or_else(|error| panic!("{error} {}", place.resume));
}

/// The log and the status say which line was missed, and what came instead.
#[test]
fn a_missed_ready_line_is_reported() {
    let setup = prints(
        Setup::default(),
        "odd",
        "^listening on",
        r#"print("a \x1b[1mb", flush=True)"#,
        "300ms",
    );
    let setup = prints(setup, "mute", "^ready$", "print('ready')", "300ms");
    let setup =
        prints(setup, "ends", "^ready$", "print('no world', flush=True); sys.exit(3)", "1m");
    let muster = setup.start();
    let _waiting = ["odd", "mute", "ends"].map(|queue| {
        let mut lobby = muster.join(queue, "ada");
        wait_for_reason(&mut lobby, WaitReason::GameFailing);
        lobby
    });
    let odd = "no line matched ready_line \"^listening on\" within 300ms; last lines: \"a b\"";
    muster.log().wait_for(&["game failed", "mode=odd", odd]);
    // It was never flushed.
    muster.log().wait_for(&["game failed", "mode=mute", "it printed nothing", "stdbuf"]);
    let ends = "it ended with exit status 3 before a line matched ready_line \"^ready$\"; last lines: \"no world\"";
    muster.log().wait_for(&["game failed", "mode=ends", ends]);
    let status = muster.operate(&["status"]).unwrap();
    for part in ["odd: no line matched ready_line", "ends: it ended with exit status 3"] {
        assert!(status.contains(part), "{part} in {status}");
    }
    assert!(muster.log().lines_with(&["did not say ready"]).is_empty());
}
