//! A raw TCP connection, for bytes that no well-behaved client sends.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::SOON;

/// A TCP connection that sends any bytes and receives lines.
#[derive(Debug)]
pub struct Wire {
    lines: BufReader<TcpStream>,
    /// The begin of a line whose rest did not arrive in time.
    half: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub fn open(address: &str) -> Self {
        Self::open_with(address, |_| {})
    }

    /// Connects, and waits for Muster's greeting.
    pub fn greeted(address: &str) -> Self {
        let mut wire = Self::open(address);
        let greeting = wire.line();
        assert!(greeting.starts_with("MUSTER 1 "), "{greeting}");
        wire
    }

    /// Connects from an address of this host, such as any of 127.0.0.0/8.
    pub fn open_from(source: IpAddr, address: &str) -> Self {
        Self::open_with(address, |socket| {
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        })
    }

    /// Connects with a socket that `prepare` has configured.
    pub fn open_with(address: &str, prepare: impl FnOnce(&Socket)) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        prepare(&socket);
        let address: SocketAddr = address.parse().unwrap();
        socket.connect_timeout(&address.into(), SOON).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self { lines: BufReader::new(stream), half: Vec::new() }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        self.lines.get_ref()
    }

    /// Sends bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_say(bytes).unwrap();
    }

    /// Sends bytes on a connection that may be closed.
    ///
    /// # Errors
    /// When they cannot be sent.
    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.lines.get_mut().write_all(bytes.as_ref())
    }

    /// The next line, without its end.
    ///
    /// # Panics
    /// When the connection ends, in whatever way, or no line comes in time.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap().expect("a line, not the end of the connection")
    }

    /// The next line, or `None` at the end of the connection.
    ///
    /// # Errors
    /// When the connection was reset, or no line comes in time.
    pub fn try_line(&mut self) -> io::Result<Option<String>> {
        self.lines.read_until(b'\n', &mut self.half)?;
        let mut line = std::mem::take(&mut self.half);
        if line.is_empty() {
            return Ok(None);
        }
        assert_eq!(line.pop(), Some(b'\n'), "half a line: {}", line.escape_ascii());
        Ok(Some(String::from_utf8(line).unwrap()))
    }

    /// The lines up to the end of the connection.
    ///
    /// # Panics
    /// When the end does not come, or is a reset.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.try_line().unwrap()).collect()
    }

    /// Sends bytes and receives the answer, one line.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.say(bytes);
        self.line()
    }

    /// Whether Muster still answers. Unread lines are skipped.
    pub fn is_open(&mut self) -> bool {
        // A text that no other answer has.
        if self.try_say("PING are-you-there\n").is_err() {
            return false;
        }
        loop {
            match self.try_line() {
                Ok(Some(line)) if line == "PONG are-you-there" => return true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Closes the sending side.
    pub fn shut_down(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        let socket = Socket::from(self.lines.into_inner());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}
