//! Players who connect, send READY, receive ASSIGN, and disconnect: one thread and one epoll for all of them.
//!
//! The same visitors come to Muster and to the bare programs, with the same lines. They come from many addresses of
//! 127.0.0.0/8, as the numbers of the ports of a single one would run out: each connection that the server closes
//! first blocks its pair of addresses for a minute.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use harness::sockets::connect;
use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::failure::{Failure, os};

/// The number of source addresses.
const SOURCES: u32 = 200;

const ALARM: Token = Token(usize::MAX - 1);

/// Latencies above this are counted as this, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// How long the last visitors may take to be served.
const END_MAX: Duration = Duration::from_secs(30);

/// The arrival of visitors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coming {
    /// A constant number: a visitor who leaves is replaced at once.
    AtATime(usize),
    /// A rate per second, two at the same moment, however long those before them take.
    Scheduled(f64),
}

/// The result of visits.
#[derive(Debug)]
pub(crate) struct Visits {
    /// Visitors that received ASSIGN.
    pub(crate) served: u64,
    /// From the first one's coming to the last one's going.
    pub(crate) took: Duration,
    /// From READY to ASSIGN, in microseconds. READY counts from when it was due, so that time spent waiting for the
    /// visitors' own thread, or for an earlier visitor, counts.
    pub(crate) waits_us: Histogram<u64>,
}

impl Visits {
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 visitors")]
    pub(crate) fn per_second(&self) -> f64 {
        self.served as f64 / self.took.as_secs_f64()
    }
}

/// Runs visitors for a time, and waits until all of them were served.
pub(crate) fn visit(
    server: SocketAddr,
    ready: &str,
    coming: Coming,
    length: Duration,
) -> Result<Visits, Failure> {
    let mut crowd = Crowd::new(server, ready)?;
    match coming {
        Coming::AtATime(count) => crowd.keep(count, length)?,
        Coming::Scheduled(rate) => crowd.come_by_the_clock(rate, length)?,
    }
    crowd.wait_for_the_last()?;
    let took = crowd.began.elapsed();
    Ok(Visits { served: crowd.served, took, waits_us: crowd.waits_us })
}

struct Crowd {
    server: SocketAddr,
    ready: Vec<u8>,
    poll: Poll,
    events: Events,
    visitors: Vec<Option<Visitor>>,
    free: VecDeque<usize>,
    here: usize,
    came: u32,
    served: u64,
    waits_us: Histogram<u64>,
    began: Instant,
}

struct Visitor {
    stream: mio::net::TcpStream,
    due: Instant,
    has_asked: bool,
    /// The last bytes of what was read, where a word may be cut.
    tail: Vec<u8>,
    is_served: bool,
}

impl Crowd {
    fn new(server: SocketAddr, ready: &str) -> Result<Self, Failure> {
        Ok(Self {
            server,
            ready: ready.as_bytes().to_vec(),
            poll: Poll::new().map_err(os("make an epoll"))?,
            events: Events::with_capacity(1024),
            visitors: Vec::new(),
            free: VecDeque::new(),
            here: 0,
            came: 0,
            served: 0,
            waits_us: Histogram::new_with_max(LATENCY_MAX_US, 3)
                .map_err(|error| Failure::Ended(format!("a histogram that cannot be: {error}")))?,
            began: Instant::now(),
        })
    }

    fn keep(&mut self, count: usize, length: Duration) -> Result<(), Failure> {
        while self.began.elapsed() < length {
            while self.here < count {
                self.come(Instant::now())?;
            }
            self.turn(Some(length.saturating_sub(self.began.elapsed())))?;
        }
        Ok(())
    }

