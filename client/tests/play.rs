//! `muster-play` as people and scripts run it, and the library's lobby, against a Muster that is none: one that
//! says what the test wants, and plays a real game on a real port.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use client::{ClientError, Lobby};
use game_child::arena::{Arena, Rules};
use game_child::echo::Echo;
use game_child::tictactoe::TicTacToe;
use game_child::{Game, Match, Session};
use protocol::datagram::DATAGRAM_MAX;
use protocol::{FromGame, Reply, Request, Seat, Secret};

/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(20);

const GREETING: &str = "MUSTER 1 line_max=512 queues=duel,try\n";

/// A listener in Muster's place.
struct Fake {
    listener: TcpListener,
    address: String,
}

/// A player's connection, Muster's end.
struct Seated {
    stream: BufReader<TcpStream>,
    request: Request,
}

impl Fake {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    fn accept(&self) -> Seated {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(GREETING.as_bytes()).unwrap();
        let mut seated = Seated { stream: BufReader::new(stream), request: Request::Help };
        seated.request = seated.hear().expect("a request");
        seated
    }

    fn play(&self, arguments: &[&str]) -> Playing {
        Playing::start(&[&[self.address.as_str()], arguments].concat())
    }

    /// Sends the next two players into a game, and plays it; the game's result.
    fn host<G: Game + Send + 'static>(
        &self,
        names: [&str; 2],
        new_game: impl FnOnce(&Match) -> G,
    ) -> JoinHandle<serde_json::Map<String, serde_json::Value>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let token = |slot: usize| Secret::from_bytes([u8::try_from(slot).unwrap() + 1; 16]);
        for slot in 0..2 {
            let mut seated = self.accept();
            assert!(matches!(seated.request, Request::Ready { .. }));
            seated.say(&format!("QUEUED queue=duel position={} needed=2 resume=0", slot + 1));
            seated.say("WAITING queue=duel reason=game-starting");
            seated.say(&format!(
                "ASSIGN match=17 host=127.0.0.1 port={port} slot={slot} players=2 token={} transport=plain",
                token(slot)
            ));
        }
        let seats = names.into_iter().enumerate();
        let seats = seats.map(|(slot, name)| Seat { slot, name: name.into(), token: token(slot) });
        let setup = Match::new("17".into(), seats.collect(), 10_000, 60_000).unwrap();
        let game = new_game(&setup);
        spawn(move || serve(&socket, Session::new(setup, game, Duration::from_secs(3))))
    }
}

/// A game's loop in its simplest form.
fn serve<G: Game>(
    socket: &UdpSocket,
    mut session: Session<G>,
) -> serde_json::Map<String, serde_json::Value> {
    let began = Instant::now();
    let mut bytes = [0; DATAGRAM_MAX + 1];
    while !session.is_over() {
        let pause = session.next_deadline().saturating_sub(began.elapsed());
        socket.set_read_timeout(Some(pause.max(Duration::from_millis(1)))).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut bytes) {
            session.handle_datagram(began.elapsed(), from, &bytes[..length]);
        }
        session.handle_timeout(began.elapsed());
        while let Some((to, datagram)) = session.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
    }
    let messages = std::iter::from_fn(|| session.poll_message());
    let result = messages.filter_map(|message| {
        if let FromGame::Result { fields } = message { Some(fields) } else { None }
    });
    result.last().unwrap()
}

impl Seated {
    fn say(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The player's next request; `None` once it has hung up.
    fn hear(&mut self) -> Option<Request> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).unwrap();
        (count > 0).then(|| Request::parse(line.trim_end().as_bytes()).unwrap().unwrap())
    }
}

/// The program, running.
struct Playing {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<String>,
    /// Output that has not been checked yet.
    unseen: String,
}

impl Playing {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster-play"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let output = read_along(child.stdout.take().unwrap());
        Self { child, stdin, output, unseen: String::new() }
    }

    /// The program at a terminal, of which `screen` is the other end.
    fn at(child: Child, screen: File) -> Self {
        Self { child, stdin: None, output: read_along(screen), unseen: String::new() }
    }

    /// Waits until `part` comes out.
    fn see(&mut self, part: &str) {
        loop {
            if let Some(at) = self.unseen.find(part) {
                self.unseen.drain(..at + part.len());
                return;
            }
            match self.output.recv_timeout(LIMIT) {
                Ok(more) => self.unseen.push_str(&more),
                Err(_) => panic!("no {part:?} in {}", self.unseen),
            }
        }
    }

    /// Waits for the rest of a line.
    fn see_line(&mut self) -> String {
        while !self.unseen.contains('\n') {
            self.unseen.push_str(&self.output.recv_timeout(LIMIT).unwrap());
        }
        let rest = self.unseen.split_off(self.unseen.find('\n').unwrap() + 1);
        std::mem::replace(&mut self.unseen, rest)
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        let child = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(child, signal).unwrap();
    }

    /// Waits for the end: the exit code, the rest of what came out, what was said of errors.
    fn end(mut self) -> (Option<i32>, String, String) {
        while let Ok(more) = self.output.recv_timeout(LIMIT) {
            self.unseen.push_str(&more);
        }
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.unseen), errors)
    }
}

