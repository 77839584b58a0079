//! State that outlives a connection is charged to its address, and bounded; other addresses are not affected.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testkit::{Muster, SOON, Setup, Wire, wait_until};

/// The end of a connection at `127.0.0.last`.
fn from(muster: &Muster, last: u8) -> Wire {
    let mut wire = Wire::open_from(IpAddr::from(Ipv4Addr::new(127, 0, 0, last)), muster.address());
    assert!(wire.line().starts_with("MUSTER "));
    wire
}

/// The next line that begins so.
fn next_line(wire: &mut Wire, start: &str) -> String {
    loop {
        let line = wire.line();
        assert!(!line.is_empty(), "the end comes, and no {start}");
        if line.starts_with(start) {
            return line;
        }
    }
}

fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
    fields.find(|(its, _)| *its == key).unwrap_or_else(|| panic!("no {key} in {line}")).1
}

/// Faults row 45: clients send READY and disconnect, repeatedly, from one address or from many. Players who are present
/// are admitted.
#[test]
fn places_of_absent_players_are_evicted_first() {
    let limits = "[limits]\nqueue = 50\nclients_per_address = 2";
    let muster = Setup::default()
        .config(limits)
        .mode("big", &["muster-game", "echo"], "players = 45\nwarm = 0")
        .start();
    let ready_and_go = |last| {
        let mut wire = from(&muster, last);
        let line = wire.ask("READY\n");
        assert!(line.starts_with("QUEUED "), "{line}");
        wire.reset();
        field(&line, "resume").to_owned()
    };
    let away = || {
        let text = muster.operate(&["status"]).unwrap();
        let row = text.lines().find(|line| line.starts_with("big ")).unwrap().to_owned();
        row.split_whitespace().nth(2).unwrap().parse::<usize>().unwrap()
    };
    let mut keys = Vec::new();
    for _ in 0..60 {
        wait_until("room for one more of the address", || {
            let mut wire = Wire::open_from(Ipv4Addr::new(127, 0, 0, 9).into(), muster.address());
            let is_admitted = wire.line().starts_with("MUSTER ");
            wire.reset();
            is_admitted
        });
        keys.push(ready_and_go(9));
    }
    wait_until("the two places that one address may have", || away() == 2);
    // From many addresses, two from each: the queue is full of absent players.
    for last in 10..34 {
        ready_and_go(last);
        ready_and_go(last);
    }
    wait_until("a full queue", || away() == 50);
    let mut honest = from(&muster, 200);
    assert!(honest.ask("READY\n").starts_with("QUEUED queue=big position=1 "));
    wait_until("the place that was given up", || away() == 49);
    // A player who returns to a position that was given away is notified; the others keep theirs.
    let mut late = from(&muster, 9);
    assert!(late.ask(format!("READY resume={}\n", keys[0])).starts_with("ERR 505 "));
    assert!(
        late.ask(format!("READY resume={}\n", keys[59]))
            .starts_with("QUEUED queue=big position=1 ")
    );
}

/// An address that takes seats and never plays does not keep others from playing, and is not matched with them.
#[test]
fn unused_seats_are_bounded_by_address() {
    let keys = "players = 2\nwarm = 2\nhello_timeout = \"2s\"";
    let muster = Setup::default().ports(20).log("info").duel(keys).start();
    let (is_over, seats) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| attack(&muster, 61, &is_over, &seats));
        wait_until("untaken seats", || seats.load(Ordering::Relaxed) >= 12);
        for round in 0..4 {
            if round == 2 {
                // From here on it is known that these players never join.
                muster.log().wait_for(&["address paused address=127.0.0.9 "]);
            }
            let mut pair = [50, 51].map(|last| from(&muster, last));
            let asked = Instant::now();
            pair.iter_mut().for_each(|wire| wire.say("READY queue=duel\n"));
            let matches = pair.each_mut().map(|wire| {
                let assigned = next_line(wire, "ASSIGN ");
                play(&assigned);
                field(&assigned, "match").to_owned()
            });
            assert_eq!(matches[0], matches[1], "an honest pair plays together");
            assert!(asked.elapsed() < SOON / 2, "round {round}: after {:?}", asked.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let taken = seats.load(Ordering::Relaxed);
    assert!(taken <= 20, "{taken} seats were given to players who never join");
    let mut again = from(&muster, 9);
    let refused = again.ask("READY\n");
    assert!(refused.starts_with("ERR 429 TOO_MANY "), "{refused}");
    assert!(field(&refused, "retry_ms").parse::<u64>().unwrap() > 1_000, "{refused}");
    assert!(again.rest().is_empty(), "it is closed");
}

/// Says hello as a player does, and waits for the answer.
fn play(assigned: &str) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let game = format!("127.0.0.1:{}", field(assigned, "port"));
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let hello = format!("HELLO {} {}", field(assigned, "match"), field(assigned, "token"));
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        socket.send_to(hello.as_bytes(), &game).unwrap();
        if socket.recv(&mut [0; 2048]).is_ok() {
            return;
        }
    }
    panic!("no answer of {game}");
}

