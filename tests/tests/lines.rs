//! Lines over TCP: what is answered, in which order, and what becomes of a client that says something else.

use std::io::Write as _;

use testkit::{Dice, Muster, Setup, Wire, proc};

/// Two queues, without warm games.
fn muster() -> Muster {
    Setup::default().duel("warm = 0").mode("arena", &["muster-game", "echo"], "warm = 0").start()
}

/// The number of an `ERR` line, after a look at its form: a number, a name, a sentence; and `retry_ms=` where
/// it is worth trying again.
fn error_number(line: &str) -> u16 {
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("ERR"), "{line}");
    let number = words.next().and_then(|word| word.parse().ok()).unwrap();
    let name = words.next().unwrap();
    assert!(name.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{line}");
    let retry = line.split(' ').filter_map(|word| word.strip_prefix("retry_ms="));
    let retry: Vec<u64> = retry.map(|ms| ms.parse().unwrap()).collect();
    assert_eq!(retry.len(), usize::from(number < 500), "{line}");
    assert!(retry.iter().all(|&ms| ms > 0), "{line}");
    number
}

/// A line without what is random in it.
fn without_key(line: &str) -> String {
    line.split(" resume=").next().unwrap_or_default().to_owned()
}

#[test]
fn the_server_sends_the_first_line() {
    let muster = muster();
    let mut wire = Wire::open(muster.address());
    assert_eq!(wire.line(), "MUSTER 1 line_max=512 queues=duel,arena");
}

#[test]
fn every_verb_is_answered() {
    let muster = muster();
    let mut wire = Wire::greeted(muster.address());
    for (said, answer) in [
        ("PING\n", "PONG"),
        ("PING a = b\n", "PONG a = b"),
        ("  pInG   a  \r\n", "PONG a"),
        ("PING ünïcödé 猫\n", "PONG ünïcödé 猫"),
        ("\n\r\n   \nPING\n", "PONG"),
    ] {
        assert_eq!(wire.ask(said), answer, "{said:?}");
    }
    assert_eq!(wire.ask("STATUS\n"), "STATUS queue=duel waiting=0 games=0 ports_free=8");
    assert_eq!(wire.line(), "STATUS queue=arena waiting=0 games=0 ports_free=8");
    wire.say("HELP\nHELP ready?\nPING\n");
    let help: Vec<String> =
        std::iter::from_fn(|| Some(wire.line()).filter(|line| line != "PONG")).collect();
    assert!(help.iter().all(|line| line.starts_with("HELP ")), "{help:?}");
    for verb in ["READY", "LEAVE", "STATUS", "PING", "QUIT"] {
        assert!(help.iter().any(|line| line.contains(verb)), "{verb}: {help:?}");
    }
    let queued = wire.ask("ready later=yes queue=arena name=ada\n");
    assert_eq!(without_key(&queued), "QUEUED queue=arena position=1 needed=2");
    let key = queued.rsplit_once(" resume=").unwrap().1;
    assert!(key.len() == 32 && key.chars().all(|c| c.is_ascii_hexdigit()), "{queued}");
    assert_eq!(wire.ask("leave later=yes\n"), "LEFT");
    let default = wire.ask("READY\n");
    assert_eq!(without_key(&default), "QUEUED queue=duel position=1 needed=2");
    assert_eq!(wire.ask("QUIT\nPING\n"), "BYE reason=quit");
    assert_eq!(wire.rest(), [""; 0]);
    muster.wait_until_idle("duel", 0);
}

