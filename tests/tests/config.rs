//! How `muster` is run: flags, environment, file, defaults; and how it says that it cannot be.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testkit::{Log, PortBlock, Wire, binary, wait_for};

/// The daemon's program, with nothing of this process's environment that it would hear.
fn muster(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("muster"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MUSTER_"))
    {
        command.env_remove(name);
    }
    // The usual places may be another daemon's.
    command.env("MUSTER_ADMIN", "off").env("MUSTER_LISTEN_METRICS", "off");
    command.env_remove("JOURNAL_STREAM").stdin(Stdio::null()).args(arguments);
    command
}

/// Runs a command to its end.
fn run(arguments: &[&str]) -> Output {
    muster(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A configuration in a directory of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("muster.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

/// A daemon that listens; stopped when it is dropped.
struct Daemon {
    child: Child,
    listening: String,
}

impl Daemon {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening =
            lines.find_map(|line| line.ok().filter(|line| line.contains("listening tcp=")));
        // Whatever else it says is read, so that it never waits for that.
        std::thread::spawn(move || lines.count());
        let mut daemon = Self { child, listening: String::new() };
        daemon.listening = listening.expect("a daemon that listens");
        daemon
    }

    fn field(&self, key: &str) -> &str {
        Log::field(&self.listening, key)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let status = wait_for("the daemon's exit", || self.child.try_wait().unwrap());
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}

#[test]
fn a_valid_configuration_is_accepted() {
    let (_directory, path) =
        file("[[mode]]\nname = \"duel\"\ncommand = [\"muster-game\", \"tictactoe\"]\n");
    let output = run(&["check-config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("{}: ", path.display())) && said.contains("good"), "{said}");
}

#[test]
fn errors_name_file_line_column_and_key() {
    for (text, line, key, words) in [
        ("[limits]\nclients = 0\n", 2, "limits.clients", "1 to 1000000"),
        ("[limits]\nclients = -1\n", 2, "limits.clients", "1 to 1000000"),
        ("[limits]\n\n\nclints = 5\n", 4, "clints", "did you mean `clients`"),
        ("[limit]\nclients = 5\n", 1, "[limit]", "did you mean `limits`"),
        ("[ports]\nrange = \"20009-20000\"\n", 2, "ports.range", "FIRST-LAST"),
        ("[ports]\nrange = \"80-90\"\n", 2, "ports.range", "1024"),
        ("[ports]\nquarantine = \"soon\"\n", 2, "ports.quarantine", "5s"),
        ("[listen]\ntcp = \"7000\"\n", 2, "listen.tcp", "address"),
        ("[[mode]]\nname = \"duel\"\n", 1, "mode.command", "missing"),
        ("[[mode]]\ncommand = [\"x\"]\n", 1, "mode.name", "missing"),
        ("[[mode]]\nname = \"a b\"\ncommand = [\"x\"]\n", 2, "mode.name", "letters"),
        ("[[mode]]\nname = \"a\"\ncommand = []\n", 3, "mode.command", "program"),
        ("[[mode]]\nname = \"a\"\ncommand = [\"x\"]\nwarm = \"two\"\n", 4, "warm", "invalid type"),
        ("\nthis is no TOML\n", 2, "this is no TOML", ""),
    ] {
        let (_directory, path) = file(text);
        let path = path.to_str().unwrap();
        for arguments in [&["check-config", path][..], &["serve", "--config", path]] {
            let output = run(arguments);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{text}: {said}");
            let start = format!("muster: {path}:{line}:");
            let rest = said.strip_prefix(&start).and_then(|rest| rest.split_once(": "));
            let names = rest.is_some_and(|(column, rest)| {
                column.parse().is_ok_and(|column: usize| column > 0) && rest.starts_with(key)
            });
            assert!(names && said.contains(words), "{start}COLUMN: {key}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn a_missing_file_is_a_configuration_error() {
    for arguments in
        [&["check-config", "/no/such/file"][..], &["serve", "--config", "/no/such/file"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("/no/such/file"), "{}", stderr(&output));
    }
}

#[test]
fn an_invalid_flag_is_refused() {
    for (arguments, code, words) in [
        (&[][..], 2, "Usage"),
        (&["dance"], 2, "dance"),
        (&["serve", "--colour"], 2, "--colour"),
        (&["serve", "--tcp", "nowhere"], 2, "--tcp"),
        (&["serve", "--log", "loud"], 2, "--log"),
        (&["check-config"], 2, "FILE"),
        (&["serve", "--ports", "9-1"], 78, "--ports"),
        (&["serve", "--public-host", ""], 78, "--public-host"),
    ] {
        let output = run(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn help_and_version_exit_with_success() {
    for arguments in
        [&["--help"][..], &["--version"], &["serve", "--help"], &["check-config", "-h"]]
    {
        let output = run(arguments);
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_address_in_use_is_unavailable() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let output = run(&["serve", "--tcp", &address]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
    // An address that is none of this host's; RFC 5737 has it for documentation.
    let output = run(&["serve", "--tcp", "192.0.2.1:7000"]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

/// Without a configuration there is one queue to play in; only the address is set here, as the default port may be in
/// use.
#[test]
fn without_configuration_there_is_a_mode_duel() {
    let ports = PortBlock::take(4);
    let range = format!("{}-{}", ports.range().start(), ports.range().end());
    let daemon = Daemon::start(muster(&["serve", "--tcp", "127.0.0.1:0", "--ports", &range]));
    assert_eq!((daemon.field("modes"), daemon.field("ports")), ("duel", range.as_str()));
    let mut players = [(); 2].map(|()| Wire::greeted(daemon.field("tcp")));
    for player in &mut players {
        assert!(player.ask("READY\n").starts_with("QUEUED queue=duel "));
    }
    for player in &mut players {
        let rest = player.rest();
        let assign = rest.last().unwrap();
        assert_eq!(Log::field(assign, "host"), "127.0.0.1");
        assert!(ports.range().contains(&Log::field(assign, "port").parse().unwrap()), "{assign}");
    }
    // The game continues, so a second signal is needed to end it at once.
    let pid = Pid::from_raw(i32::try_from(daemon.child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let ports = PortBlock::take(3);
    let [first, second, third] =
        [0, 1, 2].map(|offset| (ports.range().start() + offset).to_string());
    let mode = "[[mode]]\nname = \"x\"\ncommand = [\"muster-game\", \"echo\"]\nwarm = 0\n";
    let text = format!("[listen]\ntcp = \"127.0.0.1:0\"\n[ports]\nrange = \"{first}\"\n{mode}");
    let (_directory, path) = file(&text);
    let path = path.to_str().unwrap();
    let in_use = |command: Command| Daemon::start(command).field("ports").to_owned();
    let from_file = muster(&["serve", "--config", path]);
    assert_eq!(in_use(from_file), format!("{first}-{first}"));
    let mut from_environment = muster(&["serve"]);
    from_environment.env("MUSTER_CONFIG", path).env("MUSTER_PORTS_RANGE", &second);
    assert_eq!(in_use(from_environment), format!("{second}-{second}"));
    let mut from_flag = muster(&["serve", "--ports", &third]);
    from_flag.env("MUSTER_CONFIG", path).env("MUSTER_PORTS_RANGE", &second);
    assert_eq!(in_use(from_flag), format!("{third}-{third}"));
}

/// Under journald a line begins with its priority; the time is journald's matter.
#[test]
fn under_journald_lines_start_with_their_priority() {
    let ports = PortBlock::take(1);
    let range = ports.range().start().to_string();
    let mut command = muster(&["serve", "--tcp", "127.0.0.1:0", "--ports", &range]);
    command.env("JOURNAL_STREAM", "8:12345").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening tcp=") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the end of the log");
    }
    assert!(line.starts_with("<6>listening tcp="), "{line}");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().all(|line| line.starts_with('<')), "{rest}");
    assert!(wait_for("the end", || child.try_wait().unwrap()).success());
}

/// All errors of a file, each in a line with its position, its key and a description.
#[test]
fn all_errors_of_a_file_are_reported_at_once() {
    let text = "[limits]\nclints = 5\nclients = 0\n[[mode]]\nname = \"a b\"\nplayers = 0\n\
                command = \"./game --port 1\"\nmax_duration = 600\n";
    let expected = [
        "2:1: clints: no such key",
        "3:11: limits.clients: must be",
        "5:8: mode.name: must be",
        "6:11: mode.players: must be",
        "7:11: command: invalid type: this is text, expected a list: [\"./game\", \"--port\", \"1\"]",
        "8:16: max_duration: invalid type: this is a whole number, expected a duration in quotes: \"600s\"",
    ];
    let (_directory, path) = file(text);
    let path = path.to_str().unwrap();
    for arguments in [&["check-config", path][..], &["serve", "--config", path]] {
        let output = run(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert_eq!(said.lines().count(), expected.len(), "{said}");
        for (line, expected) in said.lines().zip(expected) {
            assert!(
                line.starts_with(&format!("muster: {path}:{expected}")),
                "{line:?}: {expected:?}"
            );
        }
    }
}

/// An unknown placeholder would be passed to the game unchanged.
#[test]
fn unknown_placeholders_are_refused_and_other_braces_are_not() {
    let plain = "contract = \"plain\"\nwarm = 0\n";
    let cases: [(&str, &str, &[&str]); 6] = [
        (plain, "[\"cat\", \"-m\", \"{match}\", \"{port}\"]", &["{match}", "only {port}"]),
        (plain, "[\"cat\", \"{port+1}\"]", &["{port+1}", "only {port}"]),
        (plain, "[\"cat\", \"{players}{public_host}\"]", &["{players}", "{public_host}"]),
        (plain, "[\"cat\"]\nenv = { SERVER_PORT = \"{port}\" }", &["SERVER_PORT", "MUSTER_PORT"]),
        ("", "[\"cat\", \"{port}\"]", &["{port}", "muster-game/1"]),
        ("", "[\"cat\"]\nenv = { A = \"{players}\" }", &["A", "{players}"]),
    ];
    for (contract, command, words) in cases {
        let (_directory, path) =
            file(&format!("[[mode]]\nname = \"a\"\n{contract}command = {command}\n"));
        let output = run(&["check-config", path.to_str().unwrap()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{command}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{command}: {said}");
    }
    for (contract, command) in [
        (
            plain,
            r#"["cat", "{port}", '{"a":1}', '{"a":{"b":{port}}}', "{{match}}", "${HOME}", "{}"]"#,
        ),
        ("", r#"["cat", '{"a":1}', "{{port}}", "x{3}"]"#),
    ] {
        let (_directory, path) =
            file(&format!("[[mode]]\nname = \"a\"\n{contract}command = {command}\n"));
        let output = run(&["check-config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
    }
}

/// A program that cannot be launched is an error of check-config, with its position; a daemon starts, warns, and
/// retries.
#[test]
fn an_unusable_program_is_an_error_in_check_config_and_a_warning_in_a_daemon() {
    let (directory, path) = file("");
    let place = directory.path();
    let write = |name: &str, text: &str, mode: u32| {
        let file = place.join(name);
        std::fs::write(&file, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, mode).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let script = write("script", "#!/no/such/interpreter\n", 0o755);
    let text = write("text", "hello\n", 0o644);
    let good = write("good", "#!/bin/sh\n", 0o755);
    let check = |command: &str| {
        let mode = format!("[[mode]]\nname = \"a\"\ncommand = {command}\n");
        std::fs::write(&path, mode).unwrap();
        let output = run(&["check-config", path.to_str().unwrap()]);
        (output.status.code(), stderr(&output))
    };
    for (command, words) in [
        ("[\"/nonexistent/game\"]".to_owned(), "/nonexistent/game: No such file"),
        ("[\"./no-such-server\"]".to_owned(), "./no-such-server: No such file"),
        ("[\"no-such-server\"]".to_owned(), "no such program beside muster or in PATH"),
        (format!("[{script:?}]"), "its interpreter /no/such/interpreter"),
        (format!("[{text:?}]"), "not executable"),
        (format!("[{:?}]", place.to_str().unwrap()), "not a file"),
    ] {
        let (code, said) = check(&command);
        assert_eq!(code, Some(78), "{command}: {said}");
        let start = format!("muster: {}:3:11: mode a: cannot run ", path.display());
        assert!(said.starts_with(&start) && said.contains(words), "{command}: {said}");
    }
    assert_eq!(check(&format!("[{good:?}]")).0, Some(0));
    let (code, said) = check(&format!("[{good:?}, \"/no/such/maps\"]"));
    let warning =
        format!("{}:3:11: warning: mode a: its command names /no/such/maps", path.display());
    assert!(code == Some(0) && said.contains(&warning), "{said}");
    let ports = PortBlock::take(1);
    let range = ports.range().start().to_string();
    check("[\"./no-such-server\"]");
    let config = path.to_str().unwrap();
    let arguments = ["serve", "--config", config, "--tcp", "127.0.0.1:0", "--ports", &range];
    let daemon = Daemon::start(muster(&arguments));
    assert_eq!(daemon.field("modes"), "a");
}

/// `NAME=`, as compose files and units make it, is the same as no such variable.
#[test]
fn an_empty_variable_counts_as_unset() {
    let ports = PortBlock::take(1);
    let range = ports.range().start().to_string();
    let text = format!(
        "[listen]\ntcp = \"127.0.0.1:0\"\nadmin = \"off\"\nmetrics = \"off\"\n[ports]\nrange = \"{range}\"\n[log]\nlevel = \"info\"\n"
    );
    let (_directory, path) = file(&text);
    let mut command = muster(&["serve", "--config", path.to_str().unwrap()]);
    for name in [
        "MUSTER_CONFIG",
        "MUSTER_LISTEN_TCP",
        "MUSTER_ADMIN",
        "MUSTER_LISTEN_METRICS",
        "MUSTER_PORTS_RANGE",
        "MUSTER_PORTS_PUBLIC_HOST",
        "MUSTER_KEEP",
        "MUSTER_LOG_LEVEL",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "XDG_RUNTIME_DIR",
        "TMPDIR",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "FDSTORE",
    ] {
        command.env(name, "");
    }
    let daemon = Daemon::start(command);
    let ports = format!("{range}-{range}");
    assert_eq!((daemon.field("modes"), daemon.field("ports")), ("duel", ports.as_str()));
    drop(daemon);
    // The same applies to commands that connect to a daemon.
    let mut command = muster(&["status"]);
    let output = command.env("MUSTER_ADMIN", "").env("MUSTER_CONFIG", "").output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", stderr(&output));
}
