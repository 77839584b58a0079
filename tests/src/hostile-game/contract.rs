//! As much of the contract as a game keeps before it breaks it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use protocol::{FromGame, GAME_CONTROL_FD, GAME_SOCKET_FD};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// A game that was born properly. Its calls block.
pub(crate) struct Game {
    pub(crate) socket: UdpSocket,
    control: Option<BufReader<UnixStream>>,
}

impl Game {
    pub(crate) fn born() -> Self {
        let socket = UdpSocket::from(inherited(GAME_SOCKET_FD));
        socket.set_nonblocking(false).unwrap();
        let control = UnixStream::from(inherited(GAME_CONTROL_FD));
        control.set_nonblocking(false).unwrap();
        Self { socket, control: Some(BufReader::new(control)) }
    }

    /// A game that is ready.
    pub(crate) fn ready() -> Self {
        let mut game = Self::born();
        game.say(&FromGame::Ready);
        game
    }

    /// A game that is ready and was sent its players.
    pub(crate) fn sent_players() -> Self {
        let mut game = Self::ready();
        let line = game.hear().unwrap_or_else(|| std::process::exit(0));
        if !line.contains("\"type\":\"start\"") {
            // Stopped before there was anything to violate.
            std::process::exit(0);
        }
        game
    }

    /// A game whose players are on their way.
    pub(crate) fn started() -> Self {
        let mut game = Self::sent_players();
        game.say(&FromGame::Started);
        game
    }

    pub(crate) fn say(&mut self, message: &FromGame) {
        self.say_raw(message.to_line().as_bytes());
    }

    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        if let Some(control) = &mut self.control {
            // Muster may have hung up on what came before.
            let _ = control.get_mut().write_all(bytes);
        }
    }

    /// Muster's next line; `None` when there will be none.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.control.as_mut()?.read_line(&mut line).ok()?;
        (length > 0).then_some(line)
    }

    /// A game without a control channel.
    pub(crate) fn hung_up(self) -> Self {
        Self { control: None, ..self }
    }

    /// Waits for a datagram from any sender.
    pub(crate) fn await_datagram(&self) -> String {
        let mut datagram = [0; 1200];
        let length = self.socket.recv(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..length]).into_owned()
    }

    /// Waits for a datagram with these words.
    pub(crate) fn await_order(&self, order: &str) {
        while self.await_datagram() != order {}
    }

    /// Says back what datagrams say.
    pub(crate) fn echo(&self) -> ! {
        let mut datagram = [0; 1200];
        loop {
            let (length, from) = self.socket.recv_from(&mut datagram).unwrap();
            self.socket.send_to(&datagram[..length], from).unwrap();
        }
    }
}

/// Does nothing until it is killed.
pub(crate) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// A duplicate of a descriptor that is known by its number alone; pidfd_getfd(2).
pub(crate) fn inherited(number: i32) -> OwnedFd {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()).unwrap()
}