    fn come_by_the_clock(&mut self, rate: f64, length: Duration) -> Result<(), Failure> {
        let period = Duration::from_secs_f64(2.0 / rate);
        // The timeout of epoll_wait(2) counts in milliseconds.
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)
            .map_err(|errno| os("make an alarm")(errno.into()))?;
        let descriptor = alarm.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .register(&mut SourceFd(&descriptor), ALARM, Interest::READABLE)
            .map_err(os("watch the alarm"))?;
        let mut due = self.began;
        while self.began.elapsed() < length {
            while due <= Instant::now() {
                self.come(due)?;
                self.come(due)?;
                due += period;
            }
            let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: left.try_into().unwrap_or_default(),
            };
            timerfd_settime(&alarm, TimerfdTimerFlags::empty(), &once)
                .map_err(|errno| os("set the alarm")(errno.into()))?;
            self.turn(None)?;
        }
        Ok(())
    }

    fn wait_for_the_last(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        // Players are matched in twos, so that an odd last one would wait for ever.
        if self.came % 2 == 1 {
            self.come(Instant::now())?;
        }
        while self.here > 0 {
            if began.elapsed() > END_MAX {
                return Err(Failure::TimedOut { what: "all visitors to go", limit: END_MAX });
            }
            self.turn(Some(END_MAX))?;
        }
        Ok(())
    }

    fn come(&mut self, due: Instant) -> Result<(), Failure> {
        let stream = connect(self.server, Some(source(self.came))).map_err(os("connect"))?;
        self.came = self.came.wrapping_add(1);
        let place = self.free.pop_front().unwrap_or_else(|| {
            self.visitors.push(None);
            self.visitors.len() - 1
        });
        let mut visitor =
            Visitor { stream, due, has_asked: false, tail: Vec::new(), is_served: false };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry
            .register(&mut visitor.stream, Token(place), interest)
            .map_err(os("watch a connection"))?;
        visitor.ask(&self.ready)?;
        self.visitors[place] = Some(visitor);
        self.here += 1;
        Ok(())
    }

    fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(os("wait for an answer"))?,
        }
        for event in &self.events {
            let Token(place) = event.token();
            let Some(Some(visitor)) = self.visitors.get_mut(place) else { continue };
            visitor.ask(&self.ready)?;
            let was_served = visitor.is_served;
            let is_gone = visitor.hear()?;
            if visitor.is_served && !was_served {
                let wait = u64::try_from(visitor.due.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.waits_us.saturating_record(wait);
                self.served += 1;
            }
            if is_gone {
                self.visitors[place] = None;
                self.free.push_back(place);
                self.here -= 1;
            }
        }
        Ok(())
    }
}

impl Visitor {
    /// Sends READY once the connection is established.
    fn ask(&mut self, ready: &[u8]) -> Result<(), Failure> {
        if self.has_asked {
            return Ok(());
        }
        match self.stream.write(ready) {
            Ok(_) => self.has_asked = true,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(os("say READY")(error)),
        }
        Ok(())
    }

    /// Reads until WouldBlock. Whether the connection has ended.
    fn hear(&mut self) -> Result<bool, Failure> {
        const ASSIGN: &[u8] = b"ASSIGN ";
        let mut bytes = [0; 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) if self.is_served => return Ok(true),
                Ok(0) => {
                    let said = String::from_utf8_lossy(&self.tail).into_owned();
                    return Err(Failure::Unexpected { said, awaited: "ASSIGN" });
                }
                Ok(length) => {
                    self.tail.extend_from_slice(&bytes[..length]);
                    self.is_served |= self.tail.windows(ASSIGN.len()).any(|word| word == ASSIGN);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(os("hear an answer")(error)),
            }
        }
    }
}

/// A connection from one of the addresses that take turns, whose calls block.
pub(crate) fn connect_blocking(server: SocketAddr, at: u32) -> io::Result<TcpStream> {
    let stream = TcpStream::from(OwnedFd::from(connect(server, Some(source(at)))?));
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The addresses that take turns.
pub(crate) fn sources() -> impl Iterator<Item = IpAddr> {
    (0..SOURCES).map(source)
}

fn source(at: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + at % SOURCES).into()
}