/// Output lines, as they arrive.
fn read_along(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, output) = channel();
    spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let _ = tell.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    output
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tictactoe(setup: &Match) -> TicTacToe {
    TicTacToe::new(setup).unwrap()
}

fn arena(seconds: u64) -> impl FnOnce(&Match) -> Arena {
    let rules = Rules { duration: Duration::from_secs(seconds), ..Rules::default() };
    move |setup| Arena::new(setup, rules).unwrap()
}

#[test]
fn two_bots_play_a_whole_match_and_tell_each_step() {
    let fake = Fake::new();
    let ada = fake.play(&["--bot", "--name", "ada", "--queue", "duel"]);
    let bob = fake.play(&["--bot", "--seed", "7", "--name", "bob"]);
    let result = fake.host(["one\u{1b}[31m", "two"], tictactoe).join().unwrap();
    for mut playing in [ada, bob] {
        for part in [
            "connected to 127.0.0.1:",
            "queued in duel: position ",
            "waiting in duel: game-starting",
            "assigned: match 17 on 127.0.0.1:",
            "welcome: match 17, slot ",
            "move 1: X (one\\u{1b}[31m) takes ",
            "move 2: O (two) takes ",
            "---+---+---",
        ] {
            playing.see(part);
        }
        playing.see("result: ");
        let outcome = playing.see_line();
        let winner = result["winner_name"].as_str().map_or("a draw", |name| &name[..3]);
        assert!(outcome.contains(winner), "{outcome}");
        assert_eq!(playing.end(), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn a_person_plays_and_is_helped() {
    let fake = Fake::new();
    let mut person = fake.play(&["--name", "ada"]);
    let bot = fake.play(&["--bot", "--strategy", "first"]);
    let host = fake.host(["one", "two"], tictactoe);
    // Which of the two sits in slot 0 is for the kernel to say.
    person.see("your turn");
    person.type_line("middle");
    person.see("type the number of a cell, 1 to 9");
    person.type_line(&"9".repeat(1000));
    person.see("type the number of a cell, 1 to 9");
    person.type_line("9");
    person.see("takes 9");
    // The bot takes the first free cells; 9, 3 and 6 win against it from either side.
    person.see("your turn");
    person.type_line("1");
    person.see("not possible: cell 1 is taken");
    person.type_line(" 3 ");
    person.see("takes 3");
    person.see("your turn");
    person.type_line("6");
    person.see("you have won!");
    assert_eq!(person.end(), (Some(0), "\n".to_owned(), String::new()));
    assert_eq!(host.join().unwrap()["outcome"], "won");
    assert_eq!(bot.end().0, Some(0));
}

#[test]
fn who_leaves_the_game_says_goodbye() {
    for way in ["interrupt", "end of input"] {
        let fake = Fake::new();
        let mut leaver = fake.play(&[]);
        let mut stayer = fake.play(&["--bot"]);
        let host = fake.host(["one", "two"], tictactoe);
        leaver.see("your turn");
        stayer.see("welcome: ");
        if way == "interrupt" {
            leaver.interrupt();
        } else {
            leaver.stdin = None;
        }
        assert_eq!(host.join().unwrap()["outcome"], "forfeit", "{way}");
        assert_eq!(leaver.end().0, Some(0), "{way}");
        stayer.see("has won: the other side left");
        assert_eq!(stayer.end().0, Some(0), "{way}");
    }
}

#[test]
fn a_player_who_leaves_the_queue_exits_with_success() {
    for way in ["interrupt", "end of input"] {
        let fake = Fake::new();
        let mut leaver = fake.play(&["--name", "a b%"]);
        let mut seated = fake.accept();
        assert_eq!(seated.request.to_string(), "READY name=a%20b%25");
        seated.say("QUEUED queue=duel position=1 needed=2 resume=0");
        leaver.see("queued in duel: position 1, needed 2");
        if way == "interrupt" {
            leaver.interrupt();
        } else {
            leaver.stdin = None;
        }
        assert_eq!(seated.hear(), Some(Request::Quit), "{way}");
        seated.say("BYE reason=quit");
        drop(seated);
        let (code, lines, _) = leaver.end();
        assert_eq!((code, lines), (Some(0), "\nleft the queue\n".to_owned()), "{way}");
    }
}

const KEY: &str = "5f0c9b2e5f0c9b2e5f0c9b2e5f0c9b2e";

/// The connection is lost; the program resumes the session each time, and gives up if there is nothing to resume.
#[test]
fn a_lost_connection_is_resumed() {
    let fake = Fake::new();
    let mut player = fake.play(&["--bot"]);
    fake.accept().say(&format!("QUEUED queue=duel position=1 needed=2 resume={KEY}"));
    for _ in 0..2 {
        player.see("closed the connection; coming back");
        let mut seated = fake.accept();
        assert_eq!(seated.request.to_string(), format!("READY resume={KEY}"));
        seated.say(&format!("QUEUED queue=duel position=1 needed=2 resume={KEY}"));
        player.see("queued in duel: position 1, needed 2");
    }
    // This connection gets no greeting, and the next is refused.
    drop(fake.listener.accept().unwrap());
    fake.accept().say("ERR 505 BAD_RESUME the key is unknown or expired");
    let (code, _, errors) = player.end();
    assert!(code == Some(1) && errors.contains("505"), "{errors}");
}

/// A game that says welcome and not a word more: the program asks Muster to be let in again, as long as it may.
#[test]
fn who_loses_the_game_asks_to_be_let_in_again() {
    let fake = Fake::new();
    let mut player = fake.play(&["--bot"]);
    let game = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    game.set_read_timeout(Some(LIMIT)).unwrap();
    let port = game.local_addr().unwrap().port();
    let mut seated = fake.accept();
    seated.say(&format!("QUEUED queue=duel position=1 needed=2 resume={KEY}"));
    for token in ["0".repeat(32), "1".repeat(32)] {
        seated.say(&format!(
            "ASSIGN match=17 host=127.0.0.1 port={port} slot=0 players=2 token={token} transport=plain"
        ));
        let hello = format!("HELLO 17 {token}");
        let mut said = [0; DATAGRAM_MAX];
        let player_at = loop {
            let (length, from) = game.recv_from(&mut said).unwrap();
            if said[..length] == *hello.as_bytes() {
                break from;
            }
        };
        for words in ["WELCOME 17 slot=0 players=2", "STATE 1 ......... you=O turn=X x=ada o=bob"] {
            game.send_to(words.as_bytes(), player_at).unwrap();
        }
        player.see("welcome: match 17, slot 0");
        player.see("has fallen silent");
        player.see("rejoining the game");
        seated = fake.accept();
        assert_eq!(seated.request.to_string(), format!("READY resume={KEY}"));
    }
    seated.say("ERR 505 BAD_RESUME your match is over");
    let (code, _, errors) = player.end();
    assert!(code == Some(1) && errors.contains("has fallen silent"), "{errors}");
}

#[test]
fn a_person_is_asked_whether_to_accept() {
    let fake = Fake::new();
    let mut player = fake.play(&[]);
    let mut seated = fake.accept();
    seated.say(&format!("QUEUED queue=duel position=1 needed=2 resume={KEY}"));
    player.see("queued in duel");
    player.type_line("accept");
    player.see("still waiting for other players");
    for answer in ["accept", "decline"] {
        seated.say("FOUND match=17 accept_ms=10000");
        player.see("found match 17");
        player.see("type accept or decline within 10 s");
        player.type_line("what?");
        player.see("type accept or decline\n");
        player.type_line(answer);
        let request = seated.hear().unwrap();
        assert_eq!(request, if answer == "accept" { Request::Accept } else { Request::Decline });
        if answer == "accept" {
            seated.say("ACCEPTED count=1 of=2");
            player.see("1 of 2 have accepted");
            seated.say("REQUEUED queue=duel position=1");
            player.see("returned to queue duel");
        }
    }
    assert_eq!(seated.hear(), Some(Request::Quit));
    drop(seated);
    assert_eq!(player.end().0, Some(0));
}

#[test]
fn two_bots_play_in_the_arena_and_tell_how_it_goes() {
    let fake = Fake::new();
    let bots = [fake.play(&["--bot", "--seed", "7"]), fake.play(&["--bot", "--game", "arena"])];
    let result = fake.host(["one\u{1b}[31m", "two"], arena(3)).join().unwrap();
    assert_eq!(result["outcome"], "finished");
    for mut bot in bots {
        for part in [
            "welcome: match 17, slot ",
            "arena: 30 coins win; players: one\\u{1b}[31m, two",
            // Which seconds it tells of is up to how busy the machine is.
            " s left: ",
        ] {
            bot.see(part);
        }
        let standing = bot.see_line();
        for part in ["@ ", "one\\u{1b}[31m ", "two "] {
            assert!(standing.contains(part), "{part:?} in {standing:?}");
        }
        bot.see("result: ");
        let outcome = bot.see_line();
        let winner = result["winner_name"].as_str().map_or("a draw", |name| &name[..3]);
        assert!(outcome.contains(winner), "{outcome}");
        assert_eq!(bot.end(), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn a_person_without_a_terminal_goes_through_the_arena_line_by_line_and_leaves() {
    for way in ["interrupt", "end of input"] {
        let fake = Fake::new();
        let mut leaver = fake.play(&[]);
        let stayer = fake.play(&["--bot"]);
        let host = fake.host(["one", "two"], arena(3));
        leaver.see(" s left: ");
        leaver.type_line("d");
        if way == "interrupt" {
            leaver.interrupt();
        } else {
            leaver.stdin = None;
        }
        leaver.see("left the game");
        assert_eq!(leaver.end().0, Some(0), "{way}");
        assert_eq!(host.join().unwrap()["outcome"], "finished", "{way}");
        assert_eq!(stayer.end().0, Some(0), "{way}");
    }
}

/// A terminal that is none, with the program at it: what a person would see, and how the terminal is set.
#[test]
fn a_terminal_shows_the_arena_and_is_given_back_on_every_way_out() {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    for way in ["Ctrl-D", "SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "the end"] {
        let fake = Fake::new();
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let modes = || tcgetattr(&terminal).unwrap().local_modes;
        let before = modes();
        assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster-play"));
        command.arg(&fake.address).stdin(terminal.try_clone().unwrap());
        command.stdout(terminal.try_clone().unwrap()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let mut person = Playing::at(child, keyboard.try_clone().unwrap().into());
        let bot = fake.play(&["--bot"]);
        let host = fake.host(["one", "two"], arena(if way == "the end" { 1 } else { 4 }));
        person.see("\x1b[?1049h\x1b[?25l");
        person.see(" s left\x1b[K");
        person.see(&"#".repeat(64));
        person.see("Ctrl-C leaves");
        assert!(!modes().intersects(LocalModes::ICANON | LocalModes::ECHO), "{way}");
        match way {
            "Ctrl-D" => drop(rustix::io::write(&keyboard, b"wd\x04").unwrap()),
            "SIGINT" => person.signal(rustix::process::Signal::INT),
            "SIGTERM" => person.signal(rustix::process::Signal::TERM),
            "SIGQUIT" => person.signal(rustix::process::Signal::QUIT),
            "SIGHUP" => person.signal(rustix::process::Signal::HUP),
            _ => {}
        }
        person.see("\x1b[?25h\x1b[?1049l");
        assert!(person.child.wait().unwrap().success(), "{way}");
        assert_eq!(modes(), before, "{way}");
        assert_eq!(host.join().unwrap()["outcome"], "finished");
        assert_eq!(bot.end().0, Some(0));
    }
}

#[test]
fn a_bot_plays_echo_with_or_without_the_flag() {
    for arguments in [&["--bot", "--game", "echo"][..], &["--bot"]] {
        let fake = Fake::new();
        let bots = [fake.play(arguments), fake.play(arguments)];
        let result = fake.host(["one", "two"], Echo::new).join().unwrap();
        for mut bot in bots {
            bot.see("echo 3: hello number 3");
            bot.see("result: 3 of 3 messages were returned");
            assert_eq!(bot.end().0, Some(0));
        }
        assert_eq!(result["echoed"], serde_json::json!([3, 3]));
    }
}

#[test]
fn the_exit_codes_tell_what_went_wrong() {
    // Bound and dropped: a closed port.
    let nowhere = Fake::new().address;
    let (code, _, errors) = Playing::start(&[&nowhere, "--bot"]).end();
    assert_eq!(code, Some(69), "{errors}");
    assert!(errors.contains(&format!("cannot connect to {nowhere}")), "{errors}");

    assert_eq!(Playing::start(&["nowhere"]).end().0, Some(2));

    let fake = Fake::new();
    let refused = fake.play(&["--bot", "--queue", "chess"]);
    fake.accept().say("ERR 504 NO_SUCH_QUEUE \u{202e}there is no queue chess");
    let (code, _, errors) = refused.end();
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("answered 504 NO_SUCH_QUEUE \\u{202e}there"), "{errors}");
}

#[test]
fn an_exited_game_is_reported() {
    let fake = Fake::new();
    let bot = fake.play(&["--bot"]);
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let token = "0".repeat(32);
    fake.accept().say(&format!(
        "ASSIGN match=17 host=127.0.0.1 port={port} slot=0 players=2 token={token} transport=plain"
    ));
    let (code, _, errors) = bot.end();
    assert_eq!(code, Some(1));
    assert!(errors.contains("has exited: its port is closed"), "{errors}");
}

#[test]
fn help_shows_examples() {
    let program = env!("CARGO_BIN_EXE_muster-play");
    let Output { status, stdout, .. } = Command::new(program).arg("--help").output().unwrap();
    assert!(status.success());
    assert!(String::from_utf8_lossy(&stdout).contains("Examples:"));
}

#[test]
fn the_lobby_tells_every_way_in_which_it_can_go_wrong() {
    let fake = Fake::new();
    let script = |lines: &'static str| {
        let listener = fake.listener.try_clone().unwrap();
        spawn(move || listener.accept().unwrap().0.write_all(lines.as_bytes()).unwrap())
    };
    let connect = || Lobby::connect(&fake.address, LIMIT);

    let muster = script("ERR 421 DRAINING going down retry_ms=5000\n");
    assert!(matches!(connect(), Err(ClientError::Refused { number: 421, .. })));
    muster.join().unwrap();

    let muster = script("");
    assert!(matches!(connect(), Err(ClientError::HungUp { .. } | ClientError::Io { .. })));
    muster.join().unwrap();

    let muster = script("SSH-2.0-OpenSSH_9.9\n");
    assert!(matches!(connect(), Err(ClientError::Ended { .. })));
    muster.join().unwrap();

    let muster = script("MUSTER 1 line_max=512 queues=duel\nEVICTED reason=declined\n");
    let mut lobby = connect().unwrap();
    assert_eq!(lobby.queues(), ["duel"]);
    assert!(matches!(lobby.assignment(LIMIT), Err(ClientError::Ended { .. })));
    muster.join().unwrap();

    let silent = Lobby::connect(&fake.address, Duration::from_millis(50));
    assert!(matches!(silent, Err(ClientError::TimedOut { what: "greeting", .. })));
}

#[test]
fn a_match_that_is_found_is_accepted() {
    let fake = Fake::new();
    let mut lobby = Lobby::open(&fake.address, LIMIT).unwrap();
    lobby.send(&Request::Ready { queue: None, name: None, skill: None, resume: None }).unwrap();
    let mut seated = fake.accept();
    assert!(matches!(lobby.next_reply(LIMIT), Ok(Reply::Muster { .. })));
    seated.say("QUEUED queue=duel position=1 needed=2 resume=0");
    seated.say("FOUND match=17 accept_ms=5000");
    let waiting = spawn(move || lobby.assignment(LIMIT));
    assert_eq!(seated.hear(), Some(Request::Accept));
    seated.say("ASSIGN match=17 host=::1 port=20004 slot=1 players=2 token=x transport=pigeon");
    let assignment = waiting.join().unwrap().unwrap();
    assert_eq!(assignment.address(), "[::1]:20004");
    let refused = client::GameSocket::enter(&assignment, LIMIT).map(drop);
    assert!(matches!(refused, Err(ClientError::Transport { .. })));
}

/// A queue sends a few lines in a second. A server that sends more without end is abandoned.
#[test]
fn a_server_that_chatters_without_end_is_left() {
    for line in [
        GREETING,
        "STATUS queue=x waiting=1 games=1 ports_free=1\n",
        "WAITING queue=duel reason=no-port\n",
        "ODD words=1\n",
    ] {
        let fake = Fake::new();
        let playing = fake.play(&["--bot"]);
        let mut stream = fake.accept().stream.into_inner();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let flood = line.repeat(1000);
        let until = Instant::now() + LIMIT;
        while stream.write_all(flood.as_bytes()).is_ok() && Instant::now() < until {}
        let (code, _, errors) = playing.end();
        assert_eq!(code, Some(1), "{line}: {errors}");
        assert!(errors.contains("sends more than 1000 lines in a second"), "{line}: {errors}");
    }
}
