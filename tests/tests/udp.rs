//! Admission to games over UDP, and messages that get no answer.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use client::{Assignment, GameSocket, Link};
use testkit::{Muster, SOON, Setup, proc, wait_until};

/// A daemon with the reference echo for `players` players.
fn echo(players: usize, ports: u16) -> Muster {
    let keys = format!("players = {players}\nwarm = 0");
    Setup::default().ports(ports).mode("echo", &["muster-game", "echo"], &keys).start()
}

/// A stranger's socket.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn at(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    /// Sends a datagram. The port may be closed; the kernel's report about that is not an answer.
    fn say(&self, words: &str) {
        let _ = self.socket.send(words.as_bytes());
    }

    /// A hello, and then words as of a player.
    fn hello(&self, match_id: &str, token: &str) {
        self.say(&format!("HELLO {match_id} {token}"));
        self.say("PING stranger");
        self.say("words");
        self.say("BYE");
    }

    fn has_no_answer(&self) {
        let mut answer = [0; 1500];
        loop {
            match self.socket.recv(&mut answer) {
                Ok(length) => panic!("answered {}", answer[..length].escape_ascii()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The port is closed.
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            }
        }
    }
}

/// Waits until the game has read everything that was sent before: datagrams come in order, and the answer to this
/// one is the last.
fn has_read_all(player: &mut GameSocket) {
    player.ping("all read", SOON).unwrap();
}

fn assigned<const PLAYERS: usize>(muster: &Muster) -> [Assignment; PLAYERS] {
    let mut lobbies = [(); PLAYERS].map(|()| muster.join("echo", "ada"));
    lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())
}

fn enter(assignment: &Assignment) -> GameSocket {
    GameSocket::enter(assignment, SOON).unwrap()
}

