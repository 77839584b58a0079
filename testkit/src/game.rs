//! A game process without a daemon: the test starts it as the contract requires, and holds the other end of its
//! control channel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::{Assignment, GameSocket};
use protocol::{FromGame, Seat, Secret, ToGame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::proc;

/// How long anything may take before the test fails. It never takes nearly as long.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The id of the match that [`GameProcess::start`] starts.
pub const MATCH_ID: &str = "17";

/// A game process under test. Dropping it kills it.
#[derive(Debug)]
pub struct GameProcess {
    /// The process.
    pub child: Child,
    control: Option<BufReader<UnixStream>>,
    /// The address of its socket.
    pub address: SocketAddr,
    stderr: ChildStderr,
}

/// A shell that moves the sockets from the standard streams to the descriptors of the contract, and then becomes the
/// game: the one way to pass descriptors by number without unsafe code. The output of the game goes to standard error.
pub fn shell(redirections: &str, command: &[String]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}")).args(command);
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.env("MUSTER_PROTOCOL", "muster-game/1").env("MUSTER_CONTROL_FD", "4");
    shell.stderr(Stdio::piped());
    shell
}

impl GameProcess {
    /// Launches a game.
    pub fn launch(command: &[String]) -> Self {
        Self::launch_with(command, None)
    }

    /// Launches a game whose end of the control channel buffers `channel_bytes`, or the least that the kernel allows.
    pub fn launch_with(command: &[String], channel_bytes: Option<usize>) -> Self {
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

    /// Launches a game and starts a match of `players` players, with generous time limits.
    pub fn started(command: &[String], players: usize) -> Self {
        let mut game = Self::launch(command);
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(players, 10_000, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        game
    }

    /// Sends `start` for a match of `players` players.
    pub fn start(&mut self, players: usize, hello_ms: u64, max_ms: u64) {
        let seat = |slot| Seat { slot, name: name(slot), token: token(slot) };
        let players = (0..players).map(seat).collect();
        let match_id = MATCH_ID.into();
        self.send(&ToGame::Start {
            match_id,
            players,
            hello_ms,
            max_ms,
            teams: Vec::new(),
            netcode: None,
        });
    }

    /// Sends a message over the control channel.
    pub fn send(&mut self, message: &ToGame) {
        self.send_bytes(message.to_line().as_bytes());
    }

    /// Sends bytes over the control channel.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.control.as_mut().unwrap().get_mut().write_all(bytes).unwrap();
    }

    /// Receives the game's next message; `None` once it has closed the channel.
    pub fn receive(&mut self) -> Option<FromGame> {
        let mut line = String::new();
        let control = self.control.as_mut()?;
        match control.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(FromGame::parse(line.trim_end().as_bytes()).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the game sent nothing: {error}; {}", self.printed()),
        }
    }

    /// Receives all messages until the game closes the channel.
    pub fn receive_all(&mut self) -> Vec<FromGame> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    /// Receives all messages, and gives the only result among them.
    pub fn receive_result(&mut self) -> serde_json::Map<String, serde_json::Value> {
        let mut results = self.receive_all().into_iter().filter_map(|message| match message {
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

    /// Closes the control channel, as the death of Muster does.
    pub fn close_channel(&mut self) {
        self.control = None;
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(pid_of(&self.child), Signal::TERM).unwrap();
    }

    /// Waits until the process sleeps, and gives how often it has gone to sleep.
    pub fn sleeps(&self) -> u64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let pid = pid_of(&self.child).as_raw_pid();
            // Read in this order: a process that sleeps after the second read has not been woken since the first.
            let sleeps = proc::voluntary_switches(pid);
            if proc::state(pid) == Some('S') && proc::voluntary_switches(pid) == sleeps {
                return sleeps;
            }
            assert!(Instant::now() < deadline, "the game does not sleep");
            std::thread::yield_now();
        }
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        await_end(pid_of(&self.child));
        self.child.wait().unwrap()
    }

    /// Waits until the process has exited, with status 0.
    ///
    /// # Panics
    /// When it has another status.
    pub fn assert_exits_well(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.printed());
    }

    /// Kills the process, and gives its output.
    pub fn printed(&mut self) -> String {
        let _ = self.child.kill();
        let mut printed = Vec::new();
        self.stderr.read_to_end(&mut printed).unwrap();
        String::from_utf8_lossy(&printed).into_owned()
    }

    /// The assignment of the player in a slot.
    pub fn assignment(&self, slot: usize) -> Assignment {
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

    /// Joins the game as the player in a slot.
    pub fn enter(&self, slot: usize) -> GameSocket {
        GameSocket::enter(&self.assignment(slot), LIMIT).unwrap()
    }

    /// A socket that is connected to the game, which does not know it.
    pub fn stranger(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }
}

impl Drop for GameProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child's pid.
pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Waits until a child of the test has ended, and does not reap it.
pub fn await_end(child: Pid) {
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

/// The token of the player in a slot.
pub fn token(slot: usize) -> Secret {
    Secret::from_bytes([u8::try_from(slot).unwrap() + 1; 16])
}

/// A player's name; a hostile one for the first player.
fn name(slot: usize) -> String {
    if slot == 0 { "ada\u{1b}[31m\nmatch 99".into() } else { format!("player-{slot}") }
}

/// The datagram that joins a game.
pub fn hello(match_id: &str, slot: usize) -> Vec<u8> {
    format!("HELLO {match_id} {}", token(slot)).into_bytes()
}

/// Sends a datagram and receives the answer.
pub fn ask(socket: &UdpSocket, datagram: &[u8]) -> String {
    socket.send(datagram).unwrap();
    next_datagram(socket)
}

/// Receives a datagram.
pub fn next_datagram(socket: &UdpSocket) -> String {
    let mut bytes = [0; 2048];
    let length = loop {
        match socket.recv(&mut bytes) {
            // With a time limit set, the kernel does not restart an interrupted call; signal(7).
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// Whether a socket has no datagram. Call it after the answer to a later request on another socket: the game answers in
/// order.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let answer = socket.recv(&mut [0; 2048]);
    socket.set_nonblocking(false).unwrap();
    answer.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