/// Connections of one address that send READY, never play, and reconnect.
fn attack(muster: &Muster, count: usize, is_over: &AtomicBool, seats: &AtomicUsize) {
    let address: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
    let open = || {
        let mut wire = Wire::open_from(address, muster.address());
        let _ = wire.try_say("READY queue=duel\n");
        wire.stream().set_nonblocking(true).unwrap();
        wire
    };
    let mut wires: Vec<Wire> = (0..count).map(|_| open()).collect();
    while !is_over.load(Ordering::Relaxed) {
        for wire in &mut wires {
            let mut chunk = [0; 4096];
            let ended = match wire.stream().read(&mut chunk) {
                Ok(read) => {
                    let text = String::from_utf8_lossy(&chunk[..read]).into_owned();
                    seats.fetch_add(text.matches("ASSIGN ").count(), Ordering::Relaxed);
                    read == 0
                }
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if ended {
                *wire = open();
            }
        }
        std::thread::yield_now();
    }
}

/// A match that is declined again and again costs its decliner more each time, and the log nothing.
#[test]
fn repeated_declines_are_bounded() {
    let keys = "players = 2\nwarm = 0\naccept_timeout = \"1m\"";
    let muster = Setup::default().log("info").duel(keys).start();
    let mut honest = from(&muster, 7);
    honest.ask("READY\n");
    let mut declined = 0;
    let refused = loop {
        let mut wire = from(&muster, 9);
        let line = wire.ask("READY\n");
        if line.starts_with("ERR ") {
            break line;
        }
        next_line(&mut wire, "FOUND ");
        wire.say("DECLINE\n");
        next_line(&mut wire, "EVICTED reason=declined");
        declined += 1;
        assert!(declined < 50, "it never ends");
    };
    assert!(refused.starts_with("ERR 429 TOO_MANY "), "{refused}");
    assert!(declined <= 6, "{declined} declined");
    assert_eq!(muster.log().lines_with(&["match formed"]).len(), 0);
    assert_eq!(muster.log().lines_with(&["match dissolved"]).len(), 0);
}

/// A party of one has the idle time-out of all clients; without a queue for parties there is none.
#[test]
fn a_party_of_one_has_a_time_limit() {
    let limits = "[limits]\nidle_timeout = \"500ms\"";
    let alone = Setup::default().config(limits).duel("warm = 0").start();
    let mut wire = from(&alone, 1);
    let answer = wire.ask("PARTY create\n");
    assert!(answer.starts_with("ERR 506 BAD_PARTY no queue here takes parties"), "{answer}");
    drop(alone);
    let keys = "players = 4\nparty_max = 2\nwarm = 0";
    let muster =
        Setup::default().config(limits).mode("four", &["muster-game", "echo"], keys).start();
    let mut first = from(&muster, 1);
    let answer = first.ask("PARTY create\n");
    let code = field(&answer, "code").to_owned();
    assert_eq!(code.len(), 12, "{answer}");
    assert!(next_line(&mut first, "ERR ").starts_with("ERR 408 "), "alone for too long");
    // Two members may wait for each other; a member who is left alone has the time-out again.
    let mut first = from(&muster, 1);
    let answer = first.ask("PARTY create\n");
    let mut second = from(&muster, 1);
    assert!(second.ask(format!("PARTY join {}\n", field(&answer, "code"))).contains("size=2"));
    let mut witness = from(&muster, 2);
    assert!(witness.ask("PING\n") == "PONG" && witness.rest().len() == 1, "idle_timeout passed");
    assert!(first.is_open() && second.is_open());
    drop(second);
    next_line(&mut first, "PARTY code=");
    assert!(next_line(&mut first, "ERR ").starts_with("ERR 408 "));
}

/// Codes are not tried from one connection after another.
#[test]
fn guesses_of_party_codes_are_bounded_by_address() {
    let keys = "players = 4\nparty_max = 2\nwarm = 0";
    let muster = Setup::default().mode("four", &["muster-game", "echo"], keys).start();
    let mut answers = Vec::new();
    for connection in 0..6 {
        let mut wire = from(&muster, 9);
        for guess in 0..5 {
            answers.push(wire.ask(format!("PARTY join GUESS{connection}{guess}\n")));
            if answers.last().is_some_and(|it| it.starts_with("ERR 429 ")) {
                break;
            }
        }
    }
    let wrong = answers.iter().filter(|it| it.starts_with("ERR 506 ")).count();
    assert!((20..24).contains(&wrong), "{answers:?}");
    assert!(answers.last().unwrap().starts_with("ERR 429 TOO_MANY "), "{answers:?}");
    assert!(from(&muster, 10).ask("PARTY join GUESS\n").starts_with("ERR 506 "));
}

/// The kernel's memory for a client that does not read is bounded, in both directions, and after an upgrade, too.
#[test]
fn a_client_that_does_not_read_holds_little_of_the_kernels_memory() {
    let limits =
        "[limits]\nwrite_timeout = \"1h\"\nlines_burst = 1000000\nlines_per_second = 1000000";
    let muster = Setup::default().config(limits).duel("warm = 0").start();
    for round in 0..2 {
        let wire = Wire::open_with(muster.address(), |socket| {
            socket.set_recv_buffer_size(4096).unwrap();
            socket.set_send_buffer_size(4096).unwrap();
        });
        let mut stream = wire.stream();
        stream.set_nonblocking(true).unwrap();
        let questions = b"HELP\n".repeat(400);
        let mut still_since = Instant::now();
        // Until the daemon has taken nothing for a while: it is waiting for us.
        let mut asked = 0;
        while still_since.elapsed() < Duration::from_millis(500) {
            match stream.write(&questions) {
                Ok(written) => (asked, still_since) = (asked + written, Instant::now()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        // Data that is read while the daemon is stopped was in the kernel.
        let held = muster.while_stopped(|| {
            let (mut held, mut last) = (0, Instant::now());
            let mut chunk = vec![0; 65_536];
            while last.elapsed() < Duration::from_millis(300) {
                match stream.read(&mut chunk) {
                    Ok(0) => panic!("it was closed"),
                    Ok(read) => (held, last) = (held + read, Instant::now()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            held
        });
        assert!(held > 8_192 && held < 200_000, "round {round}: {held} bytes of answers held");
        assert!(asked < 400_000, "round {round}: {asked} bytes of questions taken");
        drop(wire);
        if round == 0 {
            muster.upgrade(None).unwrap();
        }
    }
}
