//! The game's process: inherited descriptors, the event loop, the exit status.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use protocol::datagram::DATAGRAM_MAX;
use protocol::netcode::Netcode;
use protocol::{FromGame, ToGame, Visible};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::RunError;
use crate::clock::Clock;
use crate::control::Control;
use crate::game::Game;
use crate::inherit::{self, Inherited};
use crate::limits::{DATAGRAMS_PER_TURN, FLUSH_MAX, STALE_DATAGRAMS_MAX};
use crate::report::{note, warn};
use crate::session::{BadStart, Match, Session};
use crate::signals::Signals;
use crate::socket::GameSocket;
use crate::warmup::warm_up;
/// Options that all games have.
#[derive(Debug, Clone)]
pub struct Options {
    /// A player who is silent for longer than this has lost the connection.
    pub silence_max: Duration,
    /// How long a player who lost the connection may return before they have left. Zero: they have left at once.
    pub rejoin_wait: Duration,
    /// Whether to request another player in place of one who has left.
    pub backfill: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { silence_max: Duration::from_secs(10), rejoin_wait: Duration::ZERO, backfill: false }
    }
}

/// Plays one match of a game as a process of Muster, from `ready` to the result.
///
/// `new_game` creates the game once Muster has sent the players. Returns when the match is over, or when Muster
/// ended the process before it started. SIGTERM and SIGINT stop a match in order; for that they are blocked in the
/// calling thread, which should be the only one.
///
/// # Errors
/// [`RunError`] when the process is not a game of Muster, or a system call fails.
pub fn run<G: Game>(
    options: &Options,
    new_game: impl FnOnce(&Match) -> Result<G, BadStart>,
) -> Result<(), RunError> {
    let Inherited { socket, control } = inherit::take()?;
    let signals = Signals::take().map_err(os("take the signals"))?;
    let mut control = Control::new(control);
    let mut clock = Clock::new().map_err(os("create a clock"))?;
    if !has_arrived(&control)? {
        // A game that has players already does not make them wait.
        warm_up();
    }
    control.send(&FromGame::Ready);
    let Some(start) = wait_for_start(&mut control, &signals)? else { return Ok(()) };
    let match_id = Visible(&start.match_id).to_string();
    let bad_start = |source| RunError::Start { match_id: match_id.clone(), source };
    let setup = Match::new(start.match_id, start.players, start.hello_ms, start.max_ms);
    let setup = match start.netcode {
        None => setup,
        Some(netcode) => setup.and_then(|setup| setup.over_netcode(netcode)),
    }
    .map_err(bad_start)?;
    let game = new_game(&setup).map_err(bad_start)?;
    let names: Vec<String> = setup.names().iter().map(|name| Visible(name).to_string()).collect();
    clock.start();
    let mut process = MatchProcess {
        session: Session::new(setup, game, options.silence_max)
            .with_rejoin_wait(options.rejoin_wait)
            .with_backfill(options.backfill),
        socket: GameSocket::new(socket),
        control,
        signals,
        clock,
        label: match_id,
    };
    process.drop_stale_datagrams()?;
    process.control.send(&FromGame::Started);
    note(format_args!("match {} started: {}", process.label, names.join(", ")));
    process.play()?;
    process.flush_control()
}

/// The fields of a `start` message.
struct Start {
    match_id: String,
    players: Vec<protocol::Seat>,
    hello_ms: u64,
    max_ms: u64,
    netcode: Option<Netcode>,
}

/// Waits for players. The UDP socket is not polled, so that no datagram wakes a waiting game. `None`: there will be
/// no match.
fn wait_for_start(control: &mut Control, signals: &Signals) -> Result<Option<Start>, RunError> {
    while !control.has_hung_up() {
        let ready = wait(control, signals, None)?;
        if ready.signals && signals.came() {
            return Ok(None);
        }
        if ready.control {
            control.write();
            control.read();
        }
        while let Some(message) = control.next_message() {
            match message {
                ToGame::Start { match_id, players, hello_ms, max_ms, netcode, .. } => {
                    return Ok(Some(Start { match_id, players, hello_ms, max_ms, netcode }));
                }
                ToGame::Stop { .. } => return Ok(None),
                ToGame::Fill { .. } | ToGame::Rejoin { .. } | ToGame::Unknown => {}
            }
        }
    }
    Ok(None)
}

/// Whether the control channel is readable.
fn has_arrived(control: &Control) -> Result<bool, RunError> {
    let mut fds = [PollFd::new(control, PollFlags::IN)];
    Ok(interrupted_is_zero(poll(&mut fds, Some(&Timespec::default())))? > 0)
}

/// A match with its descriptors.
struct MatchProcess<G> {
    session: Session<G>,
    socket: GameSocket,
    control: Control,
    signals: Signals,
    clock: Clock,
    /// The match's id, escaped.
    label: String,
}

impl<G: Game> MatchProcess<G> {
    fn play(&mut self) -> Result<(), RunError> {
        loop {
            self.send_messages();
            self.send_datagrams();
            if self.session.is_over() {
                return Ok(());
            }
            let alarm = self.clock.set_alarm(self.session.next_deadline());
            alarm.map_err(os("set the alarm"))?;
            let ready = wait(&self.control, &self.signals, Some((&self.socket, &self.clock)))?;
            if ready.signals && self.signals.came() {
                self.session.handle_stop(self.clock.now());
            }
            if ready.control {
                self.handle_control();
            }
            if ready.socket {
                self.receive_datagrams()?;
            }
            let now = self.clock.now();
            if now >= self.session.next_deadline() {
                self.session.handle_timeout(now);
            }
        }
    }

