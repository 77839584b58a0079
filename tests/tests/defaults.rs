//! A daemon without a configuration: its admin socket and its HTTP address, and how commands find it. In a separate
//! network and with a separate /run, as another daemon may use the default locations.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testkit::binary;

/// The daemon's directory, log and commands, in namespaces of their own. `None`: they cannot be made here.
struct Host(TempDir);

impl Host {
    fn new() -> Option<Self> {
        let host = Self(tempfile::tempdir().unwrap());
        let probe = host.run("true");
        if !probe.status.success() {
            println!("skipped: no namespaces here: {}", String::from_utf8_lossy(&probe.stderr));
            return None;
        }
        Some(host)
    }

    /// Runs a script as root of the namespaces. `start LOG ARGUMENTS` starts a daemon and waits until it listens; all
    /// of them are ended with the script.
    fn run(&self, script: &str) -> Output {
        let prelude = r#"
set -eu
mount -t tmpfs none /run
ip link set lo up
start() {
    log=$1
    shift
    ${start_as:-} muster serve "$@" 2>"$log" &
    until grep -q 'listening tcp=' "$log"; do
        kill -0 $! 2>/dev/null || { cat "$log" >&2; exit 1; }
        sleep 0.02
    done
}
"#;
        let program = binary("muster");
        let path = std::env::var("PATH").unwrap_or_default();
        let beside = program.parent().unwrap().to_str().unwrap();
        Command::new("timeout")
            .args(["60", "unshare", "--net", "--mount", "--pid", "--mount-proc"])
            .args((!is_root()).then_some("--map-root-user"))
            .args(["--fork", "--kill-child", "sh", "-c", &format!("{prelude}{script}")])
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", format!("{beside}:{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a script that has to succeed; what it printed.
    fn does(&self, script: &str) -> String {
        let output = self.run(script);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}\n{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn pid(status: &str) -> u64 {
    let status: Value = serde_json::from_str(status).unwrap_or_else(|_| panic!("{status}"));
    status["pid"].as_u64().unwrap()
}

/// The pid with which a daemon says that it listens.
fn pid_of(log: &str) -> u64 {
    let line = log.lines().find(|line| line.contains("listening tcp=")).unwrap();
    testkit::Log::field(line, "pid").parse().unwrap()
}

#[test]
fn a_second_daemon_on_a_host_runs_without_the_default_addresses() {
    let Some(host) = Host::new() else { return };
    let status = host.does(
        "start first
         start second --tcp 127.0.0.1:7001 --ports 20100-20199
         stat -c '%a' /run/muster > mode
         muster status --json",
    );
    let (first, second) = (host.log("first"), host.log("second"));
    assert_eq!(pid(&status), pid_of(&first));
    assert_eq!(host.log("mode"), "700\n");
    assert!(first.contains("serving operators admin=/run/muster/admin.sock"), "{first}");
    assert!(first.contains("serving HTTP metrics=127.0.0.1:9107"), "{first}");
    for missing in ["no admin socket (listen.admin", "no HTTP (listen.metrics"] {
        let lines: Vec<&str> = second.lines().filter(|line| line.contains(missing)).collect();
        assert!(lines.len() == 1 && lines[0].contains("INFO"), "{missing}\n{second}");
    }
}

#[test]
fn a_default_start_logs_no_warning_and_a_reload_repeats_none() {
    let Some(host) = Host::new() else { return };
    if !is_root() {
        println!("skipped: a namespace with one user has none for games");
        return;
    }
    host.does(
        "start log
         muster reload
         muster reload
         muster status",
    );
    let log = host.log("log");
    // What the machine's own layers lack is not the default start's doing.
    let complaints = |line: &&str| {
        (line.contains("WARN") || line.contains("ERROR")) && !line.contains("confinement without")
    };
    assert_eq!(log.lines().filter(complaints).collect::<Vec<_>>(), [""; 0], "{log}");
    assert!(log.lines().filter(|line| line.contains("control groups")).count() <= 1, "{log}");
    assert!(!log.contains("limits.clients"), "{log}");
}

#[test]
fn an_admin_socket_may_be_off_or_unavailable() {
    let Some(host) = Host::new() else { return };
    std::fs::write(
        host.path().join("off.toml"),
        "[listen]\nadmin = \"off\"\nmetrics = \"off\"\n[[mode]]\nname = \"x\"\ncommand = [\"muster-game\", \"echo\"]\n",
    )
    .unwrap();
    let said = host.does(
        "start off --config off.toml
         [ ! -e /run/muster ]
         ! muster status 2>&1
         ! muster status --config off.toml 2>&1",
    );
    assert!(said.contains("muster serve"), "{said}");
    assert!(said.contains("listen.admin is \"off\""), "{said}");
    host.does(
        "mount -o remount,ro /run
         start bare",
    );
    let bare = host.log("bare");
    assert!(bare.contains("no admin socket"), "{bare}");
    assert!(bare.contains("serving HTTP metrics=127.0.0.1:9107"), "{bare}");
}

/// Another user has the socket where the session's other sockets are; commands look there first, and then in
/// /run/muster.
#[test]
fn the_admin_socket_is_in_the_users_runtime_directory() {
    let Some(host) = Host::new() else { return };
    if !is_root() {
        println!("skipped: only root can run a daemon as another user");
        return;
    }
    let status = host.does(
        "as_user='setpriv --reuid 65534 --regid 65534 --clear-groups'
         export XDG_RUNTIME_DIR=/run/user
         mkdir -m 711 /run/bin
         cp \"$(command -v muster)\" /run/bin
         install -d -m 700 -o 65534 /run/user
         PATH=/run/bin:$PATH start_as=$as_user start log
         ! XDG_RUNTIME_DIR= muster status
         muster status --json",
    );
    assert_eq!(pid(&status), pid_of(&host.log("log")));
    let log = host.log("log");
    assert!(log.contains("serving operators admin=/run/user/muster/admin.sock"), "{log}");
}
