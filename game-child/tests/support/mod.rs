//! A Muster that is none: starts a game as the contract says, and is its other end.

#![allow(dead_code)] // each test file uses its part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::{Assignment, GameSocket};
use protocol::{FromGame, Seat, Secret, ToGame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long anything may take before the test fails. Nothing takes nearly as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const MATCH_ID: &str = "17";

/// A game process, with the test in Muster's place.
pub(crate) struct Fake {
    pub(crate) child: Child,
    control: Option<BufReader<UnixStream>>,
    pub(crate) address: SocketAddr,
    stderr: ChildStderr,
}

/// The reference program with its arguments.
pub(crate) fn muster_game(arguments: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_muster-game").to_owned();
    std::iter::once(program).chain(arguments.iter().map(ToString::to_string)).collect()
}

/// The example in Python, where there is one to run it.
pub(crate) fn python_echo() -> Vec<String> {
    let example: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/echo.py");
    vec!["python3".to_owned(), example.display().to_string()]
}

/// A shell moves the sockets, given as standard streams, to where the contract wants them: the one way to hand
/// over descriptors by number that needs no unsafe code. What the game prints goes to standard error.
pub(crate) fn shell(redirections: &str, command: &[String]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}")).args(command);
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.env("MUSTER_PROTOCOL", "muster-game/1").env("MUSTER_CONTROL_FD", "4");
    shell.stderr(Stdio::piped());
    shell
}

impl Fake {
    pub(crate) fn launch(command: &[String]) -> Self {
        Self::launch_with(command, None)
    }

    /// Launches a game whose side of the control channel holds `channel_bytes`, or as little as the kernel allows.
    pub(crate) fn launch_with(command: &[String], channel_bytes: Option<usize>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        ours.set_write_timeout(Some(LIMIT)).unwrap();
        if let Some(bytes) = channel_bytes {
            rustix::net::sockopt::set_socket_send_buffer_size(&theirs, bytes).unwrap();
        }
        let mut shell = shell("3<&0 4<&1 0</dev/null 1>&2", command);
        shell.stdin(OwnedFd::from(socket)).stdout(OwnedFd::from(theirs));
        let mut child = shell.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        Self { child, control: Some(BufReader::new(ours)), address, stderr }
    }

    /// Launches a game and starts it for `players`, with generous times.
    pub(crate) fn started(command: &[String], players: usize) -> Self {
        let mut fake = Self::launch(command);
        assert_eq!(fake.hear(), Some(FromGame::Ready));
        fake.start(players, 10_000, 60_000);
        assert_eq!(fake.hear(), Some(FromGame::Started));
        fake
    }

    pub(crate) fn start(&mut self, players: usize, hello_ms: u64, max_ms: u64) {
        let seat = |slot| Seat { slot, name: name(slot), token: token(slot) };
        let players = (0..players).map(seat).collect();
        let match_id = MATCH_ID.into();
        self.tell(&ToGame::Start {
            match_id,
            players,
            hello_ms,
            max_ms,
            teams: Vec::new(),
            netcode: None,
        });
    }

    pub(crate) fn tell(&mut self, message: &ToGame) {
        self.tell_raw(message.to_line().as_bytes());
    }

    pub(crate) fn tell_raw(&mut self, bytes: &[u8]) {
        self.control.as_mut().unwrap().get_mut().write_all(bytes).unwrap();
    }

    /// The game's next message; `None` once it has closed the channel.
    pub(crate) fn hear(&mut self) -> Option<FromGame> {
        let mut line = String::new();
        let control = self.control.as_mut()?;
        match control.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(FromGame::parse(line.trim_end().as_bytes()).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the game said nothing: {error}; {}", self.printed()),
        }
    }

