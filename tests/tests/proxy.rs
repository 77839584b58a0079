//! Players behind a proxy that sends their addresses: the PROXY protocol, versions 1 and 2.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use testkit::{Muster, SOON, Setup, Wire, wait_until};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 203.0.113.5 51234 7000\r\n").into_bytes()
}

/// A header of version 2 with `more` bytes after the addresses.
fn v2(source: [u8; 4], more: usize) -> Vec<u8> {
    let length = u16::try_from(12 + more).unwrap().to_be_bytes();
    let addresses = [&source[..], &[203, 0, 113, 5, 0xc8, 0x22, 0x1b, 0x58]].concat();
    [SIGNATURE, &[0x21, 0x11], &length, &addresses, &vec![b'\n'; more]].concat()
}

/// A proxy's word that this is its own connection, with what is to be skipped.
fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 3, 1, 2, 3]].concat()
}

/// Proxies are 127.0.0.1 and all of 127.1.0.0/16.
fn behind_a_proxy(limits: &str) -> Muster {
    let limits = format!("[limits]\n{limits}");
    let setup = Setup::default().listen("proxy_from = [\"127.0.0.1\", \"127.1.0.0/16\"]");
    setup
        .config(&limits)
        .duel("warm = 0\n[mode.skill]\nwindow = 10\nwindow_max = 10\nwiden_by = 0")
        .start()
}

fn open(muster: &Muster) -> Wire {
    Wire::open(muster.address())
}

fn greeted(muster: &Muster, header: &[u8]) -> Wire {
    let mut wire = open(muster);
    wire.say(header);
    let greeting = wire.line();
    assert!(greeting.starts_with("MUSTER 1 "), "{greeting}");
    wire
}

/// The player's address counts, not the proxy's; lines after the header are handled, however they are split.
#[test]
fn limits_apply_to_the_players_address() {
    let muster = behind_a_proxy("clients_per_address = 2");
    let first = greeted(&muster, &v1("198.51.100.7"));
    let mut second = open(&muster);
    // All in one, with as much to skip as a header may hold.
    second.say([v2([198, 51, 100, 7], 60_000), b"PING a\n".to_vec()].concat());
    assert!(second.line().starts_with("MUSTER 1 "));
    assert_eq!(second.line(), "PONG a");
    let mut third = open(&muster);
    third.say(v1("198.51.100.7"));
    assert!(third.line().starts_with("ERR 429 "), "three of one address");
    let mut mapped = open(&muster);
    mapped.say(b"PROXY TCP6 ::ffff:198.51.100.7 ::1 51234 7000\r\n");
    assert!(mapped.line().starts_with("ERR 429 "), "the same address in other letters");
    // Others have their own count, and the proxy itself, too.
    let others = [greeted(&muster, &v1("198.51.100.8")), greeted(&muster, &v2([192, 0, 2, 1], 0))];
    let own = [greeted(&muster, &local()), greeted(&muster, b"PROXY UNKNOWN\r\n")];
    let mut one_more = open(&muster);
    one_more.say(local());
    assert!(one_more.line().starts_with("ERR 429 "), "three of the proxy's own");
    drop((first, others, own));
    wait_until("room for another one of that address", || {
        let mut wire = open(&muster);
        wire.say(v1("198.51.100.7"));
        wire.line().starts_with("MUSTER 1 ")
    });
}

/// Byte by byte, each in a segment of its own.
#[test]
fn a_header_may_arrive_in_pieces() {
    let muster = behind_a_proxy("");
    for header in [v1("198.51.100.7"), v2([198, 51, 100, 7], 9), local()] {
        let mut wire = open(&muster);
        for byte in [&header[..], b"PING x\n"].concat() {
            wire.say([byte]);
        }
        assert!(wire.line().starts_with("MUSTER 1 "), "{}", header.escape_ascii());
        assert_eq!(wire.line(), "PONG x");
    }
}

/// A front on the proxy's host does not make everybody behind the proxy a front.
#[test]
fn skill_is_accepted_by_the_players_address() {
    let muster = behind_a_proxy("skill_from = [\"::ffff:127.0.0.1\", \"198.51.100.9\"]");
    let ready = |header: &[u8], skill: i32| {
        let mut wire = greeted(&muster, header);
        wire.say(format!("READY name=ada skill={skill}\n"));
        assert!(wire.line().starts_with("QUEUED "));
        wire
    };
    // Skills so far apart never meet; what is not believed is the same for both.
    let _strong = ready(&v1("198.51.100.9"), 5000);
    let _weak = ready(&local(), 100);
    let mut strangers = [ready(&v1("198.51.100.7"), 5000), ready(&v1("198.51.100.7"), 100)];
    for stranger in &mut strangers {
        let assigned = std::iter::repeat_with(|| stranger.line());
        assert!(assigned.take(3).any(|line| line.starts_with("ASSIGN ")));
    }
    let mut operator = greeted(&muster, &v1("198.51.100.8"));
    let status = operator.ask(b"STATUS\n");
    assert!(status.contains(" waiting=2 "), "the two whose skill is known: {status}");
}