    fn handle_control(&mut self) {
        self.control.write();
        self.control.read();
        while let Some(message) = self.control.next_message() {
            match message {
                ToGame::Stop { .. } => self.session.handle_stop(self.clock.now()),
                ToGame::Start { .. } => warn("ignoring a second start: one process, one match"),
                ToGame::Rejoin { player } => {
                    if !self.session.handle_rejoin(self.clock.now(), &player) {
                        warn("ignoring a rejoin: it names no slot, or another player's token");
                    }
                }
                ToGame::Fill { players } => {
                    let now = self.clock.now();
                    if !players.iter().all(|player| self.session.handle_fill(now, player)) {
                        warn("ignoring a fill: it names no slot, or another player's token");
                    }
                }
                ToGame::Unknown => {}
            }
        }
    }

    fn send_messages(&mut self) {
        while let Some(message) = self.session.poll_message() {
            let name = |slot: usize| {
                let name = self.session.setup().names().get(slot).map_or("", String::as_str);
                Visible(name).to_string()
            };
            match &message {
                FromGame::Joined { slot } => {
                    note(format_args!("match {}: {} joined", self.label, name(*slot)));
                }
                FromGame::Left { slot } => {
                    note(format_args!("match {}: {} left", self.label, name(*slot)));
                }
                FromGame::Result { fields } => {
                    let fields = serde_json::Value::Object(fields.clone()).to_string();
                    note(format_args!("match {} ended: {}", self.label, Visible(&fields)));
                }
                FromGame::Ready
                | FromGame::Backfill { .. }
                | FromGame::Started
                | FromGame::Alive
                | FromGame::Unknown => {}
            }
            self.control.send(&message);
        }
    }

    /// A datagram that cannot be sent now is lost, as it could be on the way.
    fn send_datagrams(&mut self) {
        while let Some((to, datagram)) = self.session.poll_transmit() {
            let _ = self.socket.send_to(&datagram, to);
        }
    }

    fn receive_datagrams(&mut self) -> Result<(), RunError> {
        // One byte more than a datagram may have, to detect one that is too long.
        let mut bytes = [0; DATAGRAM_MAX + 1];
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.recv_from(&mut bytes) {
                Ok((length, from)) => {
                    let now = self.clock.now();
                    self.session.handle_datagram(now, from, &bytes[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => ignore_temporary(error)?,
            }
        }
        Ok(())
    }

    /// Drops datagrams that arrived before any player knew this game: late ones of another match, or a flood.
    fn drop_stale_datagrams(&self) -> Result<(), RunError> {
        for _ in 0..STALE_DATAGRAMS_MAX {
            match self.socket.discard() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => ignore_temporary(error)?,
            }
        }
        Ok(())
    }

    /// Waits until Muster has received all messages, above all the result; but not forever.
    fn flush_control(&mut self) -> Result<(), RunError> {
        let deadline = Instant::now() + FLUSH_MAX;
        while self.control.has_unsent() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let source = io::Error::from(ErrorKind::TimedOut);
                return Err(RunError::Os { what: "send the result to Muster", source });
            }
            let timeout = timespec(left);
            let mut fds = [PollFd::new(&self.control, PollFlags::OUT)];
            let polled = poll(&mut fds, Some(&timeout));
            interrupted_is_zero(polled)?;
            self.control.write();
        }
        Ok(())
    }
}

/// The sources that are ready.
#[derive(Debug, Default, Clone, Copy)]
struct Ready {
    signals: bool,
    control: bool,
    socket: bool,
}

/// Waits until a source is ready. During a match it also waits for datagrams and for the alarm, which needs no
/// handling.
fn wait(
    control: &Control,
    signals: &Signals,
    playing: Option<(&GameSocket, &Clock)>,
) -> Result<Ready, RunError> {
    let mut interest = PollFlags::empty();
    interest.set(PollFlags::IN, !control.has_hung_up());
    interest.set(PollFlags::OUT, control.has_unsent());
    let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    // A channel that hung up is always ready; polling it would spin.
    let control_at = (!interest.is_empty()).then(|| {
        fds.push(PollFd::from_borrowed_fd(control.as_fd(), interest));
        fds.len() - 1
    });
    let socket_at = playing.map(|(socket, clock)| {
        fds.push(PollFd::from_borrowed_fd(clock.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
        fds.len() - 1
    });
    let polled = poll(&mut fds, None);
    if interrupted_is_zero(polled)? == 0 {
        return Ok(Ready::default());
    }
    let is_ready = |at: usize| !fds[at].revents().is_empty();
    Ok(Ready {
        signals: is_ready(0),
        control: control_at.is_some_and(is_ready),
        socket: socket_at.is_some_and(is_ready),
    })
}

/// The number of descriptors that are ready; an interrupted call had none.
fn interrupted_is_zero(polled: Result<usize, Errno>) -> Result<usize, RunError> {
    match polled {
        Err(Errno::INTR) => Ok(0),
        other => other.map_err(|errno| os("poll its descriptors")(errno.into())),
    }
}

fn timespec(duration: Duration) -> Timespec {
    // A time longer than the kernel can represent is replaced by the longest one.
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// Ignores errors that concern an earlier datagram, or are temporary.
fn ignore_temporary(error: io::Error) -> Result<(), RunError> {
    let is_temporary = matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::OutOfMemory
    );
    if is_temporary { Ok(()) } else { Err(os("receive datagrams")(error)) }
}

fn os(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Os { what, source }
}
