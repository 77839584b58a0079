//! An assigned player: sends the hello over UDP, recognizes and plays the game, pings it on a schedule, and leaves
//! after a time.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use client::tictactoe::{Random, Strategy as _};
use client::{Assignment, Closed, Link, LinkEvent, Machine, arena, tictactoe};
use mio::net::UdpSocket;
use protocol::datagram::DATAGRAM_MAX;

use crate::measure::Latency;
use crate::net;
use crate::phase::Phase;
use crate::stage::Stage;
use crate::step::GameName;
use crate::step::GameStep;

/// A player in a game.
#[derive(Debug)]
pub(crate) struct Game {
    socket: UdpSocket,
    /// The start of the machine's time: ASSIGN.
    began: Duration,
    step: GameStep,
    seat: Seat,
    slot: usize,
    phase: Phase,
    /// When the player leaves; known from the welcome on.
    leave_at: Option<Duration>,
    /// When the game counts as echo, for lack of messages of its own.
    echo_at: Option<Duration>,
    act_at: Option<Duration>,
    pings: Pings,
    has_unread: bool,
}

/// The playing machine.
#[derive(Debug)]
enum Seat {
    /// The game is not known yet.
    Door(Link),
    Echo(Link),
    TicTacToe(Box<tictactoe::Player>, Random),
    Arena(Box<arena::Player>, arena::Seeker),
    /// A placeholder between two of the others.
    Nowhere,
}

/// Unanswered pings.
#[derive(Debug, Default)]
struct Pings {
    next_at: Option<Duration>,
    number: u32,
    /// Their numbers, and when they were due.
    unanswered: VecDeque<(u32, Duration)>,
}

/// The time after which a ping counts as lost. A later answer is still measured.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// The largest number of unanswered pings of a player.
const UNANSWERED_MAX: usize = 64;

/// The time after which a game without a first message counts as echo.
const FIRST_WORDS_MAX: Duration = Duration::from_secs(1);

/// How often a player of arena chooses a direction.
const STEER_EVERY: Duration = Duration::from_millis(300);

/// The message to echo with each ping, before the ping's number.
const WORDS: &str = "hello number ";

/// The number of datagrams that are read before other work.
const DATAGRAMS_MAX: usize = 64;

impl Game {
    /// Joins the game.
    ///
    /// # Errors
    /// When no socket can be opened, or the host has no address.
    pub(crate) fn begin(
        stage: &mut Stage,
        source: Option<IpAddr>,
        step: GameStep,
        assignment: &Assignment,
    ) -> Result<Self, std::io::Error> {
        let game = stage.hosts.find(&assignment.host, assignment.port);
        let game = game.ok_or_else(|| std::io::Error::from(ErrorKind::AddrNotAvailable))?;
        let socket = net::to_game(game, source)?;
        let link = Link::new(assignment);
        Ok(Self {
            socket,
            began: stage.now(),
            step,
            seat: Seat::Door(link),
            slot: assignment.slot,
            phase: Phase::Entering,
            leave_at: None,
            echo_at: None,
            act_at: None,
            pings: Pings::default(),
            has_unread: false,
        })
    }

    pub(crate) fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The next deadline of the game.
    pub(crate) fn next_deadline(&mut self) -> Option<Duration> {
        if self.has_unread {
            return Some(Duration::ZERO);
        }
        let machine = self.seat.machine().and_then(|machine| machine.next_deadline());
        let machine = machine.map(|at| self.began + at);
        let own = match self.phase {
            Phase::Playing => [self.leave_at, self.echo_at, self.act_at, self.pings.next_at],
            _ => [None; 4],
        };
        own.into_iter().chain([machine]).flatten().min()
    }