/// Faults row 31: a token that was said is good for the address that said it, and for no other.
#[test]
fn a_token_replayed_from_another_address_is_ignored() {
    let muster = echo(1, 2);
    let [ada] = assigned(&muster);
    let mut game = enter(&ada);
    let stranger = Stranger::at(ada.port);
    stranger.hello(&ada.match_id, &ada.token);
    // From another host, as far as the game can see.
    let elsewhere = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    elsewhere.connect((Ipv4Addr::LOCALHOST, ada.port)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let elsewhere = Stranger { socket: elsewhere };
    elsewhere.hello(&ada.match_id, &ada.token);
    has_read_all(&mut game);
    stranger.has_no_answer();
    elsewhere.has_no_answer();
    // Nor did the stranger's BYE end anything.
    game.bye(SOON).unwrap();
    muster.log().wait_for(&["match result match=1 ", "\"echoed\":[0]"]);
}

/// Faults row 31: a token of another match, the right token with another match's id, and both together.
#[test]
fn a_token_of_another_match_is_ignored() {
    let muster = echo(1, 2);
    let [ada, bob] = [assigned::<1>(&muster), assigned::<1>(&muster)].map(|[it]| it);
    let mut games = [enter(&ada), enter(&bob)];
    let stranger = Stranger::at(ada.port);
    for match_id in [&ada.match_id, &bob.match_id, "0", "01", "18446744073709551617", ""] {
        stranger.hello(match_id, &bob.token);
        if *match_id != ada.match_id {
            stranger.hello(match_id, &ada.token);
        }
    }
    stranger.hello(&ada.match_id, &"0".repeat(32));
    has_read_all(&mut games[0]);
    stranger.has_no_answer();
    for game in &mut games {
        game.bye(SOON).unwrap();
    }
}

/// Faults row 31: a player who has left is not admitted again, from the same address or another.
#[test]
fn a_token_of_a_player_who_left_is_ignored() {
    let muster = echo(2, 1);
    let [ada, bob] = assigned(&muster);
    let (mut leaver, mut stayer) = (enter(&ada), enter(&bob));
    leaver.bye(SOON).unwrap();
    muster.log().wait_for(&["player left match=1 slot=0"]);
    let stranger = Stranger::at(ada.port);
    stranger.hello(&ada.match_id, &ada.token);
    let own = Stranger { socket: leaver.socket().try_clone().unwrap() };
    own.say(&format!("HELLO {} {}", ada.match_id, ada.token));
    own.say("PING again");
    has_read_all(&mut stayer);
    stranger.has_no_answer();
    own.has_no_answer();
    stayer.bye(SOON).unwrap();
}

/// Faults row 28: datagrams of a match that is over come to the port while the next match is played there. They get no
/// answer, and they are not delivered: the next game's result knows nothing of them.
#[test]
fn late_datagrams_of_the_previous_match_are_ignored() {
    let muster = echo(1, 1);
    let [ada] = assigned(&muster);
    let mut first = enter(&ada);
    first.say("mine");
    assert_eq!(first.next_words(SOON).unwrap(), "mine");
    let late = Stranger { socket: first.socket().try_clone().unwrap() };
    first.bye(SOON).unwrap();
    // From now on without a pause: before the port is free, while it is, and when the next game has it.
    let mut lobby = muster.join("echo", "bob");
    let bob = loop {
        late.hello(&ada.match_id, &ada.token);
        if let Some(bob) = lobby.poll_reply().unwrap().and_then(Assignment::of) {
            break bob;
        }
    };
    assert_eq!((bob.port, bob.match_id.as_str()), (ada.port, "2"));
    let mut second = enter(&bob);
    // The first game may have answered a late BYE or PING in its last moments; what comes now is the second's.
    has_read_all(&mut second);
    drain(&late);
    late.hello(&ada.match_id, &ada.token);
    late.hello(&bob.match_id, &ada.token);
    late.hello(&ada.match_id, &bob.token);
    has_read_all(&mut second);
    late.has_no_answer();
    second.bye(SOON).unwrap();
    muster.log().wait_for(&["match result match=2 ", "\"echoed\":[0]", "\"pings\":[2]"]);
}

fn drain(stranger: &Stranger) {
    while !matches!(stranger.socket.recv(&mut [0; 1500]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    {
    }
}

/// Faults row 31: after the end there is no game that could answer.
#[test]
fn a_token_after_the_end_is_ignored() {
    let muster = Setup::default()
        .ports(1)
        .quarantine("1h")
        .mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 0")
        .start();
    let [ada] = assigned(&muster);
    enter(&ada).bye(SOON).unwrap();
    muster.log().wait_for(&["port returned"]);
    let stranger = Stranger::at(ada.port);
    stranger.say(&format!("HELLO {} {}", ada.match_id, ada.token));
    // On this host the kernel reports a closed port at once.
    let refused = stranger.socket.recv(&mut [0; 100]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Faults row 31: a hello arrives too late: the game that no player joined has exited.
#[test]
fn an_expired_token_is_ignored() {
    let keys = "players = 1\nwarm = 0\nhello_timeout = \"100ms\"";
    let setup = Setup::default().ports(1).quarantine("1h");
    let muster = setup.mode("echo", &["muster-game", "echo"], keys).start();
    let [ada] = assigned(&muster);
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    let stranger = Stranger::at(ada.port);
    stranger.hello(&ada.match_id, &ada.token);
    stranger.has_no_answer();
}

/// Faults row 33: a flood of datagrams before the start. A warm game does not look at them, and does not grow; it
/// starts in the middle of the flood, and plays when the flood is over.
#[test]
fn a_flood_before_the_start_does_not_disturb_the_match() {
    let setup = Setup::default().ports(1);
    let muster = setup.mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 1").start();
    muster.log().wait_for(&["game ready game=1 "]);
    let game = muster.games()[0];
    let size =
        || -> u64 { proc::status(game, "VmRSS").unwrap().trim_end_matches(" kB").parse().unwrap() };
    let before = size();
    let port = *muster.ports().start();
    let flood = Flood::of(port);
    wait_until("the socket's buffer is full", || dropped(port) > 0);
    let [ada] = assigned(&muster);
    drop(flood);
    let mut player = GameSocket::open(&ada, Link::new(&ada)).unwrap();
    player.next_event(SOON).unwrap();
    has_read_all(&mut player);
    let growth = size().saturating_sub(before);
    assert!(growth < 1024, "the game grew by {growth} kB");
    player.bye(SOON).unwrap();
    muster.log().wait_for(&["match result match=1 ", "\"echoed\":[0]"]);
}

/// As many datagrams as can be sent, until it is dropped.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn of(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let flood = move || {
            let stranger = Stranger::at(port);
            while !over.load(Ordering::Relaxed) {
                stranger.hello("1", &"0".repeat(32));
            }
        };
        Self { is_over, thread: Some(std::thread::spawn(flood)) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Datagrams that the kernel dropped at a port because they were not read: the last column of its table.
fn dropped(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let bound = format!("0100007F:{port:04X}");
    let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|columns| columns[1] == bound).unwrap();
    line.last().unwrap().parse().unwrap()
}
