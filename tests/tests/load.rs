//! `muster-load`, as a user runs it: against a real daemon, and against one that breaks its promises.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Setup, binary, wait_for};

/// A run of the program.
struct Load {
    child: Child,
    directory: TempDir,
}

/// The result of a run.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    directory: TempDir,
}

impl Load {
    /// Starts it. It writes both reports into a directory of its own.
    fn start(address: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary("muster-load"));
        command.arg(address).args(args);
        if !args.contains(&"--json") {
            command.arg("--json").arg(directory.path().join("report.json"));
        }
        let child = command
            .arg("--html")
            .arg(directory.path().join("report.html"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    /// Waits for its end. What it says fits into the pipes.
    fn end(mut self) -> Ended {
        let status = wait_for("the end of muster-load", || self.child.try_wait().unwrap());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Ended { status, stdout, stderr, directory }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    fn code(&self) -> i32 {
        self.status.code().unwrap()
    }

    fn json(&self) -> Value {
        let text = std::fs::read_to_string(self.directory.path().join("report.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The report of a run in which no player was lost.
    fn clean(&self) -> Value {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        assert_eq!(self.code(), 0, "{stdout}{stderr}");
        assert!(stdout.contains("no player was lost"), "{stdout}");
        let report = self.json();
        let verdict = &report["verdict"];
        assert_eq!(verdict["is_clean"], true, "{verdict}");
        let endings = verdict["endings"].as_object().unwrap();
        let ended: u64 = endings.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(verdict["queued"], ended, "{verdict}");
        assert_eq!(endings["assigned"], report["counts"]["assigned"]);
        let page = std::fs::read_to_string(self.directory.path().join("report.html")).unwrap();
        assert!(page.contains("\"is_clean\":true"), "the page holds the report");
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} would load something");
        }
        report
    }
}

/// A daemon that has room for everybody.
fn roomy() -> Setup {
    let limits = "[limits]\nclients_per_address = 20000\nseats_per_address = 0\nhandshake_timeout = \"1s\"\nline_timeout = \"1s\"";
    Setup::default().ports(128).config(limits).log("info")
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("harness/scenarios")
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}"))
}

fn latency<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut latencies = report["latencies"].as_array().unwrap().iter();
    &latencies.find(|latency| latency["name"] == name).unwrap()["brief_us"]
}

#[test]
fn every_included_scenario_runs_without_a_lost_player() {
    let muster = roomy().duel("warm = 4").start();
    let mut files: Vec<_> =
        std::fs::read_dir(scenarios()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let file = file.to_str().unwrap();
        let args = ["--players", "40", "--duration", "2s", "--ramp", "all", "--scenario", file];
        let report = Load::start(muster.address(), &args).end().clean();
        assert!(number(&report, "/counts/assigned") > 0, "{file}: {report}");
        for step in ["connect", "queued", "assign"] {
            assert!(latency(&report, step)["p50"].as_u64().unwrap() > 0, "{file}: {step}");
        }
        assert_eq!(report["errors"], serde_json::json!({}), "{file}");
        assert_eq!(report["processor"]["daemon_pid"], muster.pid(), "{file}");
        assert!(!report["samples"].as_array().unwrap().is_empty(), "{file}");
    }
}

#[test]
fn players_join_all_games_over_both_transports() {
    let arena = &["muster-game", "arena"];
    let muster = roomy()
        .duel("warm = 2")
        .mode("echo", &["muster-game", "echo"], "warm = 2")
        .mode("arena", arena, "players = 3\nwarm = 2")
        .mode("sealed", arena, "players = 2\nwarm = 2\ntransport = \"netcode\"")
        .start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[matchmaking]\nrate = 20\n[in-game]\nfor = \"500ms\"\nthink = \"10ms\"\nping_every = \"50ms\"";
    for queue in ["duel", "echo", "arena", "sealed"] {
        // An echo has no first words by which it could be known.
        let game = if queue == "echo" { "echo" } else { "auto" };
        std::fs::write(file.path(), format!("{text}\ngame = \"{game}\"")).unwrap();
        let file = file.path().to_str().unwrap();
        let args =
            ["--players", "6", "--duration", "1500ms", "--queue", queue, "--scenario", file, "-q"];
        let ended = Load::start(muster.address(), &args).end();
        assert_eq!(ended.stderr, "", "{queue}: --quiet prints nothing");
        let report = ended.clean();
        assert_eq!(report["errors"], serde_json::json!({}), "{queue}");
        assert!(number(&report, "/counts/played") > 0, "{queue}: {}", report["counts"]);
        assert!(number(&report, "/counts/pings") > 0, "{queue}: {}", report["counts"]);
        for step in ["first answer", "round trip"] {
            assert!(latency(&report, step)["count"].as_u64().unwrap() > 0, "{queue}: {step}");
        }
    }
}

#[test]
fn ctrl_c_ends_a_run_early_with_the_report() {
    let muster = roomy().duel("warm = 2").start();
    let args = ["--players", "10", "--duration", "1h"];
    let load = Load::start(muster.address(), &args);
    muster.log().wait_for(&["assigned"]);
    kill(Pid::from_raw(i32::try_from(load.child.id()).unwrap()), Signal::SIGINT).unwrap();
    let report = load.end().clean();
    assert_eq!(report["was_interrupted"], true);
}

#[test]
fn errors_before_a_run_are_reported_clearly() {
    let muster = roomy().duel("warm = 0").start();
    // A closed port: bound here, so that it stays closed for TCP.
    let closed = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = format!("127.0.0.1:{}", closed.local_addr().unwrap().port());
    for (address, args, code, said) in [
        (closed.as_str(), &[][..], 3, "is Muster running there?"),
        (muster.address(), &["--queue", "arena"], 3, "has no queue arena; it has duel"),
        (muster.address(), &["--scenario", "evning"], 2, "no scenario evning"),
        (muster.address(), &["--players", "none"], 2, "not a number"),
        (muster.address(), &["--players", "9999999"], 3, "use --players"),
        (muster.address(), &["--json", "/nowhere/report.json"], 3, "/nowhere/report.json"),
    ] {
        let ended = Load::start(address, args).end();
        assert_eq!(ended.code(), code, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[matchmaking]\nrate = 1\nrats = 2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let ended = Load::start(muster.address(), &["--scenario", path]).end();
    assert_eq!(ended.code(), 2);
    for part in [path, "line 3", "unknown field `rats`"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

/// A fake Muster: sends a given answer to each READY, and closes the connection.
fn impostor(answer: impl Fn(usize) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let answer = answer(number);
            // A thread for each: a connection without a complete line must not block others.
            std::thread::spawn(move || deceive(&stream, &answer));
        }
    });
    address
}

fn deceive(mut stream: &TcpStream, answer: &str) -> std::io::Result<()> {
    stream.write_all(b"MUSTER 1 line_max=512 queues=duel\n")?;
    let mut line = String::new();
    // The end of the stream: a connection that only checked whether the port is open.
    if BufReader::new(stream).read_line(&mut line)? > 0 {
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_fake_muster_that_breaks_its_promises_is_detected() {
    const QUEUED: &str = "QUEUED queue=duel position=1 needed=2 resume=k\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[matchmaking]\nrate = 20\n").unwrap();
    let file = file.path().to_str().unwrap();
    let args = ["--players", "4", "--duration", "500ms", "--scenario", file];

    let forgetful = impostor(|_| QUEUED.to_owned());
    let ended = Load::start(&forgetful, &args).end();
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("closed the connection without a message"), "{}", ended.stdout);
    assert_eq!(ended.json()["verdict"]["is_clean"], false);

    // One that crashes all the time, and has forgotten every other player when it is back.
    let key = "5".repeat(32);
    let shaken = impostor(move |number| match number % 2 {
        0 => format!("QUEUED queue=duel position=1 needed=2 resume={key}\n"),
        _ => "ERR 505 BAD_RESUME unknown\n".to_owned(),
    });
    let ended = Load::start(&shaken, &[&args[..], &["--comes-back", "--grace", "1s"]].concat());
    let ended = ended.end();
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("the position was not kept"), "{}", ended.stdout);
    assert!(number(&ended.json(), "/verdict/resumed") > 0, "{}", ended.stdout);

    // Everybody gets the same place.
    let generous = impostor(|_| {
        format!(
            "{QUEUED}ASSIGN match=1 host=127.0.0.1 port=9 slot=0 players=2 token=t transport=plain\n"
        )
    });
    let ended = Load::start(&generous, &args).end();
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("slot is taken"), "{}", ended.stdout);

    // The later the player comes, the earlier its match.
    let unjust = impostor(|number| {
        let number = 1_000_000 - number;
        format!(
            "{QUEUED}ASSIGN match={number} host=127.0.0.1 port=9 slot=0 players=2 token=t transport=plain\n"
        )
    });
    let ended = Load::start(&unjust, &args).end();
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("in order"), "{}", ended.stdout);
}