#[test]
fn bad_lines_leave_the_connection_open() {
    let muster = muster();
    for (said, number) in [
        (&b"READY duel\n"[..], 501),
        (b"READY =duel\n", 501),
        (b"READY name=\n", 501),
        (b"READY name=a name=b\n", 501),
        (b"READY name=%zz\n", 501),
        (b"READY name=%ff\n", 501),
        (b"STATUS now\n", 501),
        (b"PING \xff\xfe\n", 501),
        (b"PING a\0b\n", 501),
        (b"PING a\rb\n", 501),
        (b"\rPING\n", 501),
        (b"PING a\tb\n", 501),
        (b"PING \x1b[31m\n", 501),
        (b"PING \xc2\x9b31m\n", 501),
        (b"\0\n", 501),
        (b"GET / HTTP/1.1\r\n", 502),
        (b"\xe2\x80\xaePING\n", 502),
        (b"READYqueue=duel\n", 502),
        (b"LEAVE\n", 503),
        (b"ACCEPT\n", 503),
        (b"DECLINE\n", 503),
        (b"READY queue=chess\n", 504),
        (b"READY queue=\n", 504),
        (b"READY queue=DUEL\n", 504),
        (b"READY resume=00112233445566778899aabbccddeeff\n", 505),
        (b"READY resume=nonsense\n", 505),
        (b"READY resume=\n", 505),
    ] {
        let mut wire = Wire::greeted(muster.address());
        let answer = wire.ask(said);
        assert_eq!(error_number(&answer), number, "{}: {answer}", said.escape_ascii());
        assert!(!answer.contains(char::is_control), "{}", answer.escape_debug());
        assert!(wire.is_open(), "{}", said.escape_ascii());
    }
}

#[test]
fn a_player_who_is_queued_cannot_queue_again() {
    let muster = muster();
    let mut wire = Wire::greeted(muster.address());
    wire.ask("READY\n");
    for again in ["READY\n", "READY queue=arena\n", "READY queue=chess\n"] {
        assert_eq!(error_number(&wire.ask(again)), 503, "{again}");
    }
    assert_eq!(muster.status("duel").0, 1);
    assert_eq!(muster.status("arena").0, 0);
    assert_eq!(wire.ask("LEAVE\n"), "LEFT");
    assert_eq!(error_number(&wire.ask("LEAVE\n")), 503);
}

#[test]
fn a_full_queue_refuses_and_the_client_may_retry() {
    let muster = Setup::default()
        .config("[limits]\nqueue = 3")
        // Its games never start, so that players keep waiting.
        .puppet("raid", &["held"], "players = 3\nwarm = 0\nstart_timeout = \"1m\"")
        .duel("warm = 0")
        .start();
    let mut waiting = ["ada", "bob", "cy"].map(|name| muster.join("raid", name));
    let mut late = Wire::greeted(muster.address());
    assert_eq!(error_number(&late.ask("READY queue=raid\n")), 452);
    // The cap is each queue's own.
    assert!(late.ask("READY queue=duel\n").starts_with("QUEUED queue=duel position=1 "));
    assert_eq!(late.ask("LEAVE\n"), "LEFT");
    waiting[1].quit(testkit::SOON).unwrap();
    assert!(late.ask("READY queue=raid\n").starts_with("QUEUED queue=raid position=3 "));
}

#[test]
fn ten_bad_lines_close_the_connection_and_nine_do_not() {
    let muster = muster();
    let mut wire = Wire::greeted(muster.address());
    // What is no bad line does not count, and does not make up for one either.
    for _ in 0..20 {
        assert_eq!(error_number(&wire.ask("LEAVE\n")), 503);
    }
    for round in 0..9 {
        let (line, number) = [("NONSENSE\n", 502), ("LEAVE now\n", 501)][round % 2];
        assert_eq!(error_number(&wire.ask(line)), number);
    }
    assert!(wire.is_open());
    wire.say("PING \x07\nPING never\n");
    assert_eq!(error_number(&wire.line()), 501);
    assert_eq!(wire.rest(), ["BYE reason=bad-lines"]);
}

/// Faults row 4: a line over 512 bytes is refused as soon as that is certain, with or without its end.
#[test]
fn the_longest_line_is_served_and_a_longer_one_closes_the_connection() {
    let muster = muster();
    let text = "x".repeat(512 - "PING ".len());
    for end in ["\n", "\r\n"] {
        let mut wire = Wire::greeted(muster.address());
        assert_eq!(wire.ask(format!("PING {text}{end}")), format!("PONG {text}"));
        assert!(wire.is_open());
    }
    let long = format!("PING {text}x");
    for said in [format!("{long}\nPING\n"), format!("{long}\r\n"), long.clone(), "\r".repeat(514)] {
        let mut wire = Wire::greeted(muster.address());
        wire.say(&said);
        let rest = wire.rest();
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!(error_number(&rest[0]), 500);
    }
    let mut endless = Wire::greeted(muster.address());
    while endless.try_say([0; 4096]).is_ok() {}
}