/// Health checks connect and close, or say that they are the proxy's own. They cost no line of the log, nor does a
/// proxy that is cut off within its header.
#[test]
fn health_checks_log_no_line() {
    let muster = behind_a_proxy("handshake_timeout = \"300ms\"");
    let lines = || {
        muster
            .log()
            .text()
            .lines()
            .filter(|line| !["DEBUG", "control groups"].iter().any(|part| line.contains(part)))
            .count()
    };
    let before = lines();
    for _ in 0..20 {
        drop(open(&muster));
        let mut wire = open(&muster);
        wire.say(local());
        drop(wire);
        let mut wire = open(&muster);
        wire.say(&v2([198, 51, 100, 7], 0)[..17]);
        drop(wire);
    }
    // Clients that send nothing, or an incomplete header, are closed without an answer.
    let mut silent = open(&muster);
    silent.say(b"PROXY TCP4 ");
    assert_eq!(silent.rest(), [""; 0]);
    let mut wire = greeted(&muster, &v1("198.51.100.7"));
    assert_eq!(wire.ask(b"PING a\n"), "PONG a");
    assert_eq!(lines(), before, "{}", muster.log().text());
}

/// A connection without a header is closed, with one log line for many.
#[test]
fn an_invalid_header_closes_the_connection_with_a_message() {
    let muster = behind_a_proxy("");
    let bad = [SIGNATURE, &[0x21, 0x11, 0, 11], &[0; 11]].concat();
    for said in
        [&b"READY name=ada\n"[..], b"PROXY TCP4 a b 1 2\r\n", b"GET / HTTP/1.1\r\n\r\n", &bad]
    {
        let mut wire = open(&muster);
        wire.say(said);
        let mut received = Vec::new();
        // A close with something unread is a reset.
        while let Ok(Some(line)) = wire.try_line() {
            received.push(line);
        }
        assert_eq!(received, [""; 0], "{}", said.escape_ascii());
    }
    let reported = muster.log().wait_for(&["WARN", "from the proxy 127.0.0.1"]);
    assert!(reported.contains("it does not begin with a PROXY header"), "{reported}");
    assert_eq!(muster.log().lines_with(&["from the proxy"]).len(), 1);
}

/// From other addresses it is an unknown verb, and the address in it is ignored.
#[test]
fn a_header_from_an_untrusted_address_is_ignored() {
    let muster = behind_a_proxy("clients_per_address = 1");
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let mut stranger = Wire::open_from(source, muster.address());
    assert!(stranger.line().starts_with("MUSTER 1 "));
    let answer = stranger.ask(v1("198.51.100.7"));
    assert!(answer.starts_with("ERR 502 UNKNOWN_VERB unknown verb PROXY"), "{answer}");
    assert!(answer.contains("listen.proxy_from"), "{answer}");
    let mut again = Wire::open_from(source, muster.address());
    assert!(again.line().starts_with("ERR 429 "));
    muster.log().wait_for(&["a PROXY header came from 127.0.0.2"]);
    // One of the prefix is a proxy.
    let mut proxy = Wire::open_from(Ipv4Addr::new(127, 1, 2, 3).into(), muster.address());
    proxy.say(v1("127.0.0.9"));
    assert!(proxy.line().starts_with("MUSTER 1 "));
}

/// The addresses outlive an upgrade, of those too whose header is not whole yet; and a reload names other proxies.
#[test]
fn addresses_survive_an_upgrade() {
    let muster = behind_a_proxy("clients_per_address = 1");
    let mut ada = greeted(&muster, &v1("198.51.100.7"));
    let header = v2([198, 51, 100, 8], 100);
    let (mut bob, mut cid) = (open(&muster), open(&muster));
    bob.say(&header[..20]);
    cid.say(&v2([198, 51, 100, 9], 100)[..60]);
    assert!(cid.line().starts_with("MUSTER 1 "), "what is left of its header does not matter");
    muster.upgrade(None).unwrap();
    assert_eq!(ada.ask(b"PING a\n"), "PONG a");
    bob.say(&header[20..]);
    assert!(bob.line().starts_with("MUSTER 1 "));
    cid.say(&v2([198, 51, 100, 9], 100)[60..]);
    assert_eq!(cid.ask(b"PING a\n"), "PONG a");
    for taken in ["198.51.100.7", "198.51.100.8", "198.51.100.9"] {
        let mut wire = open(&muster);
        wire.say(v1(taken));
        assert!(wire.line().starts_with("ERR 429 "), "{taken}");
    }
}

/// Connections without a complete header are not charged to an address, and are bounded all the same.
#[test]
fn connections_without_a_header_are_bounded() {
    let muster = behind_a_proxy("clients = 8\nclients_per_address = 1\nhandshake_timeout = \"1s\"");
    let silent: Vec<Wire> = (0..8).map(|_| open(&muster)).collect();
    let mut beyond = open(&muster);
    beyond.stream().set_read_timeout(Some(SOON)).unwrap();
    assert!(beyond.line().starts_with("ERR 429 "), "eight are there");
    drop(silent);
    wait_until("room again", || {
        let mut wire = open(&muster);
        wire.say(v1("198.51.100.7"));
        wire.stream().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        wire.line().starts_with("MUSTER 1 ")
    });
}
