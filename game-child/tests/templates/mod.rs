//! The fake Muster's side of a template: starts one, asks for games, and is the parent of them all.

#![allow(dead_code)] // each test file uses its part

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use client::{Assignment, GameSocket};
use protocol::{FromGame, FromTemplate, Seat, TEMPLATE_PACKET_MAX, ToGame, ToTemplate};
use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, send, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use crate::support::{LIMIT, MATCH_ID, await_end, pid_of, shell, token};

/// A template process, with the test in Muster's place.
pub(crate) struct Template {
    pub(crate) child: Child,
    channel: Option<OwnedFd>,
    games: u32,
}

/// A game that was forked: a child of the test.
pub(crate) struct Fork {
    pub(crate) pid: Pid,
    pub(crate) game: String,
    pub(crate) address: SocketAddr,
    control: Option<BufReader<UnixStream>>,
    log: std::io::PipeReader,
    is_gone: bool,
}

/// The descriptors of a game, and our ends of them.
struct Parts {
    socket: UdpSocket,
    theirs: UnixStream,
    log: std::io::PipeWriter,
    ours: UnixStream,
    read: std::io::PipeReader,
}

impl Template {
    /// Starts a program as a template.
    pub(crate) fn launch(command: &[String]) -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        set_socket_timeout(&ours, Timeout::Recv, Some(LIMIT)).unwrap();
        let mut shell = shell("4<&1 0</dev/null 1>&2", command);
        shell.env("MUSTER_TEMPLATE", "1").env("MUSTER_MODE", "duel");
        shell.stdin(Stdio::null()).stdout(theirs);
        Self { child: shell.spawn().unwrap(), channel: Some(ours), games: 0 }
    }

    /// Starts a program as a template, and waits until it has loaded.
    pub(crate) fn loaded(command: &[String]) -> Self {
        let mut template = Self::launch(command);
        assert_eq!(template.receive(), Some(FromTemplate::Ready), "{}", template.printed());
        template
    }

    /// The template's next message; `None` once it has exited.
    pub(crate) fn receive(&self) -> Option<FromTemplate> {
        let mut packet = vec![0; TEMPLATE_PACKET_MAX];
        let channel = self.channel.as_ref()?;
        let received = loop {
            match recv(channel, &mut packet[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                // A template that dies with a request unread resets the channel.
                Err(rustix::io::Errno::CONNRESET) => return None,
                received => break received.unwrap().0,
            }
        };
        (received > 0).then(|| FromTemplate::parse(&packet[..received]).unwrap())
    }

    pub(crate) fn send_bytes(&self, packet: &[u8]) {
        let channel = self.channel.as_ref().unwrap();
        assert_eq!(send(channel, packet, SendFlags::NOSIGNAL), Ok(packet.len()));
    }

    fn request(&self, message: &ToTemplate, descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        let packet = message.to_packet();
        let parts = [IoSlice::new(packet.as_bytes())];
        let channel = self.channel.as_ref().unwrap();
        sendmsg(channel, &parts, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    }

    /// Asks for a game in a directory.
    pub(crate) fn fork(&mut self, directory: &Path) -> Fork {
        self.games += 1;
        let game = self.games.to_string();
        let parts = parts();
        let address = parts.socket.local_addr().unwrap();
        let directory = directory.to_str().unwrap().to_owned();
        let message = ToTemplate::Fork { game: game.clone(), port: address.port(), directory };
        self.request(&message, &[parts.socket.as_fd(), parts.theirs.as_fd(), parts.log.as_fd()]);
        let pid = match self.receive() {
            Some(FromTemplate::Forked { game: answered, pid }) if answered == game => pid,
            other => panic!("{other:?}: {}", self.printed()),
        };
        Fork {
            pid: Pid::from_raw(pid).unwrap(),
            game,
            address,
            control: Some(BufReader::new(parts.ours)),
            log: parts.read,
            is_gone: false,
        }
    }

    /// Asks for a game with only the first two descriptors, the second one in both places if `swapped`.
    pub(crate) fn ask_badly(&self, swapped: bool) -> Option<FromTemplate> {
        let parts = parts();
        let message = ToTemplate::Fork { game: "bad".into(), port: 1, directory: "/".into() };
        let control = parts.theirs.as_fd();
        match swapped {
            true => self.request(&message, &[control, control, parts.log.as_fd()]),
            false => self.request(&message, &[parts.socket.as_fd(), control]),
        }
        self.receive()
    }

    /// Muster is gone, or wants no more games.
    pub(crate) fn close_channel(&mut self) {
        self.channel = None;
    }

    pub(crate) fn terminate(&self) {
        kill_process(pid_of(&self.child), Signal::TERM).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        await_end(pid_of(&self.child));
        self.child.wait().unwrap()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends the template, and returns all of its output.
    pub(crate) fn printed(&mut self) -> String {
        let _ = self.child.kill();
        let mut printed = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut printed).unwrap();
        printed
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fork {
    pub(crate) fn receive(&mut self) -> Option<FromGame> {
        let mut line = String::new();
        match self.control.as_mut()?.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(FromGame::parse(line.trim_end().as_bytes()).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the game said nothing: {error}; {}", self.printed()),
        }
    }

    /// From `ready` to `started`, for two players.
    pub(crate) fn start(&mut self) {
        assert_eq!(self.receive(), Some(FromGame::Ready));
        let seat = |slot| Seat { slot, name: format!("player-{slot}"), token: token(slot) };
        let start = serde_json::json!({
            "type": "start", "match": MATCH_ID, "players": [seat(0), seat(1)],
            "hello_ms": 10_000, "max_ms": 60_000,
        });
        let control = self.control.as_mut().unwrap().get_mut();
        control.write_all(format!("{start}\n").as_bytes()).unwrap();
        assert_eq!(self.receive(), Some(FromGame::Started));
    }

    pub(crate) fn send(&mut self, message: &ToGame) {
        let control = self.control.as_mut().unwrap().get_mut();
        control.write_all(message.to_line().as_bytes()).unwrap();
    }

    pub(crate) fn enter(&self, slot: usize) -> GameSocket {
        let assignment = Assignment {
            match_id: MATCH_ID.into(),
            host: self.address.ip().to_string(),
            port: self.address.port(),
            slot,
            players: 2,
            token: token(slot).to_string(),
            transport: "plain".into(),
        };
        GameSocket::enter(&assignment, LIMIT).unwrap()
    }

    pub(crate) fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
    }

    /// Waits until the game has ended: a child of this process.
    pub(crate) fn wait(&mut self) -> WaitStatus {
        await_end(self.pid);
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty()).unwrap().unwrap();
        self.is_gone = true;
        status
    }

    pub(crate) fn assert_exits_well(&mut self) {
        let status = self.wait();
        assert_eq!(status.exit_status(), Some(0), "{}", self.printed());
    }

    /// Ends the game, and returns all of its output.
    pub(crate) fn printed(&mut self) -> String {
        if !self.is_gone {
            self.kill();
        }
        let mut printed = String::new();
        self.log.read_to_string(&mut printed).unwrap();
        printed
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        if !self.is_gone {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

fn parts() -> Parts {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    ours.set_write_timeout(Some(LIMIT)).unwrap();
    let (read, log) = std::io::pipe().unwrap();
    Parts { socket, theirs, log, ours, read }
}