#[test]
fn a_run_with_a_hostile_fake_muster_ends_with_a_report() {
    let assign =
        |rest: &str| format!("QUEUED queue=duel position=1 needed=2 resume=k\nASSIGN {rest}\n");
    let answers = [
        "\u{0}\u{1b}[2J\nQUEUED\nERR\nERR x\nERR 999 WHAT ever\nBYE\n".to_owned(),
        "WAITING queue=duel reason=no-port\nREQUEUED queue=duel position=0\nLEFT\n".to_owned(),
        "MUSTER 1 line_max=512 queues=duel\nMUSTER 1 line_max=0 queues=,\nFOUND match=1\n"
            .to_owned(),
        "QUEUED queue=duel position=0 needed=0 resume=\nEVICTED reason=no\n".to_owned(),
        assign("match=1 host=nowhere.invalid port=1 slot=0 players=2 token=t transport=plain"),
        assign("match=2 host=127.0.0.1 port=0 slot=9 players=0 token=t transport=carrier-pigeon"),
        assign("match=3 host=127.0.0.1 port=9 slot=0 players=2 token=t transport=netcode"),
        assign("match=x host=[::1] port=9 slot=999999 players=999999 token=t transport=plain"),
        "x".repeat(100_000),
    ];
    let count = answers.len();
    let liar = impostor(move |number| answers[number % answers.len()].clone());
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[matchmaking]\nrate = 100\n[flaky]\nrate = 50\n[impatient]\nrate = 50\n[logout]\nrate = 10\n[slow]\nrate = 10";
    std::fs::write(file.path(), text).unwrap();
    let file = file.path().to_str().unwrap();
    let args = ["--players", "20", "--duration", "2s", "--grace", "1s", "--scenario", file];
    let ended = Load::start(&liar, &args).end();
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    let report = ended.json();
    assert!(number(&report, "/counts/runs") > u64::try_from(count).unwrap());
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
}

/// Players who lose the connection return to their positions, and those who do not accept a match are evicted.
#[test]
fn reconnects_and_evictions_are_counted() {
    let keys = "players = 2\nwarm = 2\naccept_timeout = \"300ms\"\nrejoin = true";
    let muster = roomy().mode("duel", &["muster-game", "echo"], keys).start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shy.toml");
    let scenario = "[matchmaking]\nrate = 3\n[in-game]\nfor = \"0s\"\n\
        [ready-check]\ndeclines = 0.1\nsilent = 0.1\n\
        [flaky]\nrate = 3\nafter = \"0s..200ms\"\naway = \"0s..200ms\"";
    std::fs::write(&file, scenario).unwrap();
    let args = ["--players", "60", "--ramp", "all", "--duration", "5s", "--scenario"];
    let args = [&args[..], &[file.to_str().unwrap()]].concat();
    let report = Load::start(muster.address(), &args).end().clean();
    let verdict = &report["verdict"];
    for count in
        [&verdict["resumed"], &verdict["endings"]["evicted"], &verdict["endings"]["assigned"]]
    {
        assert!(count.as_u64().unwrap() > 0, "{verdict}");
    }
}