    /// Handles an event of the socket. Returns whether the game continues.
    pub(crate) fn handle_ready(&mut self, stage: &mut Stage) -> bool {
        self.has_unread = true;
        for _ in 0..DATAGRAMS_MAX {
            match self.socket.recv(&mut stage.buffer[..=DATAGRAM_MAX]) {
                Ok(length) => {
                    let now = stage.now();
                    if length <= DATAGRAM_MAX
                        && let Some(machine) = self.seat.machine()
                    {
                        machine.handle_datagram(now - self.began, &stage.buffer[..length]);
                    }
                    self.hear(stage, now);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    let now = stage.now() - self.began;
                    if let Some(machine) = self.seat.machine() {
                        machine.handle_refused(now);
                    }
                }
                Err(error) => {
                    self.has_unread = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        stage.io_error("receive", &error);
                    }
                    break;
                }
            }
        }
        self.go_on(stage)
    }

    /// Handles the deadline of [`next_deadline`](Self::next_deadline). Returns whether the game continues.
    pub(crate) fn handle_timeout(&mut self, stage: &mut Stage) -> bool {
        if self.has_unread {
            return self.handle_ready(stage);
        }
        let now = stage.now();
        let is_due = |at: Duration| at <= now;
        let machine_now = now - self.began;
        if let Some(machine) = self.seat.machine()
            && machine.next_deadline().is_some_and(|at| at <= machine_now)
        {
            machine.handle_timeout(machine_now);
        }
        if self.phase == Phase::Playing {
            if self.echo_at.take_if(|at| is_due(*at)).is_some() {
                self.take_seat(now, GameName::Echo, None);
            }
            if self.act_at.take_if(|at| is_due(*at)).is_some() {
                self.act(now);
            }
            self.ping(stage, now);
            if self.leave_at.is_some_and(is_due) {
                self.leave(stage, now);
            }
        }
        self.go_on(stage)
    }

    /// Ends the run: the player leaves. Returns whether the game continues.
    pub(crate) fn handle_end_of_run(&mut self, stage: &mut Stage) -> bool {
        if self.phase != Phase::Leaving {
            self.leave(stage, stage.now());
        }
        self.go_on(stage)
    }

    fn hear(&mut self, stage: &mut Stage, now: Duration) {
        match &mut self.seat {
            Seat::Door(link) | Seat::Echo(link) => {
                while let Some(heard) = link.poll_event() {
                    match heard {
                        LinkEvent::Welcome { .. } => return self.welcome(stage, now),
                        LinkEvent::Pong(text) => self.pings.answered(stage, now, &text),
                        LinkEvent::Words(words) => return self.hear_words(stage, now, &words),
                    }
                }
            }
            Seat::TicTacToe(player, _) => {
                if let Some(text) = player.poll_pong() {
                    self.pings.answered(stage, now, &text);
                }
                while player.poll_event().is_some() {}
            }
            Seat::Arena(player, _) => {
                if let Some(text) = player.poll_pong() {
                    self.pings.answered(stage, now, &text);
                }
                while player.poll_event().is_some() {}
            }
            Seat::Nowhere => {}
        }
        self.think(now);
    }

    /// Sets the time of the next move, if one is due.
    fn think(&mut self, now: Duration) {
        if self.act_at.is_none() {
            self.act_at = match &self.seat {
                Seat::TicTacToe(player, _) if player.is_my_turn() => Some(now + self.step.think),
                Seat::Arena(player, _) if player.snapshot().is_some() => Some(now + STEER_EVERY),
                Seat::Door(_) | Seat::Echo(_) | Seat::TicTacToe(..) | Seat::Arena(..) => None,
                Seat::Nowhere => None,
            };
        }
    }

    fn welcome(&mut self, stage: &mut Stage, now: Duration) {
        stage.measure.counts.entered += 1;
        stage.measure.took(Latency::FirstAnswer, now - self.began);
        if self.phase != Phase::Entering {
            return;
        }
        self.enter(stage, Phase::Playing);
        self.leave_at = Some(now + self.step.stays);
        self.pings.next_at = Some(now + self.step.ping_every);
        match self.step.game {
            GameName::Auto => self.echo_at = Some(now + FIRST_WORDS_MAX),
            game => self.take_seat(now, game, None),
        }
    }

    /// Recognizes the game by its first message.
    fn hear_words(&mut self, stage: &mut Stage, now: Duration, words: &str) {
        if !matches!(self.seat, Seat::Door(_)) {
            if self.says_words() && !words.starts_with(WORDS) {
                stage.measure.error("game: an echo of a message that was not sent");
            }
            return;
        }
        match words.split(' ').next() {
            Some("STATE") => self.take_seat(now, GameName::TicTacToe, Some(words)),
            Some("ARENA" | "SNAP") => self.take_seat(now, GameName::Arena, Some(words)),
            _ => {}
        }
    }

    /// Continues as a player of a game, which also handles its first message.
    fn take_seat(&mut self, now: Duration, game: GameName, words: Option<&str>) {
        self.echo_at = None;
        let link = match std::mem::replace(&mut self.seat, Seat::Nowhere) {
            Seat::Door(link) => link,
            other => {
                self.seat = other;
                return;
            }
        };
        self.seat = match game {
            GameName::Auto | GameName::Echo => Seat::Echo(link),
            GameName::TicTacToe => {
                Seat::TicTacToe(Box::new(tictactoe::Player::on(link)), Random::new(self.step.seed))
            }
            GameName::Arena => {
                let seeker = arena::Seeker::new(self.step.seed);
                Seat::Arena(Box::new(arena::Player::on(link)), seeker)
            }
        };
        let machine_now = now - self.began;
        if let (Some(words), Some(machine)) = (words, self.seat.machine()) {
            machine.handle_words(machine_now, words);
        }
        self.think(now);
    }

    /// Makes a move, if one is due.
    fn act(&mut self, now: Duration) {
        let machine_now = now - self.began;
        match &mut self.seat {
            Seat::TicTacToe(player, bot) if player.is_my_turn() => {
                let cell = player.state().and_then(|state| bot.choose(&state.board));
                if let Some(cell) = cell {
                    // The cell is free and it is this side's turn, so the move is legal.
                    let played = player.play(machine_now, cell);
                    debug_assert_eq!(played, Ok(()));
                }
            }
            Seat::Arena(player, bot) => {
                if let Some(snapshot) = player.snapshot().copied() {
                    player.steer(bot.choose(&snapshot, self.slot));
                }
            }
            Seat::Door(_) | Seat::Echo(_) | Seat::TicTacToe(..) | Seat::Nowhere => {}
        }
        self.think(now);
    }

    fn ping(&mut self, stage: &mut Stage, now: Duration) {
        let says_words = self.says_words();
        while let Some((due, text)) = self.pings.next(now, self.step.ping_every) {
            stage.measure.counts.pings += 1;
            stage.measure.took(Latency::Lateness, now - due);
            let machine_now = now - self.began;
            match &mut self.seat {
                Seat::Door(link) | Seat::Echo(link) => {
                    link.ping(machine_now, &text);
                    if says_words {
                        link.say(machine_now, format!("{WORDS}{text}"));
                    }
                }
                Seat::TicTacToe(player, _) => player.ping(machine_now, &text),
                Seat::Arena(player, _) => player.ping(machine_now, &text),
                Seat::Nowhere => {}
            }
        }
        self.pings.give_up(stage, now);
    }

    /// Whether the game is certainly echo.
    fn says_words(&self) -> bool {
        self.step.game == GameName::Echo
    }

    fn leave(&mut self, stage: &mut Stage, now: Duration) {
        let machine_now = now - self.began;
        if let Some(machine) = self.seat.machine() {
            machine.leave(machine_now);
        }
        self.enter(stage, Phase::Leaving);
    }

    /// Sends pending datagrams. Returns whether the game continues.
    fn go_on(&mut self, stage: &mut Stage) -> bool {
        let machine_now = stage.now() - self.began;
        let Some(machine) = self.seat.machine() else { return false };
        while let Some(datagram) = machine.poll_transmit() {
            match self.socket.send(&datagram) {
                // The kernel's report about an earlier datagram.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    machine.handle_refused(machine_now);
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    stage.io_error("send", &error);
                }
                // A datagram that cannot be sent now is lost, as it could be on the network.
                Ok(_) | Err(_) => {}
            }
        }
        let Some(closed) = machine.closed() else { return true };
        self.note_closed(stage, closed);
        false
    }

    fn note_closed(&mut self, stage: &mut Stage, closed: Closed) {
        self.pings.close(stage, stage.now());
        let kind = match closed {
            // A player who left before the welcome has not played.
            Closed::Left if self.leave_at.is_none() => return,
            Closed::Left => return stage.measure.counts.played += 1,
            Closed::Unanswered => "game: did not answer the hello",
            Closed::Silent => "game: fell silent",
            Closed::Refused => match self.phase {
                Phase::Entering => "game: its port was closed",
                _ => "game: exited with players in it",
            },
            Closed::Ended => "game: ended the connection",
            Closed::BadToken => "game: an invalid connect token",
        };
        stage.measure.error(kind);
    }

    /// The only function that changes the phase.
    fn enter(&mut self, stage: &mut Stage, next: Phase) {
        debug_assert!(self.phase.leads_to(next), "from {:?} to {next:?}", self.phase);
        stage.measure.phase_changed(Some(self.phase), Some(next));
        self.phase = next;
    }
}

