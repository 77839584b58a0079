//! Players who lose the connection and return: to their positions, to a missed assignment, to their games.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use client::{Assignment, GameSocket, Place};
use testkit::{Muster, SOON, Setup, Wire, wait_for, wait_until};

/// A daemon with a queue `party` for an echo of `players`; `limits` are lines of the table, `keys` of the mode.
fn party(players: usize, limits: &str, keys: &str) -> Muster {
    let keys = format!("players = {players}\nwarm = 0\n{keys}");
    let setup = Setup::default().config(&format!("[limits]\n{limits}"));
    setup.mode("party", &["muster-game", "echo"], &keys).start()
}

/// A new connection, queued; and the key of its session.
fn join(muster: &Muster, name: &str) -> (Wire, String) {
    let mut wire = Wire::greeted(muster.address());
    let queued = wire.ask(format!("READY name={name}\n"));
    (wire, key_of(&queued).to_owned())
}

fn key_of(queued: &str) -> &str {
    queued.split_once(" resume=").unwrap_or_else(|| panic!("received {queued}")).1
}

/// The answer to a key on a new connection, which stays.
fn resume(muster: &Muster, key: &str) -> (Wire, String) {
    let mut wire = Wire::greeted(muster.address());
    let answer = wire.ask(format!("READY resume={key}\n"));
    (wire, answer)
}

/// A key that resumes nothing; the connection stays open.
fn assert_refused(muster: &Muster, key: &str) {
    let (mut wire, answer) = resume(muster, key);
    assert!(answer.starts_with("ERR 505 BAD_RESUME "), "{answer}");
    assert!(wire.is_open());
}

/// Players who were assigned, in the order of their slots; and their keys.
fn assigned<const PLAYERS: usize>(muster: &Muster) -> [(Assignment, String); PLAYERS] {
    let lobbies = [(); PLAYERS].map(|()| {
        let mut lobby = muster.connect();
        let Place { resume, .. } = lobby.join(Some("party"), Some("ada"), SOON).unwrap();
        (lobby, resume)
    });
    lobbies.map(|(mut lobby, key)| (lobby.assignment(SOON).unwrap(), key))
}

fn assignment_again(muster: &Muster, key: &str) -> Assignment {
    Assignment::of(muster.connect().resume(key, SOON).unwrap()).expect("an assignment")
}

fn enter(assignment: &Assignment) -> GameSocket {
    GameSocket::enter(assignment, SOON).unwrap()
}

#[test]
fn a_lost_connection_keeps_its_queue_position() {
    let muster = party(3, "", "");
    let (mut ada, key) = join(&muster, "ada");
    let (mut bob, _) = join(&muster, "bob");
    let losses: [fn(Wire) -> Option<Wire>; 3] = [
        |wire| {
            wire.reset();
            None
        },
        |wire| {
            drop(wire);
            None
        },
        |wire| {
            wire.shut_down();
            Some(wire)
        },
    ];
    for (count, lose) in losses.into_iter().enumerate() {
        let half_closed = lose(ada);
        muster.log().wait_for_count(count + 1, &["player away "]);
        assert_eq!(muster.status("party"), (1, 0, 8), "who is away does not wait");
        if let Some(mut wire) = half_closed {
            assert_eq!(wire.rest(), Vec::<String>::new());
        }
        let (again, answer) = resume(&muster, &key);
        assert_eq!(answer, format!("QUEUED queue=party position=1 needed=3 resume={key}"));
        assert_eq!(muster.status("party"), (2, 0, 8));
        ada = again;
    }
    let (mut cleo, _) = join(&muster, "cleo");
    for (slot, wire) in [&mut ada, &mut bob, &mut cleo].into_iter().enumerate() {
        let lines = wire.rest();
        let line = lines.last().unwrap();
        assert!(line.contains(" match=1 ") && line.contains(&format!(" slot={slot} ")), "{line}");
    }
}

/// The server's own doing: what it closes is a lost connection, too.
#[test]
fn a_client_closed_for_bad_input_keeps_its_queue_position() {
    let limits = "line_timeout = \"200ms\"\nlines_burst = 20\nlines_per_second = 1";
    let muster = party(2, limits, "");
    let (mut slow, key) = join(&muster, "ada");
    slow.say("PIN");
    assert!(slow.rest().last().unwrap().starts_with("ERR 408 "));
    let (mut hasty, answer) = resume(&muster, &key);
    assert!(answer.starts_with("QUEUED "), "{answer}");
    hasty.say("PING\n".repeat(50));
    assert!(hasty.rest().last().unwrap().starts_with("ERR 429 "));
    let (mut wordy, answer) = resume(&muster, &key);
    assert!(answer.starts_with("QUEUED "), "{answer}");
    wordy.say("x".repeat(600));
    assert!(wordy.rest().last().unwrap().starts_with("ERR 500 "));
    let (mut wrong, answer) = resume(&muster, &key);
    assert!(answer.starts_with("QUEUED "), "{answer}");
    wrong.say("WHAT\n".repeat(10));
    assert_eq!(wrong.rest().last().unwrap(), "BYE reason=bad-lines");
    let (_back, answer) = resume(&muster, &key);
    assert!(answer.starts_with("QUEUED queue=party position=1 "), "{answer}");
}