    /// Everything until the end of the channel.
    pub(crate) fn hear_all(&mut self) -> Vec<FromGame> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// The result among the last messages, and that there is exactly one.
    pub(crate) fn hear_result(&mut self) -> serde_json::Map<String, serde_json::Value> {
        let mut results = self.hear_all().into_iter().filter_map(|message| match message {
            FromGame::Result { fields } => Some(fields),
            FromGame::Ready
            | FromGame::Started
            | FromGame::Joined { .. }
            | FromGame::Left { .. }
            | FromGame::Alive
            | FromGame::Backfill { .. }
            | FromGame::Unknown => None,
        });
        let result = results.next().expect("a result");
        assert!(results.next().is_none(), "two results");
        result
    }

    /// Muster is gone.
    pub(crate) fn hang_up(&mut self) {
        self.control = None;
    }

    pub(crate) fn terminate(&self) {
        kill_process(pid_of(&self.child), Signal::TERM).unwrap();
    }

    /// How often the process has gone to sleep, once it sleeps: it then waits, and has not been woken since.
    pub(crate) fn sleeps(&self) -> u64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let path = format!("/proc/{}/status", self.child.id());
            let status = std::fs::read_to_string(path).unwrap();
            let field =
                |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
            if field("State:").starts_with('S') {
                return field("voluntary_ctxt_switches:").parse().unwrap();
            }
            assert!(Instant::now() < deadline, "the game does not rest");
            std::thread::yield_now();
        }
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        await_end(pid_of(&self.child));
        self.child.wait().unwrap()
    }

    pub(crate) fn assert_exits_well(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.printed());
    }

    /// What the game has printed, all of it: only once it has ended.
    pub(crate) fn printed(&mut self) -> String {
        let _ = self.child.kill();
        let mut printed = Vec::new();
        self.stderr.read_to_end(&mut printed).unwrap();
        String::from_utf8_lossy(&printed).into_owned()
    }

    pub(crate) fn assignment(&self, slot: usize) -> Assignment {
        Assignment {
            match_id: MATCH_ID.into(),
            host: self.address.ip().to_string(),
            port: self.address.port(),
            slot,
            players: 2,
            token: token(slot).to_string(),
            transport: "plain".into(),
        }
    }

    pub(crate) fn enter(&self, slot: usize) -> GameSocket {
        GameSocket::enter(&self.assignment(slot), LIMIT).unwrap()
    }

    /// A socket that speaks to the game, and of which the game knows nothing.
    pub(crate) fn stranger(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Waits until a child of the test has ended, and leaves it to be reaped.
pub(crate) fn await_end(child: Pid) {
    let process = match pidfd_open(child, PidfdFlags::empty()) {
        // It was reaped already.
        Err(Errno::SRCH) => return,
        process => process.unwrap(),
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            ended => return assert_eq!(ended, Ok(1), "process {child:?} does not end"),
        }
    }
}

pub(crate) fn token(slot: usize) -> Secret {
    Secret::from_bytes([u8::try_from(slot).unwrap() + 1; 16])
}

/// A hostile name for the first player.
fn name(slot: usize) -> String {
    if slot == 0 { "ada\u{1b}[31m\nmatch 99".into() } else { format!("player-{slot}") }
}

pub(crate) fn hello(match_id: &str, slot: usize) -> Vec<u8> {
    format!("HELLO {match_id} {}", token(slot)).into_bytes()
}

pub(crate) fn ask(socket: &UdpSocket, datagram: &[u8]) -> String {
    socket.send(datagram).unwrap();
    next_datagram(socket)
}

pub(crate) fn next_datagram(socket: &UdpSocket) -> String {
    let mut bytes = [0; 2048];
    let length = loop {
        match socket.recv(&mut bytes) {
            // With a time limit set, the kernel does not take an interrupted call up again by itself.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// Whether nothing has come to a socket. Meant for when an answer to something later has come to another one:
/// the game answers in order, so that what has not come will not.
pub(crate) fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let answer = socket.recv(&mut [0; 2048]);
    socket.set_nonblocking(false).unwrap();
    answer.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
