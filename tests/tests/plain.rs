//! `contract = "plain"`: programs that know nothing of Muster.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use client::Assignment;
use protocol::WaitReason;
use testkit::{Log, Muster, SOON, Setup, example, wait_for_reason, wait_until};

/// A mode for one player whose game knows nothing of Muster.
const PLAIN: &str = "players = 1\ncontract = \"plain\"";

/// Takes the socket it was born with, and answers with the variable that is asked for.
const TELL: &str = "
import os, socket
game = socket.socket(fileno=3)
game.setblocking(True)
while True:
    asked, player = game.recvfrom(1200)
    game.sendto(os.environ.get(asked.decode(), 'unset').encode(), player)
";

/// A mode of programs in Python.
fn python(setup: Setup, name: &str, program: &str, keys: &str) -> Setup {
    setup.mode(name, &["/usr/bin/python3", "-c", program], &format!("{PLAIN}\n{keys}"))
}

fn assigned(muster: &Muster, queue: &str) -> Assignment {
    muster.join(queue, "ada").assignment(SOON).unwrap()
}

/// Sends a datagram once, as players are only sent to ports that receive, and returns the answer.
fn ask(port: u16, words: &str) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(words.as_bytes(), (Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut answer = [0; 1200];
    let length = socket.recv(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// Waits until no game of a mode is there, whatever became of it. Its match waits on.
fn wait_until_gone(muster: &Muster, queue: &str) {
    wait_until("no game", || muster.status(queue).1 == 0);
}

/// The modes of `examples/plain.toml`: one that inherits its socket, and one that binds its port.
#[test]
fn the_examples_answer_from_the_first_datagram_on() {
    let modes = std::fs::read_to_string(example("plain.toml")).unwrap();
    let muster = Setup::default().config(&modes).start();
    for queue in ["inherits", "binds"] {
        let game = assigned(&muster, queue);
        assert_eq!(ask(game.port, "is anybody there"), "is anybody there", "{queue}");
    }
}

/// The players and the match are in the environment; there is no control channel.
#[test]
fn players_are_in_the_environment() {
    let keys = PLAIN.replace('1', "2");
    let command = ["/usr/bin/python3", "-c", TELL];
    let muster = Setup::default().mode("tell", &command, &keys).start();
    let mut lobbies = ["ada", "b \"o\" b"].map(|name| muster.join("tell", name));
    let [ada, bob] = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let players: serde_json::Value =
        serde_json::from_str(&ask(ada.port, "MUSTER_PLAYERS")).unwrap();
    let expected = serde_json::json!([
        {"slot": 0, "name": "ada", "token": ada.token},
        {"slot": 1, "name": "b \"o\" b", "token": bob.token},
    ]);
    assert_eq!(players, expected);
    for (variable, value) in [
        ("MUSTER_MATCH", ada.match_id.as_str()),
        ("MUSTER_MODE", "tell"),
        ("MUSTER_PORT", &ada.port.to_string()),
        ("MUSTER_CONTROL_FD", "unset"),
        ("LISTEN_FDS", "1"),
    ] {
        assert_eq!(ask(ada.port, variable), value, "{variable}");
    }
    // Nothing that was secret went into the log with it.
    assert!(!muster.log().text().contains(&ada.token));
}

/// Its end is the match's, and its port goes back to the ring.
#[test]
fn a_match_ends_when_its_program_exits() {
    let program = "import socket; g = socket.socket(fileno=3); g.setblocking(True); g.recv(9)";
    let muster = python(Setup::default(), "once", program, "").start();
    let game = assigned(&muster, "once");
    muster.order(game.port, "end");
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    muster.wait_until_idle("once", 0);
    // It is unknown whether the player joined.
    muster.log().wait_for(&["game ended game=1 ", " joined=unknown "]);
    let games = muster.operate(&["games"]).unwrap();
    assert!(games.contains("  ada") && !games.contains("(ada)"), "{games}");
    assert!(!games.contains("did not come"), "{games}");
}

/// SIGTERM is its only notification that its time is over.
#[test]
fn a_program_is_stopped_at_the_end_of_its_match() {
    let keys = "max_duration = \"200ms\"\nstop_grace = \"1s\"";
    let muster = python(Setup::default(), "tell", TELL, keys).start();
    assigned(&muster, "tell");
    muster.log().wait_for(&["game stopping", "its time is over"]);
    muster.log().wait_for(&["match stopped match=1 ", "signal 15"]);
    muster.wait_until_idle("tell", 0);
}

/// Players are assigned to a port that a program binds itself only after its ready line: here, when the test allows it.
#[test]
fn players_are_assigned_after_the_ready_line() {
    let directory = public_directory();
    let cue = directory.path().join("cue");
    let program = format!(
        "
import os, socket, sys, time
print('loading', flush=True)
while not os.path.exists({cue:?}):
    time.sleep(0.01)
game = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
game.bind(('127.0.0.1', int(sys.argv[1])))
print('listening on', sys.argv[1], flush=True)
game.sendto(b'bound', game.recvfrom(1200)[1])
"
    );
    let keys =
        format!("{PLAIN}\nbind = \"game\"\nready_line = \"^listening\"\nready_timeout = \"30s\"");
    let command = ["/usr/bin/python3", "-c", &program, "{port}"];
    let muster = Setup::default().mode("slow", &command, &keys).start();
    let mut ada = muster.join("slow", "ada");
    wait_for_reason(&mut ada, WaitReason::GameStarting);
    muster.log().wait_for(&["output game=1", "loading"]);
    assert_eq!(muster.log().lines_with(&["match assigned"]), [""; 0]);
    std::fs::write(cue, "").unwrap();
    let game = ada.assignment(SOON).unwrap();
    assert_eq!(ask(game.port, "hello"), "bound");
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
}

/// Faults rows 18 and 19: a program that never prints its ready line is killed at its deadline, at each attempt. The
/// players are notified, and keep their positions: with a working program they are served in order.
#[test]
fn a_program_without_its_ready_line_is_killed_and_retried() {
    let directory = public_directory();
    let cure = directory.path().join("cure");
    let program = format!("test -e {} && echo ready; exec /bin/sleep 60", cure.display());
    let keys = format!("{PLAIN}\nready_line = \"ready\"\nready_timeout = \"300ms\"");
    let muster = Setup::default().mode("mute", &["/bin/sh", "-c", &program], &keys).start();
    let mut waiting = ["ada", "bob"].map(|name| muster.join("mute", name));
    for lobby in &mut waiting {
        wait_for_reason(lobby, WaitReason::GameFailing);
    }
    muster
        .log()
        .wait_for_count(2, &["game failed", "no line matched ready_line \"ready\" within 300ms"]);
    assert_eq!(muster.log().lines_with(&["match assigned"]), [""; 0]);
    std::fs::write(cure, "").unwrap();
    let served = waiting.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    assert_eq!(served.each_ref().map(|it| it.match_id.as_str()), ["1", "2"]);
}

/// Faults row 18: a program that exits before its ready line has failed, and its players wait for another.
#[test]
fn a_program_that_exits_before_its_ready_line_is_retried() {
    let keys = format!("{PLAIN}\nready_line = \"ready\"");
    let muster = Setup::default().mode("brief", &["/bin/true"], &keys).start();
    let mut ada = muster.join("brief", "ada");
    wait_for_reason(&mut ada, WaitReason::GameFailing);
    muster.log().wait_for_count(2, &["game failed", "exit status 0"]);
    wait_until_gone(&muster, "brief");
    assert_eq!(muster.status("brief").0, 1, "the waiting player");
}

/// Without a ready line a program has started when it runs. One that exits at once has had its match: it ends.
#[test]
fn a_program_that_exits_at_once_fails_its_mode() {
    let muster = Setup::default().mode("brief", &["/bin/false"], PLAIN).start();
    let mut ada = muster.join("brief", "ada");
    ada.assignment(SOON).unwrap();
    let ended = muster.log().wait_for(&["match finished match=1 ", "exit status 1"]);
    assert_eq!(Log::field(&ended, "mode"), "brief");
    muster.wait_until_idle("brief", 0);
}

/// Faults row 29: another process uses the UDP port that a program is to bind. The program is not started there, and
/// the players get another port.
#[test]
fn a_port_in_use_by_udp_is_skipped() {
    let modes = std::fs::read_to_string(example("plain.toml")).unwrap();
    let muster = Setup::default().ports(2).config(&modes).start();
    let first = *muster.ports().start();
    let foreign = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    let game = assigned(&muster, "binds");
    assert_eq!(game.port, first + 1);
    assert_eq!(ask(game.port, "hello"), "hello");
    muster.log().wait_for(&["port busy", &format!("port={first}:")]);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    // Nothing was sent there.
    foreign.set_nonblocking(true).unwrap();
    assert!(foreign.recv(&mut [0; 10]).is_err());
}

/// A program in Python that listens with TCP, greets one player, hangs up first, and ends.
const GREETS: &str = "
import socket, sys
game = socket.socket()
if sys.argv[2] == 'reuse': game.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
game.bind(('127.0.0.1', int(sys.argv[1])))
game.listen()
print('listening', flush=True)
player, _ = game.accept()
player.sendall(b'hello')
player.close()
";

fn greets(setup: Setup, how: &str) -> Setup {
    let keys = format!(
        "{PLAIN}\nbind = \"game\"\nready_line = \"^listening\"\nready_timeout = \"1m\"\n\
         [mode.confinement]\nlandlock = false"
    );
    setup.mode("greets", &["/usr/bin/python3", "-c", GREETS, "{port}", how], &keys)
}

fn greet(muster: &Muster) -> u16 {
    let port = assigned(muster, "greets").port;
    let mut received = String::new();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().read_to_string(&mut received).unwrap();
    assert_eq!(received, "hello");
    port
}

/// Faults row 51: another process listens with TCP on the port that a program is to bind. The program is not started
/// there.
#[test]
fn a_port_in_use_by_tcp_is_skipped() {
    let muster = greets(Setup::default().ports(2), "reuse").start();
    let first = *muster.ports().start();
    let _foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    // Its own closed connections are no obstacle.
    for _ in 0..3 {
        assert_eq!(greet(&muster), first + 1);
    }
    muster.log().wait_for(&["WARN", "port busy", &format!("port={first}:")]);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
}

/// Faults row 51: connections that are over are in the way of a program that does not reuse addresses; tcp(7),
/// TIME_WAIT. Its port rests, and its mode is not to blame.
#[test]
fn a_port_with_connections_in_time_wait_is_skipped() {
    let muster = greets(Setup::default().ports(1), "plain").start();
    let port = greet(&muster);
    muster.wait_until_idle("greets", 0);
    let mut ada = muster.join("greets", "ada");
    wait_for_reason(&mut ada, WaitReason::NoPort);
    muster.log().wait_for(&["port busy", &format!("port={port}:")]);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    let status = muster.operate(&["status"]).unwrap();
    assert!(!status.contains("failing"), "{status}");
}

/// Faults row 51: whatever is wrong with one port of the ring, players get another, and the bad one is left alone for
/// longer each time.
#[test]
fn a_port_on_which_a_program_cannot_listen_is_skipped() {
    let muster_of = |bad: &Path| {
        let script = format!(
            "test \"$1\" = \"$(cat {})\" && exit 1; echo ready; exec sleep 3600",
            bad.display()
        );
        let keys = format!(
            "{PLAIN}\nbind = \"game\"\nready_line = \"ready\"\nready_timeout = \"1m\"\n[mode.confinement]\nread = [{bad:?}]"
        );
        Setup::default().ports(4).mode("picky", &["/bin/sh", "-c", &script, "sh", "{port}"], &keys)
    };
    let directory = public_directory();
    let bad = directory.path().join("bad");
    std::fs::write(&bad, "0").unwrap();
    let muster = muster_of(&bad).start();
    let first = *muster.ports().start();
    std::fs::write(&bad, first.to_string()).unwrap();
    for _ in 0..3 {
        assert_ne!(assigned(&muster, "picky").port, first);
    }
    // Nothing else is left: it is tried once in a while, and no reason to keep a player from a good port.
    let mut ada = muster.join("picky", "ada");
    muster.log().wait_for_count(3, &["game failed", "exit status 1", "next try at once"]);
    assert!(!muster.operate(&["status"]).unwrap().contains("failing"));
    muster.operate(&["kill", "2", "--now"]).unwrap();
    assert_ne!(ada.assignment(SOON).unwrap().port, first);
}

/// A directory in which a game finds things, though it is a user of its own.
fn public_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    directory
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}
