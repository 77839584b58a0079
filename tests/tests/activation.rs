//! The listening socket as a socket unit gives it; sd_listen_fds(3).

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use testkit::{Setup, Wire, binary, proc};

fn listener() -> (OwnedFd, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener.into(), address)
}

/// Players who connected before the daemon started are served, and later ones, too.
#[test]
fn players_connect_through_the_inherited_socket() {
    for name in ["players", "muster.socket", ""] {
        let (socket, address) = listener();
        let mut early = TcpStream::connect(&address).unwrap();
        early.write_all(b"READY\n").unwrap();
        let muster = Setup::default().duel("warm = 0").listen_fd(socket, name).start();
        assert_eq!(muster.address(), address);
        let mut late = Wire::greeted(&address);
        assert!(late.ask("READY\n").starts_with("QUEUED "));
        assert!(late.rest().last().unwrap().starts_with("ASSIGN "), "the two play");
    }
}

#[test]
fn games_do_not_see_socket_activation() {
    let (socket, _) = listener();
    let muster = Setup::default().duel("warm = 1").listen_fd(socket, "players").start();
    muster.log().wait_for(&["game ready"]);
    assert!(proc::environment(muster.pid()).contains(&"LISTEN_FDNAMES=players".to_owned()));
    assert!(!proc::environment(muster.launcher()).iter().any(|it| it.starts_with("LISTEN_")));
    for game in muster.games() {
        let environment = proc::environment(game);
        assert!(environment.contains(&"LISTEN_FDNAMES=game".to_owned()), "{environment:?}");
    }
}

/// A descriptor that a later version stored under an unknown name does not prevent the start.
#[test]
fn unknown_descriptors_are_closed() {
    let (socket, address) = listener();
    let muster = Setup::default().duel("warm = 0").listen_fd(socket, "of-tomorrow").start();
    muster.log().wait_for(&["WARN", "of-tomorrow"]);
    assert_ne!(muster.address(), address);
    TcpStream::connect(address).unwrap_err();
}

/// Runs the daemon with descriptors 3 and 4 given, the latter as its standard output was.
fn run(given: [OwnedFd; 2], variables: &str) -> Output {
    let [third, fourth] = given;
    let steps = format!(
        "exec 3<&0 4>&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$ {variables}; \
         exec \"$0\" serve --tcp 127.0.0.1:0 --log off"
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &steps]).arg(binary("muster")).stdin(Stdio::from(third));
    command.env_remove("NOTIFY_SOCKET").stdout(Stdio::from(fourth)).stderr(Stdio::piped());
    command.output().unwrap()
}

#[test]
fn unusable_descriptors_are_refused_with_a_reason() {
    let tcp = || listener().0;
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let unix = || OwnedFd::from(UnixListener::bind(directory.path().join("socket")).unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let connection = {
        let (_kept, address) = listener();
        OwnedFd::from(TcpStream::connect(address).unwrap())
    };
    let one = "LISTEN_FDS=1 LISTEN_FDNAMES=players";
    let cases = [
        (udp(), one, 78, "the passed socket players: it is a datagram socket"),
        (unix(), one, 78, "it is not an Internet socket"),
        (file(), one, 78, "it is not a socket"),
        (connection, one, 78, "it is a connection"),
        (tcp(), "LISTEN_FDS=2 LISTEN_FDNAMES=players:players", 78, "2 passed sockets"),
        (tcp(), "LISTEN_FDS=2 LISTEN_FDNAMES=players", 78, "1 names (LISTEN_FDNAMES) for 2"),
        (tcp(), "LISTEN_FDS=many", 78, "LISTEN_FDS=many does not follow sd_listen_fds(3)"),
        (tcp(), "LISTEN_FDS=3", 78, "cannot use descriptor 5"),
    ];
    for (given, variables, code, words) in cases {
        let output = run([given, tcp()], variables);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(words), "{variables}: {error}");
        assert_eq!(output.status.code(), Some(code), "{error}");
    }
}