/// Faults row 4: whatever comes, in whatever pieces, the answers are the same.
#[test]
fn the_answers_do_not_depend_on_segmentation() {
    let muster = muster();
    let long = [b'y'; 600];
    let pieces: [&[u8]; 20] = [
        b"PING a\n",
        b"PING b\r\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff",
        b"READY\n",
        b"LEAVE\n",
        b"READY",
        b" queue=",
        b"arena",
        b" name=%1b%0a",
        b"\n",
        b"\xf0\x9f\x90",
        b"\x88",
        b"STATUS\n",
        b"PING ",
        &long,
        b"\n",
    ];
    let answers = |stream: &[u8], cut: &mut dyn FnMut() -> usize| {
        let mut wire = Wire::greeted(muster.address());
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut().min(rest.len()));
            wire.say(piece);
            rest = after;
        }
        wire.shut_down();
        wire.rest().iter().map(|line| without_key(line)).collect::<Vec<String>>()
    };
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let stream: Vec<u8> =
            (0..dice.below(60)).flat_map(|_| dice.one_of(&pieces)).copied().collect();
        let whole = answers(&stream, &mut || usize::MAX);
        let bytes = answers(&stream, &mut || 1);
        let mixed = answers(&stream, &mut || 1 + dice.below(20));
        assert_eq!(whole, bytes, "seed {seed}, byte by byte");
        assert_eq!(whole, mixed, "seed {seed}, in pieces");
    }
    muster.wait_until_idle("duel", 0);
}

/// Faults row 8: one big write, then silence: all lines are served, in order, on both sides of what fits a turn.
#[test]
fn all_lines_of_one_write_are_served_in_order() {
    let muster = muster();
    for count in [1, 63, 64, 65, 127, 128, 129, 1_000, 9_000] {
        let mut wire = Wire::greeted(muster.address());
        let lines: String = (0..count).map(|number| format!("PING {number}\n")).collect();
        let mut writer = wire.stream().try_clone().unwrap();
        // On another thread, as a client that writes this much without reading would block.
        let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()));
        for number in 0..count {
            assert_eq!(wire.line(), format!("PONG {number}"), "of {count}");
        }
        writing.join().unwrap().unwrap();
        assert!(wire.is_open());
    }
}

/// Faults row 8: the last of thousands of READY and LEAVE in one write determines the player's state.
#[test]
fn the_last_of_several_requests_in_one_write_wins() {
    let muster = muster();
    let mut wire = Wire::greeted(muster.address());
    let mut writer = wire.stream().try_clone().unwrap();
    let lines = "READY\nLEAVE\n".repeat(2_000) + "READY queue=arena\n";
    let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()));
    for _ in 0..2_000 {
        assert_eq!(without_key(&wire.line()), "QUEUED queue=duel position=1 needed=2");
        assert_eq!(wire.line(), "LEFT");
    }
    assert_eq!(without_key(&wire.line()), "QUEUED queue=arena position=1 needed=2");
    writing.join().unwrap().unwrap();
    assert_eq!(muster.status("duel").0, 0);
    assert_eq!(muster.status("arena").0, 1);
}

#[test]
fn a_client_over_the_line_rate_is_closed() {
    let limits = "[limits]\nlines_burst = 5\nlines_per_second = 1";
    let muster = Setup::default().config(limits).duel("warm = 0").start();
    let mut wire = Wire::greeted(muster.address());
    wire.say("PING\n".repeat(9));
    let rest = wire.rest();
    let (last, pongs) = rest.split_last().unwrap();
    assert_eq!(pongs, ["PONG"; 5]);
    assert_eq!(error_number(last), 429);
}

/// The behaviour of `printf 'PING a\nSTATUS\n' | nc -N`.
#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let muster = muster();
    let mut wire = Wire::open(muster.address());
    wire.say("PING a\nSTATUS\nPING b\nPING half a line");
    wire.shut_down();
    let rest = wire.rest();
    assert_eq!(rest[0], "MUSTER 1 line_max=512 queues=duel,arena");
    assert_eq!((rest[1].as_str(), rest[4].as_str(), rest.len()), ("PONG a", "PONG b", 5));
}