/// A machine, regardless of its events.
trait AnyMachine {
    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]);
    fn handle_words(&mut self, now: Duration, words: &str);
    fn handle_refused(&mut self, now: Duration);
    fn handle_timeout(&mut self, now: Duration);
    fn leave(&mut self, now: Duration);
    fn next_deadline(&self) -> Option<Duration>;
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;
    fn closed(&self) -> Option<Closed>;
}

impl<M: Machine> AnyMachine for M {
    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        Machine::handle_datagram(self, now, datagram);
    }
    fn handle_words(&mut self, now: Duration, words: &str) {
        Machine::handle_words(self, now, words);
    }
    fn handle_refused(&mut self, now: Duration) {
        Machine::handle_refused(self, now);
    }
    fn handle_timeout(&mut self, now: Duration) {
        Machine::handle_timeout(self, now);
    }
    fn leave(&mut self, now: Duration) {
        Machine::leave(self, now);
    }
    fn next_deadline(&self) -> Option<Duration> {
        Machine::next_deadline(self)
    }
    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        Machine::poll_transmit(self)
    }
    fn closed(&self) -> Option<Closed> {
        Machine::closed(self)
    }
}

impl Seat {
    fn machine(&mut self) -> Option<&mut dyn AnyMachine> {
        match self {
            Self::Door(link) | Self::Echo(link) => Some(link),
            Self::TicTacToe(player, _) => Some(player.as_mut()),
            Self::Arena(player, _) => Some(player.as_mut()),
            Self::Nowhere => None,
        }
    }
}