#[test]
fn a_client_that_does_not_read_keeps_its_queue_position() {
    let limits = "write_timeout = \"300ms\"\nlines_burst = 1000000";
    let muster = party(2, limits, "");
    let mut deaf = Wire::open_with(muster.address(), |socket| {
        socket.set_recv_buffer_size(4096).unwrap();
    });
    assert!(deaf.line().starts_with("MUSTER 1 "));
    let queued = deaf.ask("READY\n");
    while deaf.try_say("HELP\n".repeat(100)).is_ok() {}
    muster.log().wait_for(&["player away "]);
    let (_back, answer) = resume(&muster, key_of(&queued));
    assert!(answer.starts_with("QUEUED queue=party position=1 "), "{answer}");
}

/// Faults row 14.
#[test]
fn the_newer_of_two_connections_has_the_session() {
    let muster = party(2, "", "");
    let (mut older, key) = join(&muster, "ada");
    let (mut newer, answer) = resume(&muster, &key);
    assert_eq!(answer, format!("QUEUED queue=party position=1 needed=2 resume={key}"));
    assert_eq!(older.rest(), ["BYE reason=replaced"]);
    assert_eq!(muster.status("party").0, 1);
    // On the connection that has a session, a key is out of place.
    assert!(newer.ask(format!("READY resume={key}\n")).starts_with("ERR 503 "));
    // Many at once: one of them has the session, and all others are notified.
    let mut wires = muster.while_stopped(|| {
        [(); 20].map(|()| {
            let mut wire = Wire::open(muster.address());
            wire.say(format!("READY resume={key}\n"));
            wire
        })
    });
    assert_eq!(newer.rest(), ["BYE reason=replaced"]);
    let _bob = join(&muster, "bob");
    let ends: Vec<String> = wires.iter_mut().map(|wire| wire.rest().pop().unwrap()).collect();
    let count = |start: &str| ends.iter().filter(|end| end.starts_with(start)).count();
    assert_eq!((count("ASSIGN "), count("BYE reason=replaced")), (1, 19), "{ends:?}");
}

/// Faults row 15.
#[test]
fn invalid_resume_keys_are_refused() {
    let muster = party(3, "", "");
    let (mut ada, key) = join(&muster, "ada");
    let mut other_half = key.clone();
    other_half.replace_range(
        16..,
        if key.ends_with("00") { "1111111111111111" } else { "0000000000000000" },
    );
    let random = "5f0c9b2e5f0c9b2e5f0c9b2e5f0c9b2e";
    for wrong in [random, &other_half, &key[..31], "x", &"f".repeat(400)] {
        assert_refused(&muster, wrong);
    }
    assert_eq!(ada.ask("LEAVE\n"), "LEFT");
    assert_refused(&muster, &key);
    let (mut bob, key) = join(&muster, "bob");
    assert_eq!(bob.ask("QUIT\n"), "BYE reason=quit");
    assert_refused(&muster, &key);
    assert!(ada.is_open());
}

#[test]
fn a_missed_assignment_is_repeated() {
    for transport in ["plain", "netcode"] {
        let keys = format!("hello_timeout = \"1m\"\ntransport = \"{transport}\"");
        let muster = party(2, "", &keys);
        let (ada, key) = join(&muster, "ada");
        let mut bob = muster.join("party", "bob");
        muster.log().wait_for(&["match assigned", "match=1 "]);
        ada.reset();
        let ada = assignment_again(&muster, &key);
        assert_eq!(assignment_again(&muster, &key), ada, "and again");
        let bob = bob.assignment(SOON).unwrap();
        assert_eq!((&ada.match_id, ada.port, ada.slot), (&bob.match_id, bob.port, 0));
        let mut games = [enter(&ada), enter(&bob)];
        muster.log().wait_for_count(2, &["player joined match=1 "]);
        // The player has joined, and this mode does not take players back.
        assert_refused(&muster, &key);
        for game in &mut games {
            game.bye(SOON).unwrap();
        }
        muster.wait_until_idle("party", 0);
        assert_refused(&muster, &key);
    }
}

