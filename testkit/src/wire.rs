//! A connection spoken to in bytes, for what no well-behaved client does.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::SOON;

/// A TCP connection that sends any bytes and reads lines.
#[derive(Debug)]
pub struct Wire {
    lines: BufReader<TcpStream>,
    /// The part of a line that arrived before a time-out.
    half: Vec<u8>,
}

impl Wire {
    /// Connects, and waits for nothing more.
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

    /// Connects from an address of this host: all of 127.0.0.0/8 are.
    pub fn open_from(source: IpAddr, address: &str) -> Self {
        Self::open_with(address, |socket| {
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        })
    }

    /// Connects with a socket that was prepared.
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

    /// Says bytes.
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

    /// Says bytes and gives the answer, one line.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.say(bytes);
        self.line()
    }

    /// Whether Muster still answers here; what was not read so far is skipped.
    pub fn is_open(&mut self) -> bool {
        // A word that no other answer holds.
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

    /// Closes the sending side; reading continues.
    pub fn shut_down(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset in place of a goodbye.
    pub fn reset(self) {
        let socket = Socket::from(self.lines.into_inner());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}
