//! A player's link to a game: hello, keep-alive, goodbye.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use protocol::datagram::{DATAGRAM_MAX, Welcome};
use protocol::netcode::{PAYLOAD_MAX, TRANSPORT as NETCODE};

use crate::limits::{
    BYES_MAX, HELLO_MAX, HELLO_PAUSE_MAX, HELLO_PAUSE_MIN, QUEUE_MAX, SILENCE_MAX,
};
use crate::netcode::{Connection, Netcode};
use crate::{Assignment, Machine};

/// The time of silence after which a player sends a keep-alive message. A game drops silent players, and several
/// messages in a row can be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The pause between goodbyes.
const BYE_PAUSE: Duration = Duration::from_millis(100);

/// The text of a keep-alive message, whose answer is ignored.
const KEEP_ALIVE_TEXT: &str = "keep-alive";

/// The machine of a link. See [`Machine`] for how to drive it.
#[derive(Debug)]
pub struct Link {
    carrier: Carrier,
    hello: String,
    match_id: String,
    /// The text of a keep-alive message: the game's challenge, if it has sent one.
    sign: String,
    /// When to return the game's challenge again, and the next pause, until the game has answered.
    proof: Option<(Duration, Duration)>,
    phase: Phase,
    last_received: Duration,
    last_sent: Duration,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<LinkEvent>,
}

/// The transport.
#[derive(Debug)]
enum Carrier {
    Plain,
    Netcode(Box<Netcode>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The hello is repeated until it is answered.
    Entering {
        again_at: Duration,
        pause: Duration,
    },
    /// The game has sent the welcome.
    Inside,
    /// The goodbye is repeated until it is answered.
    Leaving {
        again_at: Duration,
        said: u32,
    },
    Closed(Closed),
}

/// An event of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The hello was answered. Occurs once.
    Welcome {
        /// The player's slot, from 0.
        slot: usize,
        /// The number of players in the match.
        players: usize,
    },
    /// The answer to a ping.
    Pong(String),
    /// A message of the game itself: any text without control characters.
    Words(String),
}

/// The reason why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The player left, and the game knows, or has ended, too.
    Left,
    /// The game never answered the hello.
    Unanswered,
    /// The game has fallen silent.
    Silent,
    /// The game's port is closed.
    Refused,
    /// The game ended or refused the connection.
    Ended,
    /// The assignment's connect token is invalid.
    BadToken,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "was left",
            Self::Unanswered => "did not answer the hello",
            Self::Silent => "has fallen silent",
            Self::Refused => "has exited: its port is closed",
            Self::Ended => "closed the connection",
            Self::BadToken => "cannot be joined: the connect token is invalid",
        })
    }
}