impl Pings {
    /// The next due ping, and its text. The schedule does not wait for answers.
    fn next(&mut self, now: Duration, period: Duration) -> Option<(Duration, String)> {
        let due = self.next_at.filter(|at| *at <= now)?;
        self.next_at = Some(due + period);
        self.number = self.number.wrapping_add(1);
        self.unanswered.push_back((self.number, due));
        Some((due, self.number.to_string()))
    }

    fn answered(&mut self, stage: &mut Stage, now: Duration, text: &str) {
        let Ok(number) = text.parse::<u32>() else { return };
        let found = self.unanswered.iter().position(|(sent, _)| *sent == number);
        if let Some((_, due)) = found.and_then(|index| self.unanswered.remove(index)) {
            stage.measure.took(Latency::RoundTrip, now - due);
            if now - due > LOST_AFTER {
                stage.measure.counts.pings_lost += 1;
            }
        }
    }

    /// Counts unanswered pings as lost in time, and forgets them much later.
    fn give_up(&mut self, stage: &mut Stage, now: Duration) {
        let is_too_old = |(_, due): &(u32, Duration)| now.saturating_sub(*due) > LOST_AFTER * 10;
        while self.unanswered.len() > UNANSWERED_MAX
            || self.unanswered.front().is_some_and(is_too_old)
        {
            self.unanswered.pop_front();
            stage.measure.counts.pings_lost += 1;
        }
    }

    /// Ends the pings. Recent ones are neither answered nor lost.
    fn close(&mut self, stage: &mut Stage, now: Duration) {
        let is_lost = |(_, due): &&(u32, Duration)| now.saturating_sub(*due) > LOST_AFTER;
        let lost = self.unanswered.iter().filter(is_lost).count();
        stage.measure.counts.pings_lost += u64::try_from(lost).unwrap_or(u64::MAX);
        self.unanswered.clear();
    }
}
