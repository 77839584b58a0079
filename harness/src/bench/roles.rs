//! The roles of this program: the children, servers and games of the baselines.
//!
//! Each role is as little as does the job, so that it is what Muster is measured against. All of them end by
//! themselves when they are not needed any more: at the end of their input, or after [`PATIENCE`].

use std::convert::Infallible;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use game_child::{Game, Options, Outbox, RunError, template};
use nix::sys::wait::wait;
use process::{Forked, fork_sibling};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::bare_server;
use crate::names::{
    self, ANSWER, BARE_SERVER, BRIEF, BRIEF_FORK_SERVER, BRIEF_FORKER, BRIEF_GAME, FORK_SERVER,
    FORKER, PEERS, TICKS, WAITING,
};
use crate::stats::Samples;

/// How long a role waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A datagram of a tick, about as long as one of arena.
const TICK_BYTES: [u8; 64] = [b'x'; 64];

/// Plays the role of this name to its end; `None`: there is no such role.
pub(crate) fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let done = match name {
        ANSWER => inherited(io::stdin()).map(UdpSocket::from).and_then(|socket| answer(&socket)),
        FORK_SERVER => keep_forker(FORKER),
        FORKER => serve_forks(),
        BARE_SERVER => {
            let mut arguments = arguments.iter().map(String::as_str);
            bare_server::serve(arguments.next().unwrap_or_default(), arguments.next())
        }
        BRIEF => report_start(number_of(arguments)),
        BRIEF_FORK_SERVER => keep_forker(BRIEF_FORKER),
        BRIEF_FORKER => serve_brief_forks(),
        WAITING => wait_for_requests(),
        TICKS => tick(arguments),
        BRIEF_GAME => play_brief_game().map_err(io::Error::other),
        _ => return None,
    };
    match done {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}

/// A standard descriptor, whatever it is.
fn inherited(standard: impl AsFd) -> io::Result<OwnedFd> {
    standard.as_fd().try_clone_to_owned()
}

fn answer(socket: &UdpSocket) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; 64];
    let (length, from) = socket.recv_from(&mut bytes)?;
    socket.send_to(&bytes[..length], from).map(drop)
}

fn number_of(arguments: &[String]) -> u64 {
    arguments.first().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// One write of less than PIPE_BUF bytes: many processes share the pipe.
fn report_start(game: u64) -> io::Result<()> {
    rustix::io::write(io::stdout(), &game.to_ne_bytes())?;
    Ok(())
}

fn keep_forker(forker: &str) -> io::Result<()> {
    names::command(&[forker]).spawn()?;
    while wait().is_ok() {}
    Ok(())
}

fn serve_brief_forks() -> io::Result<()> {
    let requests = UnixStream::from(inherited(io::stdin())?);
    let mut number = [0; size_of::<u64>()];
    while let Some(_socket) = receive_socket(&requests, &mut number)? {
        if fork_sibling()? == Forked::Child {
            return report_start(u64::from_ne_bytes(number));
        }
    }
    Ok(())
}

fn serve_forks() -> io::Result<()> {
    let requests = UnixStream::from(inherited(io::stdin())?);
    while let Some(socket) = receive_socket(&requests, &mut [0])? {
        if fork_sibling()? == Forked::Child {
            return answer(&socket.into());
        }
    }
    Ok(())
}

/// The next socket that is handed over, and the bytes that came with it; `None` at the end.
fn receive_socket(requests: &UnixStream, bytes: &mut [u8]) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(requests, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
    let sockets = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    Ok(sockets.last())
}

fn wait_for_requests() -> io::Result<()> {
    let mut requests = UnixStream::from(inherited(io::stdin())?);
    let socket = UdpSocket::from(inherited(io::stdout())?);
    let mut byte = [0];
    while requests.read(&mut byte)? > 0 {
        requests.write_all(&byte)?;
        answer(&socket)?;
    }
    Ok(())
}

/// The least that a real-time game does: waits on the UDP socket at descriptor 0 for its players, one
/// datagram each, then sends each of them a datagram at each tick, and reads nothing more. Says at the end, on
/// descriptor 1, how late the ticks were, in the words of arena's result.
fn tick(arguments: &[String]) -> io::Result<()> {
    let number = |at: usize| arguments.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(hz), Some(length_ms)) = (number(0), number(1)) else {
        return Err(io::Error::other("needs the ticks of a second, and milliseconds"));
    };
    let socket = UdpSocket::from(inherited(io::stdin())?);
    let peers = wait_for_peers(&socket)?;
    let period = Duration::from_nanos(1_000_000_000 / hz);
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let mut due = monotonic() + period;
    let first = due.try_into().map_err(io::Error::other)?;
    let interval = period.try_into().map_err(io::Error::other)?;
    let schedule = Itimerspec { it_interval: interval, it_value: first };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &schedule)?;
    let end = due + Duration::from_millis(length_ms);
    let mut lateness_us = Samples::default();
    let mut missed = 0;
    while due < end {
        let mut expirations = [0; size_of::<u64>()];
        rustix::io::read(&timer, &mut expirations)?;
        let skipped = u64::from_ne_bytes(expirations).saturating_sub(1);
        lateness_us.push(monotonic().saturating_sub(due).as_secs_f64() * 1e6);
        for peer in peers {
            // One that cannot be sent now is lost, as it could be on the way.
            let _ = socket.send_to(&TICK_BYTES, peer);
        }
        missed += skipped;
        due += period * (1 + u32::try_from(skipped).unwrap_or(u32::MAX - 1));
    }
    let result = serde_json::json!({
        "ticks": lateness_us.count(),
        "ticks_missed": missed,
        "lateness_us": {
            "p50": lateness_us.percentile(50),
            "p99": lateness_us.percentile(99),
            "max": lateness_us.percentile(100),
        },
    });
    // One write of less than PIPE_BUF bytes: many processes share the pipe.
    io::stdout().write_all(format!("{result}\n").as_bytes())
}

fn wait_for_peers(socket: &UdpSocket) -> io::Result<[SocketAddr; PEERS]> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    let (_, first) = socket.recv_from(&mut byte)?;
    loop {
        let (_, second) = socket.recv_from(&mut byte)?;
        if second != first {
            return Ok([first, second]);
        }
    }
}

/// CLOCK_MONOTONIC, the clock of the timer, as a duration.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Starts a match and ends it, in a process of its own or in a fork of a template.
fn play_brief_game() -> Result<(), RunError> {
    template(|| Ok::<_, Infallible>(()))?;
    game_child::run(&Options::default(), |_| Ok(Brief))
}

/// A game without players.
struct Brief;

impl Game for Brief {
    fn handle_words(&mut self, _: Duration, _: usize, _: &str, _: &mut Outbox) {}

    fn is_over(&self) -> bool {
        true
    }
}