/// A player whose game takes them back has another token; the old one is invalid, and its user is disconnected.
#[test]
fn a_disconnected_player_rejoins_the_game() {
    for transport in ["plain", "netcode"] {
        let muster = party(2, "", &format!("rejoin = true\ntransport = \"{transport}\""));
        let [(ada, key), (bob, _)] = assigned::<2>(&muster);
        let (mut lost, mut bob) = (enter(&ada), enter(&bob));
        muster.log().wait_for_count(2, &["player joined match=1 "]);
        for returns in 1..4 {
            let again = assignment_again(&muster, &key);
            assert_eq!(
                (&again.match_id, again.port, again.slot),
                (&ada.match_id, ada.port, ada.slot)
            );
            assert_ne!(again.token, ada.token);
            let mut back = enter(&again);
            back.ping("back", SOON).unwrap();
            bob.ping("still here", SOON).unwrap();
            assert!(lost.ping("and I?", Duration::from_millis(50)).is_err(), "{transport}");
            muster.log().wait_for_count(2 + returns, &["player joined match=1 "]);
            muster.log().wait_for_count(returns, &["player left match=1 slot=0"]);
            lost = back;
        }
        assert_old_token_opens_nothing(&ada, &mut bob);
        lost.bye(SOON).unwrap();
        bob.bye(SOON).unwrap();
        muster.wait_until_idle("party", 0);
        assert_refused(&muster, &key);
    }
}

/// A player's old token, sent from another address.
fn assert_old_token_opens_nothing(old: &Assignment, witness: &mut GameSocket) {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.connect((Ipv4Addr::LOCALHOST, old.port)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut link = client::Link::new(old);
    client::Machine::handle_timeout(&mut link, Duration::ZERO);
    stranger.send(&client::Machine::poll_transmit(&mut link).unwrap()).unwrap();
    // The game answers in order.
    witness.ping("all read", SOON).unwrap();
    assert!(stranger.recv(&mut [0; 1500]).is_err(), "the old token is answered");
}

/// A game that closed its control channel continues; that it cannot receive a rejoin does not affect other players.
#[test]
fn a_rejoin_that_the_game_cannot_receive_ends_no_match() {
    let keys = "players = 2\nwarm = 1\nrejoin = true\nhello_timeout = \"200ms\"";
    let muster = Setup::default().hostile("party", &["hangs-up"], keys).start();
    let [(ada, key), _] = assigned::<2>(&muster);
    muster.log().wait_for(&["hung up"]);
    let mut token = ada.token;
    for _ in 0..3 {
        // Until the time for a first hello is over the token stays the same.
        let again = wait_for("another token", || {
            Some(assignment_again(&muster, &key).token).filter(|again| *again != token)
        });
        token = again;
    }
    assert_eq!(muster.status("party").1, 2, "its game, and a warm one");
}

/// Faults row 13.
#[test]
fn players_are_not_matched_with_disconnected_ones() {
    let muster = party(2, "resume_window = \"1s\"", "");
    for _ in 0..3 {
        muster.while_stopped(|| {
            for _ in 0..101 {
                let mut wire = Wire::open(muster.address());
                wire.say("READY\n");
                wire.reset();
            }
        });
        let mut good = [muster.join("party", "ada"), muster.join("party", "bob")];
        let [ada, bob] = good.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
        assert_eq!(ada.match_id, bob.match_id);
    }
    let expired = || muster.log().lines_with(&["player expired "]).len();
    let away = || muster.log().lines_with(&["player away "]).len();
    wait_until("all who vanished to expire", || expired() == away());
    assert_eq!(muster.status("party").0, 0);
}

/// Faults row 9: a client whose machine is gone. It is in a separate network that is taken down, if that is permitted.
#[test]
fn a_client_on_a_dead_host_is_detected_and_keeps_its_position() {
    let can = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: network namespaces are not permitted");
        return;
    }
    let steps = "exec unshare --net sh -c 'ip link set lo up; exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let limits = "[limits]\nlost_timeout = \"2s\"";
    let muster = Setup::default()
        .config(limits)
        .through_shell("sh", steps)
        .mode("party", &["muster-game", "echo"], "players = 2\nwarm = 0")
        .start();
    let inside = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", muster.pid())).args(words);
        command
    };
    let (host, port) = muster.address().split_once(':').unwrap();
    // A client in there, which sends a line when the test requests it.
    let ask = |line: &str| {
        let mut client = inside(&["nc", host, port]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(client.stdin.as_mut().unwrap(), "{line}").unwrap();
        let answer = BufReader::new(client.stdout.take().unwrap()).lines().nth(1);
        (client, answer.unwrap().unwrap())
    };
    let (mut ada, queued) = ask("READY name=ada");
    let key = key_of(&queued).to_owned();
    assert!(inside(&["ip", "link", "set", "lo", "down"]).status().unwrap().success());
    muster.log().wait_for(&["player away "]);
    ada.kill().unwrap();
    ada.wait().unwrap();
    assert!(inside(&["ip", "link", "set", "lo", "up"]).status().unwrap().success());
    let (mut back, answer) = ask(&format!("READY resume={key}"));
    assert!(answer.starts_with("QUEUED queue=party position=1 "), "{answer}");
    back.kill().unwrap();
    back.wait().unwrap();
}
