//! The least that an upgrade in place can be: a server that executes itself over and over.
//!
//! It keeps its descriptors over the exec and has them watched again; it reads no state and tries nothing out. To lines
//! it has the shortest answers that are any.

use std::io::{self, BufReader, ErrorKind, PipeReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::baseline::role;
use crate::failure::{Failure, os};
use crate::roles::BARE_EXEC;

const LISTENER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

const GREETING: &[u8] = b"MUSTER 1 line_max=512 queues=crowd\n";
const QUEUED: &str =
    "QUEUED queue=crowd position=1 needed=2 resume=0123456789abcdef0123456789abcdef\n";

/// The server, as a process of its own. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct BareExec {
    child: Child,
    address: SocketAddr,
    /// A byte for each time that it is there.
    there: BufReader<PipeReader>,
}

impl BareExec {
    pub(crate) fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(os("listen"))?;
        let address = listener.local_addr().map_err(os("read the address of a socket"))?;
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN)
            .map_err(|errno| os("listen")(errno.into()))?;
        let (there, its_there) = io::pipe().map_err(os("make a pipe"))?;
        let child = role(&[BARE_EXEC], listener, its_there.into())?;
        let mut server = Self { child, address, there: BufReader::new(there) };
        server.wait_until_there()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it execute itself, and waits until it is there again.
    pub(crate) fn upgrade(&mut self) -> Result<(), Failure> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default());
        kill(pid, Signal::SIGUSR2).map_err(|errno| os("signal a child")(errno.into()))?;
        self.wait_until_there()
    }

    fn wait_until_there(&mut self) -> Result<(), Failure> {
        self.there.read_exact(&mut [0]).map_err(os("wait for a child"))
    }
}

impl Drop for BareExec {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the server, whose listener is at descriptor 0; `clients` are the numbers of those that it has already.
pub(crate) fn serve(clients: Option<&str>) -> io::Result<()> {
    let numbers = clients.into_iter().flat_map(|numbers| numbers.split(',')).flat_map(str::parse);
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let mask = SigSet::from_iter([Signal::SIGUSR2]);
    mask.thread_block()?;
    let mut server = Server {
        poll: Poll::new()?,
        listener: mio::net::TcpListener::from_std(listener),
        signals: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
        clients: Vec::new(),
    };
    let registry = server.poll.registry();
    registry.register(&mut SourceFd(&server.signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
    registry.register(&mut server.listener, LISTENER, Interest::READABLE)?;
    for number in numbers {
        let socket = process::take_inherited(number)?;
        server.watch(TcpStream::from_std(socket.into()))?;
    }
    io::stdout().write_all(b"!")?;
    io::stdout().flush()?;
    server.run()
}

struct Server {
    poll: Poll,
    listener: mio::net::TcpListener,
    signals: SignalFd,
    clients: Vec<TcpStream>,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut is_due = false;
            for event in &events {
                match event.token() {
                    // What is not read would be pending after the exec, too.
                    SIGNALS => is_due = self.signals.read_signal()?.is_some(),
                    LISTENER => self.accept()?,
                    Token(place) => self.answer(place)?,
                }
            }
            if is_due {
                return Err(self.execute()?);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.write_all(GREETING)?;
                    self.watch(stream)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn watch(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        self.clients.push(stream);
        Ok(())
    }

    /// A client says one line at a time, in one piece. Who has gone is left where it was.
    fn answer(&mut self, place: usize) -> io::Result<()> {
        let stream = &mut self.clients[place];
        let mut bytes = [0; 512];
        loop {
            let line = match stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => String::from_utf8_lossy(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let answer = match line.split_once([' ', '\n']) {
                Some(("PING", text)) => &format!("PONG {text}"),
                Some(("READY", _)) => QUEUED,
                _ => "LEFT\n",
            };
            stream.write_all(answer.as_bytes())?;
        }
    }

    /// Returns only if it fails.
    fn execute(&self) -> io::Result<io::Error> {
        let numbers = || self.clients.iter().map(|client| client.as_raw_fd());
        numbers().try_for_each(|number| process::set_inherited(number, true))?;
        let numbers: Vec<String> = numbers().map(|number| number.to_string()).collect();
        Ok(Command::new("/proc/self/exe").args([BARE_EXEC, &numbers.join(",")]).exec())
    }
}