/// Faults row 8: far more answers than fit into all buffers, for a client that has closed its side. Muster stops
/// reading its requests until it reads the answers, and sends all of them.
#[test]
fn megabytes_of_answers_are_kept_for_a_half_closed_client() {
    let limits = "[limits]\nlines_burst = 1000000\nlines_per_second = 1000000";
    let muster = Setup::default().config(limits).duel("warm = 0").start();
    let mut wire = Wire::greeted(muster.address());
    wire.say("HELP\n");
    wire.say("PING end\n");
    let help: Vec<String> =
        std::iter::from_fn(|| Some(wire.line()).filter(|line| line != "PONG end")).collect();
    wire.say("HELP\n".repeat(30_000));
    wire.shut_down();
    // Each answer to another is a turn of Muster's loop, in which it serves 64 lines of each client: after so
    // many of them it has answered all, if it did not stop.
    let mut other = Wire::greeted(muster.address());
    for _ in 0..30_000 / 64 {
        assert_eq!(other.ask("PING\n"), "PONG");
    }
    let mut count = 0;
    while let Some(line) = wire.try_line().unwrap() {
        assert_eq!(line, help[count % help.len()], "answer {count}");
        count += 1;
    }
    assert_eq!(count, 30_000 * help.len());
}

/// Faults row 5: whatever players say, an event is one line of the log, and nothing in it obeys them.
#[test]
fn players_cannot_inject_into_the_log() {
    // A game that prints the names that it receives unchanged; and one that escapes them.
    let puppet = Setup::default().puppet("raid", &[], "players = 2\nwarm = 1");
    let muster = puppet.duel("warm = 1").log("trace").start();
    let mut wire = Wire::greeted(muster.address());
    for garbage in
        [&b"PING \x1b[2J\n"[..], b"\x1b]0;FAKED\x07\n", b"\xff\x00FAKED\n", b"FAKED\rFAKED\n"]
    {
        assert!(wire.ask(garbage).starts_with("ERR 50"));
    }
    let mut players = Vec::new();
    for queue in ["duel", "raid"] {
        for name in
            ["%1b[31m%0aFAKED%0d", "a%0a2026-01-01T00:00:00Z%20INFO%20%20FAKED%e2%80%ae%c2%9b"]
        {
            let mut player = Wire::greeted(muster.address());
            assert!(player.ask(format!("READY queue={queue} name={name}\n")).starts_with("QUEUED"));
            players.push(player);
        }
    }
    for player in &mut players {
        assert!(player.rest().last().unwrap().starts_with("ASSIGN "));
    }
    // The games print the players of their match.
    muster.log().wait_for(&["output game=", "started: ", "FAKED"]);
    muster.log().wait_for(&["output game=", "received ", "FAKED"]);
    let faked = muster.log().lines_with(&["FAKED"]);
    assert!(faked.iter().all(|line| line.contains(" output game=")), "{faked:?}");
    for line in muster.log().text().split('\n') {
        let invisible =
            |c: char| c.is_control() || matches!(c, '\u{202e}' | char::REPLACEMENT_CHARACTER);
        assert!(!line.contains(invisible), "{}", line.escape_debug());
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() > 20 && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with(char::is_uppercase), "{line}");
    }
}

/// Faults row 4: nothing of all this makes the daemon grow.
#[test]
fn megabytes_of_garbage_leave_no_state() {
    let muster = Setup::default().duel("warm = 0").log("info").start();
    let garbage = |seed| {
        let mut dice = Dice::new(seed);
        let bytes: Vec<u8> = (0..100_000).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        let mut wire = Wire::greeted(muster.address());
        // Muster hangs up early on, and may not read to the end.
        let _ = wire.try_say(&bytes);
    };
    (0..20).for_each(garbage);
    let before = proc::memory(muster.pid());
    (20..120).for_each(garbage);
    assert!(Wire::greeted(muster.address()).is_open());
    let grown = proc::memory(muster.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "grown by {grown} bytes");
}