impl Link {
    /// A new link, which starts with the hello.
    pub fn new(assignment: &Assignment) -> Self {
        let match_id = assignment.match_id.clone();
        let mut phase = Phase::Entering { again_at: Duration::ZERO, pause: HELLO_PAUSE_MIN };
        let mut carrier = Carrier::Plain;
        let mut hello = format!("HELLO {match_id} {}", assignment.token);
        if assignment.transport == NETCODE {
            // The connection itself presents the token.
            hello = format!("HELLO {match_id}");
            match Netcode::new(&assignment.token) {
                Some(netcode) => carrier = Carrier::Netcode(Box::new(netcode)),
                None => phase = Phase::Closed(Closed::BadToken),
            }
        }
        Self {
            carrier,
            hello,
            match_id,
            sign: KEEP_ALIVE_TEXT.to_owned(),
            proof: None,
            phase,
            last_received: Duration::ZERO,
            last_sent: Duration::ZERO,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends a message of the game: at most [`DATAGRAM_MAX`] bytes, over netcode [`PAYLOAD_MAX`], or it is not sent.
    /// Before the welcome and after the goodbye nothing is sent.
    pub fn say(&mut self, now: Duration, words: impl Into<String>) {
        let words = words.into();
        let length_max = match self.carrier {
            Carrier::Plain => DATAGRAM_MAX,
            Carrier::Netcode(_) => PAYLOAD_MAX,
        };
        if self.is_inside() && words.len() <= length_max {
            self.transmit(now, words);
        }
    }

    /// Sends a ping; the answer arrives as [`LinkEvent::Pong`] with the same text.
    pub fn ping(&mut self, now: Duration, text: &str) {
        self.say(now, format!("PING {text}"));
    }

    /// Whether the game has sent the welcome and the player has not left.
    pub fn is_inside(&self) -> bool {
        self.phase == Phase::Inside
    }

    fn prove(&mut self, now: Duration, pause: Duration) {
        self.proof = Some((now + pause, (pause * 2).min(HELLO_PAUSE_MAX)));
        self.give_sign(now);
    }

    fn give_sign(&mut self, now: Duration) {
        self.say(now, format!("PING {}", self.sign));
    }

    fn transmit(&mut self, now: Duration, words: String) {
        self.last_sent = now;
        match &mut self.carrier {
            Carrier::Plain if self.transmits.len() < QUEUE_MAX => {
                self.transmits.push_back(words.into_bytes());
            }
            Carrier::Plain => {}
            Carrier::Netcode(netcode) => netcode.send(now, &words),
        }
        self.take_packets();
    }

    /// Queues the packets that the connection wants to send.
    fn take_packets(&mut self) {
        let Carrier::Netcode(netcode) = &mut self.carrier else { return };
        while let Some(packet) = netcode.poll_transmit() {
            if self.transmits.len() < QUEUE_MAX {
                self.transmits.push_back(packet);
            }
        }
    }

    /// Handles changes of the connection.
    fn follow_connection(&mut self, now: Duration) {
        self.take_packets();
        let Carrier::Netcode(netcode) = &self.carrier else { return };
        match (netcode.connection(), self.phase) {
            // The game sends the welcome by itself, usually before the hello is due.
            (Connection::Connected, Phase::Entering { again_at: Duration::ZERO, pause }) => {
                self.phase = Phase::Entering { again_at: now + pause, pause };
            }
            (Connection::Asking | Connection::Connected, _) | (_, Phase::Closed(_)) => {}
            (Connection::TimedOut | Connection::Ended, Phase::Leaving { .. }) => {
                self.close(Closed::Left);
            }
            (Connection::TimedOut, Phase::Entering { .. }) => self.close(Closed::Unanswered),
            (Connection::TimedOut, Phase::Inside) => self.close(Closed::Silent),
            (Connection::Ended, _) => self.close(Closed::Ended),
        }
    }

    /// The next deadline of the connection.
    fn connection_deadline(&self) -> Option<Duration> {
        match &self.carrier {
            Carrier::Plain => None,
            Carrier::Netcode(netcode) => netcode.next_deadline(),
        }
    }

    /// Whether the connection can carry a hello.
    fn can_say_hello(&self) -> bool {
        match &self.carrier {
            Carrier::Plain => true,
            Carrier::Netcode(netcode) => netcode.connection() == Connection::Connected,
        }
    }

    fn tell(&mut self, event: LinkEvent) {
        if self.events.len() < QUEUE_MAX {
            self.events.push_back(event);
        }
    }

    fn close(&mut self, closed: Closed) {
        self.phase = Phase::Closed(closed);
        self.transmits.clear();
        if let Carrier::Netcode(netcode) = &mut self.carrier {
            netcode.disconnect();
        }
        self.take_packets();
    }

    fn handle_payload(&mut self, now: Duration, words: &[u8]) {
        let text = std::str::from_utf8(words).unwrap_or_default();
        let is_text = !text.is_empty() && !text.chars().any(char::is_control);
        if !is_text || matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        self.last_received = now;
        if !matches!(self.phase, Phase::Entering { .. }) {
            return self.handle_text(text);
        }
        // Messages that overtook the welcome are dropped: important ones are repeated.
        match Welcome::parse(words) {
            Some(Welcome { match_id, slot, players, challenge }) if match_id == self.match_id => {
                self.phase = Phase::Inside;
                if let Some(challenge) = challenge {
                    // The game sends little before this address is verified.
                    challenge.clone_into(&mut self.sign);
                    self.prove(now, HELLO_PAUSE_MIN);
                }
                self.tell(LinkEvent::Welcome { slot, players });
            }
            Some(_) | None => {}
        }
    }

    fn handle_text(&mut self, text: &str) {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (verb, self.phase) {
            ("PONG", _) if rest == self.sign => self.proof = None,
            ("PONG", _) => self.tell(LinkEvent::Pong(rest.to_owned())),
            // A copy of a welcome that was received.
            ("WELCOME", _) => {}
            ("BYE", Phase::Leaving { .. }) => self.close(Closed::Left),
            (_, Phase::Inside) => self.tell(LinkEvent::Words(text.to_owned())),
            (_, Phase::Entering { .. } | Phase::Leaving { .. } | Phase::Closed(_)) => {}
        }
    }

    fn handle_timeout_entering(&mut self, now: Duration, again_at: Duration, pause: Duration) {
        if now >= HELLO_MAX {
            return self.close(Closed::Unanswered);
        }
        if now >= again_at && self.can_say_hello() {
            self.transmit(now, self.hello.clone());
            let longer = (pause * 2).min(HELLO_PAUSE_MAX);
            self.phase = Phase::Entering { again_at: now + pause, pause: longer };
        }
    }

    fn handle_timeout_leaving(&mut self, now: Duration, again_at: Duration, said: u32) {
        if now < again_at {
            return;
        }
        if said >= BYES_MAX {
            return self.close(Closed::Left);
        }
        self.transmit(now, "BYE".into());
        self.phase = Phase::Leaving { again_at: now + BYE_PAUSE, said: said + 1 };
    }
}

impl Machine for Link {
    type Event = LinkEvent;

    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        match &mut self.carrier {
            Carrier::Plain => self.handle_payload(now, datagram),
            Carrier::Netcode(netcode) => {
                let words = netcode.handle_datagram(now, datagram);
                if let Some(words) = words {
                    self.handle_payload(now, &words);
                }
                self.follow_connection(now);
            }
        }
    }

    fn handle_words(&mut self, _now: Duration, words: &str) {
        if self.is_inside() {
            self.tell(LinkEvent::Words(words.to_owned()));
        }
    }

    fn handle_refused(&mut self, _now: Duration) {
        match self.phase {
            Phase::Leaving { .. } => self.close(Closed::Left),
            Phase::Entering { .. } | Phase::Inside => self.close(Closed::Refused),
            Phase::Closed(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        if let Carrier::Netcode(netcode) = &mut self.carrier {
            netcode.handle_timeout(now);
            self.follow_connection(now);
        }
        match self.phase {
            Phase::Entering { again_at, pause } => {
                self.handle_timeout_entering(now, again_at, pause);
            }
            Phase::Inside if now >= self.last_received + SILENCE_MAX => self.close(Closed::Silent),
            Phase::Inside if let Some((_, pause)) = self.proof.filter(|(at, _)| now >= *at) => {
                self.prove(now, pause);
            }
            Phase::Inside if now >= self.last_sent + KEEP_ALIVE => self.give_sign(now),
            Phase::Leaving { again_at, said } => self.handle_timeout_leaving(now, again_at, said),
            Phase::Inside | Phase::Closed(_) => {}
        }
    }

    fn leave(&mut self, now: Duration) {
        match self.phase {
            // The game never accepted this player, or has dropped the goodbye.
            Phase::Entering { .. } => self.close(Closed::Left),
            Phase::Inside => {
                self.phase = Phase::Leaving { again_at: now, said: 0 };
                self.handle_timeout(now);
            }
            Phase::Leaving { .. } | Phase::Closed(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let own = match self.phase {
            Phase::Entering { .. } if !self.can_say_hello() => HELLO_MAX,
            Phase::Entering { again_at, .. } => again_at.min(HELLO_MAX),
            Phase::Inside => {
                let proof = self.proof.map_or(Duration::MAX, |(at, _)| at);
                (self.last_sent + KEEP_ALIVE).min(self.last_received + SILENCE_MAX).min(proof)
            }
            Phase::Leaving { again_at, .. } => again_at,
            Phase::Closed(_) => return None,
        };
        Some(self.connection_deadline().map_or(own, |at| at.min(own)))
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn closed(&self) -> Option<Closed> {
        match self.phase {
            Phase::Closed(closed) => Some(closed),
            Phase::Entering { .. } | Phase::Inside | Phase::Leaving { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn link() -> Link {
        Link::new(&Assignment {
            match_id: "17".into(),
            host: "::1".into(),
            port: 1,
            slot: 0,
            players: 2,
            token: "ab".repeat(16),
            transport: "plain".into(),
        })
    }

    fn inside() -> Link {
        let mut link = link();
        link.handle_datagram(ms(0), b"WELCOME 17 slot=1 players=2");
        assert_eq!(link.poll_event(), Some(LinkEvent::Welcome { slot: 1, players: 2 }));
        link
    }

    /// Advances the time until nothing is due before `until`; returns the messages and their times.
    fn run(link: &mut Link, until: Duration) -> Vec<(u128, String)> {
        let mut said = Vec::new();
        while let Some(now) = link.next_deadline().filter(|at| *at <= until) {
            link.handle_timeout(now);
            said.extend(
                std::iter::from_fn(|| link.poll_transmit())
                    .map(|it| (now.as_millis(), String::from_utf8(it).unwrap())),
            );
            assert!(
                link.next_deadline().is_none_or(|at| at > now),
                "the deadline does not advance"
            );
        }
        said
    }

    #[test]
    fn the_hello_is_repeated_with_growing_pauses_and_then_abandoned() {
        let mut link = link();
        let said = run(&mut link, ms(60_000));
        let times: Vec<u128> = said.iter().map(|(at, _)| *at).collect();
        assert_eq!(&times[..7], [0, 50, 150, 350, 750, 1550, 2550]);
        assert!(said.iter().all(|(_, text)| *text == format!("HELLO 17 {}", "ab".repeat(16))));
        assert_eq!(link.closed(), Some(Closed::Unanswered));
    }

    #[test]
    fn only_the_right_welcome_is_accepted_and_only_once() {
        let mut link = link();
        for datagram in [&b"WELCOME 18 slot=0 players=2"[..], b"STATE 1", b"\xff", b"", b"BYE"] {
            link.handle_datagram(ms(1), datagram);
            assert!(!link.is_inside() && link.poll_event().is_none());
        }
        let mut link = inside();
        link.handle_datagram(ms(2), b"WELCOME 17 slot=1 players=2");
        link.handle_datagram(ms(2), b"\x1b[31m");
        assert_eq!(link.poll_event(), None);
    }

    #[test]
    fn a_silent_player_sends_keep_alives_until_the_game_is_silent() {
        let mut link = inside();
        let said = run(&mut link, ms(60_000));
        assert_eq!(said.len(), 9);
        assert_eq!(said[0], (1000, "PING keep-alive".to_owned()));
        assert_eq!(link.closed(), Some(Closed::Silent));
    }

    #[test]
    fn a_challenge_is_returned_until_it_is_answered_and_in_each_keep_alive() {
        let mut link = link();
        link.handle_datagram(ms(0), b"WELCOME 17 slot=1 players=2 n=Az0-_9");
        assert_eq!(link.poll_event(), Some(LinkEvent::Welcome { slot: 1, players: 2 }));
        assert_eq!(link.poll_transmit().as_deref(), Some(&b"PING Az0-_9"[..]));
        let sign = |at: u128| (at, "PING Az0-_9".to_owned());
        assert_eq!(run(&mut link, ms(400)), [sign(50), sign(150), sign(350)]);
        link.handle_datagram(ms(401), b"PONG Az0-_9");
        assert_eq!(link.poll_event(), None, "no event for keep-alives");
        assert_eq!(run(&mut link, ms(2000)), [sign(1350)], "a keep-alive");
    }

    #[test]
    fn the_goodbye_is_repeated_until_it_is_answered() {
        let mut link = inside();
        link.leave(ms(5));
        assert_eq!(link.poll_transmit().as_deref(), Some(&b"BYE"[..]));
        assert_eq!(run(&mut link, ms(105)), [(105, "BYE".to_owned())]);
        link.handle_datagram(ms(106), b"BYE");
        assert_eq!(link.closed(), Some(Closed::Left));

        let mut link = inside();
        link.leave(ms(5));
        run(&mut link, ms(60_000));
        assert_eq!(link.closed(), Some(Closed::Left), "a game that has exited cannot answer");
    }

    #[test]
    fn a_refused_port_ends_the_link() {
        let mut link = inside();
        link.handle_refused(ms(1));
        assert_eq!(link.closed(), Some(Closed::Refused));
    }
}
