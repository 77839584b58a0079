//! Reports of ended games, and the state of the daemon, through the admin socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use client::{Assignment, Lobby};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{PortBlock, SOON, binary, hostile_game, proc, wait_for, wait_until};

/// More than the daemon keeps, which is eight.
const MANY_OPERATORS: usize = 12;

// ---- Reports ----

#[test]
fn a_game_that_exits_with_success_is_reported() {
    let daemon = Daemon::start(PUPPET_PAIR);
    let (ada, bob) = (daemon.join("pair", "ada"), daemon.join("pair", "bob"));
    let assigned = [ada, bob].map(|mut lobby| lobby.assignment(SOON).unwrap());
    let port = assigned[0].port;
    daemon.order(port, r#"say {"type":"joined","slot":1}"#);
    daemon.order(port, r#"say {"type":"result","winner":1,"text":"\u001b[31m"}"#);
    daemon.order(port, "exit 0");
    let report = daemon.reports(1).remove(0);
    assert_eq!(report["exit"], serde_json::json!({"status": 0}));
    assert_eq!(report["result"], serde_json::json!({"winner": 1, "text": "\u{1b}[31m"}));
    let player =
        |slot, name, joined| serde_json::json!({"slot": slot, "name": name, "joined": joined});
    let players = [player(0, "ada", false), player(1, "bob", true)];
    assert_eq!(report["players"], serde_json::json!(players));
    assert_eq!((&report["match"], &report["mode"]), (&"1".into(), &"pair".into()));
    assert_eq!(report["port"], port);
    assert!(report["lived_ms"].is_u64() && report["memory_peak_kib"].as_u64() > Some(0));
    let table = daemon.muster(&["games"]);
    let text = stdout(&table);
    assert!(table.status.success(), "{table:?}");
    assert!(text.contains("exit status 0") && text.contains("(ada), bob"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let line = daemon.next_line_with("game ended game=1 match=1 mode=pair ");
    assert!(line.contains(" joined=1 result=yes"), "{line:?}");
}

#[test]
fn a_game_killed_by_a_signal_is_reported() {
    let daemon = Daemon::start(PUPPET_ONE);
    daemon.assignment("one");
    let living = daemon.games(0)["living"][0].clone();
    assert_eq!((&living["phase"], &living["match"]), (&"running".into(), &"1".into()));
    assert_eq!(living["players"], serde_json::json!(["ada"]));
    let pid = i32::try_from(living["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGUSR1).unwrap();
    let report = daemon.reports(1).remove(0);
    let signal = Signal::SIGUSR1 as i32;
    assert_eq!(report["exit"], serde_json::json!({"signal": signal}));
    assert_eq!((&report["pid"], &report["result"]), (&pid.into(), &Value::Null));
    assert_eq!(daemon.games(0)["living"], serde_json::json!([]));
}

/// The kernel's figures: one game uses the processor and memory, the other neither.
#[test]
fn processor_time_and_memory_are_reported() {
    let daemon = Daemon::start(PUPPET_ONE);
    let modest = daemon.assignment("one");
    daemon.order(modest.port, "exit 0");
    daemon.reports(1);
    let greedy = daemon.assignment("one");
    daemon.order(greedy.port, "burn 300");
    daemon.order(greedy.port, "hold 64000000");
    daemon.order(greedy.port, "exit 3");
    let reports = daemon.reports(2);
    let [greedy, modest] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(greedy["exit"], serde_json::json!({"status": 3}));
    let figure = |report: &Value, name: &str| report[name].as_u64().unwrap();
    assert!(figure(greedy, "cpu_user_us") >= 299_000, "{greedy}");
    assert!(figure(modest, "cpu_user_us") < 200_000, "{modest}");
    assert!(figure(greedy, "memory_peak_kib") >= 62_500, "{greedy}");
    assert!(figure(modest, "memory_peak_kib") < 62_500, "{modest}");
    assert!(figure(greedy, "lived_ms") >= 299, "{greedy}");
}

/// Faults row 22: a result, then the exit at once. 1,000 of 1,000 are in the reports.
#[test]
fn a_thousand_results_are_in_the_reports() {
    let game = hostile_game();
    let daemon = Daemon::start(&format!(
        "[[mode]]\nname = \"quick\"\ncommand = [{game:?}, \"result\", \"exit\"]\nplayers = 1\nwarm = 4"
    ));
    let mut players: Vec<Lobby> = (0..1000).map(|_| daemon.join("quick", "ada")).collect();
    for player in &mut players {
        player.assignment(SOON).unwrap();
    }
    let of_a_match = |report: &Value| !report["match"].is_null();
    let reports: Vec<Value> = wait_for("all reports", || {
        let ended = daemon.games(2000)["ended"].as_array().unwrap().clone();
        (ended.iter().filter(|it| of_a_match(it)).count() == 1000).then_some(ended)
    });
    let has_result = |report: &&Value| report["result"]["last"] == true;
    assert_eq!(reports.iter().filter(has_result).count(), 1000);
    let exited = |report: &&Value| report["exit"]["status"] == 0;
    assert_eq!(reports.iter().filter(exited).count(), 1000);
}

#[test]
fn the_number_of_reports_is_bounded() {
    let daemon = Daemon::start(&format!("[reports]\nkeep = 3\n{PUPPET_ONE}"));
    for _ in 0..5 {
        let assigned = daemon.assignment("one");
        daemon.order(assigned.port, "exit 0");
    }
    wait_until("the last report", || daemon.games(9)["ended"][0]["number"] == 5);
    let numbers = |last| {
        let ended = daemon.games(last)["ended"].as_array().unwrap().clone();
        ended.iter().map(|report| report["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((numbers(9), numbers(2)), (vec![5, 4, 3], vec![5, 4]));
    assert_eq!(daemon.status()["reports"]["ended"], 5);
}

// ---- The admin socket ----

#[test]
fn the_admin_socket_is_private_and_removed_with_the_daemon() {
    let mut daemon = Daemon::start(PUPPET_ONE);
    let found = std::fs::symlink_metadata(daemon.admin()).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    daemon.signal(Signal::SIGTERM);
    wait_for("its exit", || daemon.child.try_wait().unwrap());
    assert!(!daemon.admin().exists());
    let output = daemon.muster(&["status"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(stderr(&output).contains("admin.sock"), "{output:?}");
}

#[test]
fn the_status_describes_the_daemon() {
    let daemon = Daemon::start(PUPPET_ONE);
    let mut lobby = daemon.join("one", "ada");
    lobby.assignment(SOON).unwrap();
    let status = daemon.status();
    let queue = &status["queues"][0];
    let said = ["queue", "waiting", "away", "games", "failing"].map(|key| queue[key].clone());
    assert_eq!(serde_json::json!(said), serde_json::json!(["one", 0, 0, 1, false]));
    assert_eq!(status["queues"][1], serde_json::Value::Null);
    assert_eq!((&status["serving"], &status["pid"]), (&true.into(), &daemon.child.id().into()));
    let launcher = i32::try_from(status["launcher"].as_i64().unwrap()).unwrap();
    assert!(proc::children(daemon.pid()).contains(&launcher));
    let turns = &status["turns"];
    assert!(turns["count"].as_u64() > Some(0) && turns["longest_us"].as_u64() > Some(0), "{turns}");
    let table = daemon.muster(&["status"]);
    assert!(table.status.success() && stdout(&table).contains("serving"), "{table:?}");
}

#[test]
fn the_longest_turn_is_reset_on_request() {
    let daemon = Daemon::start(PUPPET_ONE);
    let mut operator = Operator::at(daemon.admin());
    // Each question is at least one turn.
    (0..50).for_each(|_| drop(operator.ask(r#"{"request":"status"}"#)));
    let before = operator.ask(r#"{"request":"status","reset_turns":true}"#)["turns"].clone();
    let after = operator.ask(r#"{"request":"status"}"#)["turns"].clone();
    let count = |turns: &Value| turns["count"].as_u64().unwrap();
    assert!(count(&after) < count(&before), "{before} {after}");
}

#[test]
fn an_invalid_request_is_answered_with_an_error() {
    let daemon = Daemon::start(PUPPET_ONE);
    let mut operator = Operator::at(daemon.admin());
    for bad in [
        "{",
        "[]",
        r#"{"request":"magic"}"#,
        r#"{"last":1}"#,
        "\u{1b}[31m",
        "\0",
        "{\"request\":7}",
    ] {
        let answer = operator.ask(bad);
        assert!(answer["error"].is_string(), "{bad:?}: {answer}");
    }
    // It continues, after a blank line and with two requests at once, too.
    operator.say("\n{\"request\":\"status\"}\n{\"request\":\"games\",\"last\":-1}\n");
    assert!(operator.hear()["pid"].is_u64());
    assert!(operator.hear()["error"].is_string());
    // A line that does not end is not collected for ever.
    operator.say(&"x".repeat(5000));
    assert!(operator.hear()["error"].as_str().unwrap().contains("4096"));
    assert_eq!(operator.rest(), "");
    // The last line may do without its end.
    let mut operator = Operator::at(daemon.admin());
    operator.lines.get_mut().write_all(b"{\"request\":\"status\"}").unwrap();
    operator.lines.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(operator.hear()["pid"].is_u64());
    assert_eq!(operator.rest(), "");
}

/// Silent operators, one with half a request, and one who keeps asking and never reads: players and other operators are
/// served, and the one who was silent for longest is replaced.
#[test]
fn slow_operators_do_not_disturb_others() {
    let daemon = Daemon::start(PUPPET_ONE);
    let mut silent: Vec<Operator> =
        (0..MANY_OPERATORS).map(|_| Operator::at(daemon.admin())).collect();
    for operator in &mut silent[8..] {
        operator.lines.get_mut().write_all(b"{\"request\":").unwrap();
    }
    assert_eq!(silent[0].rest(), "", "it made room");
    let greedy = Operator::at(daemon.admin());
    greedy.lines.get_ref().set_nonblocking(true).unwrap();
    let request = "{\"request\":\"status\"}\n".repeat(1000);
    while greedy.lines.get_ref().write(request.as_bytes()).is_ok() {}
    let assigned = daemon.assignment("one");
    daemon.order(assigned.port, "exit 0");
    daemon.reports(1);
    // Four with half a request were there last.
    silent[11].say("\"status\"}");
    assert!(silent[11].hear()["pid"].is_u64());
    let kept = proc::status(daemon.pid(), "VmRSS").unwrap();
    let kilobytes: u64 = kept.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 100_000, "{kept}");
}

/// A page has its bounds, and tells how to go on.
#[test]
fn long_answers_are_paged() {
    let daemon = Daemon::start(PUPPET_ONE);
    let count = 12;
    for number in 1..=count {
        let assigned = daemon.assignment("one");
        daemon.order(assigned.port, "boast 30000");
        daemon.order(assigned.port, "exit 0");
        wait_until("its report", || daemon.games(1)["ended"][0]["number"] == number);
    }
    let mut operator = Operator::at(daemon.admin());
    let page = operator.ask(r#"{"request":"games","last":12}"#);
    let ended = page["ended"].as_array().unwrap();
    assert!(ended.len() < count && page["next"]["last"] == count - ended.len(), "{}", page["next"]);
    assert!(ended.iter().all(|report| report["result"].is_object()));
    let numbers: Vec<u64> = daemon.games(count)["ended"]
        .as_array()
        .unwrap()
        .iter()
        .map(|report| report["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=count as u64).rev().collect::<Vec<_>>());
}

// ---- The socket's file ----

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let mut dead = Daemon::start(PUPPET_ONE);
    dead.signal(Signal::SIGKILL);
    wait_for("its end", || dead.child.try_wait().unwrap());
    assert!(dead.admin().exists(), "it was not removed");
    let files = std::mem::replace(&mut dead.directory, tempfile::tempdir().unwrap());
    let daemon = Daemon::start_in(files, PUPPET_ONE);
    assert!(daemon.status()["pid"].is_u64());
}

#[test]
fn a_running_daemons_socket_is_not_replaced() {
    let daemon = Daemon::start(PUPPET_ONE);
    let output = serve_with_admin(daemon.admin());
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let path = daemon.admin().display().to_string();
    let said = stderr(&output);
    assert!(said.contains(&path) && said.contains("is another Muster running?"), "{said}");
    assert_eq!(daemon.status()["pid"], daemon.child.id());
    // Nor is one whose owner has too much to do to accept.
    let directory = tempfile::tempdir().unwrap();
    let busy = directory.path().join("busy.sock");
    let _listener = UnixListener::bind(&busy).unwrap();
    let output = serve_with_admin(&busy);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}

#[test]
fn an_unusable_socket_path_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let long = directory.path().join("x".repeat(120));
    for (path, said) in [(&file, "is not a socket"), (&long, "listen at")] {
        let output = serve_with_admin(path);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

// ---- The commands ----

#[test]
fn the_admin_socket_is_found_by_flag_environment_file_then_runtime_directory() {
    let daemon = Daemon::start(PUPPET_ONE);
    let config = daemon.directory.path().join("muster.toml");
    let (good, bad) = (daemon.admin().to_str().unwrap(), "/nowhere/at-all.sock");
    let asked = |arguments: &[&str], admin: Option<&str>| {
        let mut command = muster_command(arguments);
        command.envs(admin.map(|path| ("MUSTER_ADMIN", path)));
        command.output().unwrap()
    };
    let config = ["status", "--config", config.to_str().unwrap()];
    assert!(asked(&config, None).status.success());
    assert_eq!(asked(&config, Some(bad)).status.code(), Some(69));
    assert!(asked(&["status", "--admin", good], Some(bad)).status.success());
    assert!(asked(&["games"], Some(good)).status.success());
    let json = asked(&["games", "--json", "--last", "1", "--admin", good], None);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["next"], Value::Null);
}

/// Under systemd the socket is in the daemon's runtime directory, without configuration.
#[test]
fn the_admin_socket_is_in_systemds_runtime_directory() {
    let directory = tempfile::tempdir().unwrap();
    let ports = PortBlock::take(2);
    let range = format!("{}-{}", ports.range().start(), ports.range().end());
    let mut command = muster_command(&["serve", "--tcp", "127.0.0.1:0", "--ports", &range]);
    command.env("RUNTIME_DIRECTORY", directory.path()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let path = directory.path().join("admin.sock");
    wait_until("the socket", || UnixStream::connect(&path).is_ok());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(wait_for("its exit", || child.try_wait().unwrap()).success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

// ---- Tools ----

const PUPPET_ONE: &str = "[[mode]]\nname = \"one\"\ncommand = [PUPPET]\nplayers = 1\nwarm = 0";
const PUPPET_PAIR: &str = "[[mode]]\nname = \"pair\"\ncommand = [PUPPET]\nplayers = 2\nwarm = 0";

/// A daemon with an admin socket.
struct Daemon {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
    admin: PathBuf,
    directory: TempDir,
    _ports: PortBlock,
}

impl Daemon {
    fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    fn start_in(directory: TempDir, config: &str) -> Self {
        let ports = PortBlock::take(8);
        let (first, last) = (*ports.range().start(), *ports.range().end());
        let admin = directory.path().join("admin.sock");
        let puppet = format!("{:?}", binary("puppet-game"));
        let config = config.replace("PUPPET", &puppet);
        let file = directory.path().join("muster.toml");
        let listen = format!("[listen]\ntcp = \"127.0.0.1:0\"\nadmin = {admin:?}");
        let ring = format!("[ports]\nrange = \"{first}-{last}\"\nquarantine = \"0s\"");
        std::fs::write(&file, format!("{listen}\n{ring}\n{config}\n")).unwrap();
        let mut command = muster_command(&["serve", "--log", "info", "--config"]);
        command.arg(&file).env("TMPDIR", directory.path()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        // Whether or not the test still wants to hear it, the daemon must never wait for its log.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let mut daemon =
            Self { child, address: String::new(), lines, admin, directory, _ports: ports };
        let listening = daemon.next_line_with("listening tcp=");
        testkit::Log::field(&listening, "tcp").clone_into(&mut daemon.address);
        daemon
    }

    fn admin(&self) -> &Path {
        &self.admin
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// The next line of the log with these words.
    fn next_line_with(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(SOON).expect("a line of the log");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn join(&self, queue: &str, name: &str) -> Lobby {
        let mut lobby = Lobby::connect(&self.address, SOON).unwrap();
        lobby.join(Some(queue), Some(name), SOON).unwrap();
        lobby
    }

    fn assignment(&self, queue: &str) -> Assignment {
        self.join(queue, "ada").assignment(SOON).unwrap()
    }

    fn order(&self, port: u16, order: &str) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(order.as_bytes(), ("127.0.0.1", port)).unwrap();
    }

    /// Runs a command that asks this daemon.
    fn muster(&self, arguments: &[&str]) -> Output {
        muster_command(arguments).arg("--admin").arg(self.admin()).output().unwrap()
    }

    /// The answer of `muster games`.
    fn games(&self, last: usize) -> Value {
        let output = self.muster(&["games", "--json", "--last", &last.to_string()]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status(&self) -> Value {
        Operator::at(self.admin()).ask(r#"{"request":"status"}"#)
    }

    /// The reports, the newest first, as soon as there are `count`.
    fn reports(&self, count: usize) -> Vec<Value> {
        wait_for("the reports", || {
            let ended = self.games(count)["ended"].as_array().unwrap().clone();
            (ended.len() == count).then_some(ended)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // The second one ends the games at once.
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGINT);
            let deadline = Instant::now() + SOON;
            while self.child.try_wait().is_ok_and(|status| status.is_none()) {
                if Instant::now() > deadline {
                    let _ = self.child.kill();
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
}

/// A conversation with the daemon.
struct Operator {
    lines: BufReader<UnixStream>,
}

impl Operator {
    fn at(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { lines: BufReader::new(stream) }
    }

    fn say(&mut self, line: &str) {
        self.lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, line: &str) -> Value {
        self.say(line);
        self.hear()
    }

    /// Everything until the end of the connection.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        // A reset is an end, too: the daemon closed with unread input.
        let _ = self.lines.read_to_string(&mut rest);
        rest
    }
}

/// The program, with nothing of this process's environment that it would hear.
fn muster_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("muster"));
    let is_ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("MUSTER_");
    for name in std::env::vars_os().map(|(name, _)| name).filter(is_ours) {
        command.env_remove(name);
    }
    command.env_remove("JOURNAL_STREAM").env_remove("RUNTIME_DIRECTORY");
    // The usual port may be another daemon's.
    command.env("MUSTER_LISTEN_METRICS", "off");
    command.stdin(Stdio::null()).args(arguments);
    command
}

/// A daemon that cannot start.
fn serve_with_admin(path: &Path) -> Output {
    let admin = path.to_str().unwrap();
    let ports = PortBlock::take(1);
    let range = ports.range().start().to_string();
    let arguments = ["serve", "--tcp", "127.0.0.1:0", "--ports", &range, "--admin", admin];
    muster_command(&arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
