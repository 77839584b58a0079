//! Games that say too much, or what no game should say; and one that does not listen.

use client::{Assignment, GameSocket};
use testkit::{Log, Muster, SOON, Setup, proc, wait_for};

/// How much the daemon's memory may grow while a game floods it, in kilobytes. The flood is many times as much.
const GROWTH_MAX: u64 = 16 * 1024;

/// Faults row 23: a flood of lines on stdout. The log takes some of them each second and says how many it did not.
#[test]
fn a_flood_of_output_lines_is_bounded() {
    let muster = flooded_by("lines", "lines were too many for the log)");
    ends_by_force(&muster);
}

/// Faults row 23: a line on stdout that never ends is cut into lines, and those are limited as others are.
#[test]
fn an_endless_output_line_is_bounded() {
    let muster = flooded_by("endless-line", "lines were too many for the log)");
    let longest = muster.log().text().lines().map(str::len).max().unwrap();
    assert!(longest < 1200, "{longest} bytes in a line of the log");
    ends_by_force(&muster);
}

/// Faults row 23: a flood of valid messages on the control channel is read no faster than a game may speak; it waits.
#[test]
fn a_flood_of_control_messages_is_bounded() {
    let muster = flooded_by("control", "messages said");
    let said = muster.log().wait_for_count(3, &["messages said"]).remove(2);
    let number = |key: &str| Log::field(&said, key).parse::<u64>().unwrap();
    // At once, each second, and what the kernel holds of a channel.
    let most = 4096 + 4000 * number("millis").div_ceil(1000) + 1500;
    assert!(number("count") <= most, "more than {most}: {said}");
    ends_by_force(&muster);
}

/// A game floods a channel. Meanwhile other matches are played, and the daemon does not grow. `sign` identifies the log
/// lines that report the flood.
fn flooded_by(channel: &str, sign: &str) -> Muster {
    let muster = Setup::default()
        .log("info")
        .config("[limits]\noutput_lines_per_second = 10\n[shutdown]\ndrain_timeout = \"10ms\"")
        .hostile("bad", &["floods", channel], "players = 1\nwarm = 0\nstop_grace = \"100ms\"")
        .mode("fine", &["muster-game", "echo"], "players = 2\nwarm = 1")
        .start();
    let before = memory(&muster);
    let bad = muster.join("bad", "mallory").assignment(SOON).unwrap();
    let output = format!("match={}: ", bad.match_id);
    for signs in 1..=3 {
        muster.log().wait_for_count(signs, &["output game=", &output, sign]);
        play_a_match(&muster);
    }
    let growth = memory(&muster).saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the daemon grew by {growth} kB");
    muster
}

/// Kills the flooding game. Its port is released like any other.
fn ends_by_force(muster: &Muster) {
    let line = muster.log().wait_for(&["match assigned", "mode=bad"]);
    let pid = Log::field(&line, "pid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    muster.log().wait_for(&["match finished", "mode=bad", "signal 9"]);
    let port = Log::field(&line, "port");
    muster.log().wait_for(&["port free", &format!("port={port}")]);
}

fn memory(muster: &Muster) -> u64 {
    let size = proc::status(muster.pid(), "VmRSS").unwrap();
    size.trim_end_matches(" kB").parse().unwrap()
}

fn play_a_match(muster: &Muster) {
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("fine", name));
    let assigned = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let mut games = assigned.map(|it| GameSocket::enter(&it, SOON).unwrap());
    for game in &mut games {
        game.ping("x", SOON).unwrap();
        game.bye(SOON).unwrap();
    }
}

// ---- Garbage ----

/// Faults row 23: bytes that are no text.
#[test]
fn garbage_ends_a_game() {
    ends_at("garbage", "is no message of the contract");
}

/// Faults row 23: JSON that is none.
#[test]
fn bad_json_ends_a_game() {
    ends_at("bad-json", "is not JSON");
}

/// Faults row 23: JSON that is no message.
#[test]
fn json_that_is_no_message_ends_a_game() {
    ends_at("no-type", "is no message of the contract");
    ends_at("no-object", "is no message of the contract");
}

/// An invalid message may contain a token, which must not be logged.
#[test]
fn garbage_is_not_quoted() {
    let muster = ends_at("secret", "is no message of the contract");
    assert_eq!(muster.log().lines_with(&["0123456789abcdef"]), [""; 0]);
}

/// Faults row 23: a line that is longer than lines may be. Its end is not waited for.
#[test]
fn an_over_long_line_ends_a_game() {
    ends_at("long-line", "line longer than 65536 bytes");
}

/// Faults row 23: JSON so deep that a reader which follows it would have no stack left.
#[test]
fn deep_nesting_ends_a_game() {
    ends_at("deep-nesting", "is not JSON");
}

/// Faults row 23: slots that are no numbers of slots.
#[test]
fn impossible_slots_end_a_game() {
    ends_at("negative-slot", "is no message of the contract");
    ends_at("broken-slot", "is no message of the contract");
}

/// A game that sends one invalid message is killed at once. A match beside it continues.
fn ends_at(what: &str, why: &str) -> Muster {
    let (muster, bad) = beside_a_match(&["says", what]);
    let mut fine = enter(&muster, "fine");
    muster.order(bad.port, "say it");
    let stopping = muster.log().wait_for(&["game stopping game=1 ", "broke the contract", why]);
    assert!(stopping.len() < 1000, "{} bytes in a line of the log", stopping.len());
    muster.log().wait_for(&["match stopped match=1 ", "signal 9"]);
    muster.log().wait_for(&["port free", &format!("port={}", bad.port)]);
    fine.ping("x", SOON).unwrap();
    fine.bye(SOON).unwrap();
    muster.wait_until_idle("bad", 0);
    has_no_raw_bytes(&muster);
    muster
}

/// Faults row 23: messages about a slot that does not exist are ignored. The game continues.
#[test]
fn messages_about_unused_slots_change_nothing() {
    let (muster, bad) = beside_a_match(&["says", "foreign-slots"]);
    muster.order(bad.port, "say it");
    plays_on(&bad);
    muster.join("bad", "bob").assignment(SOON).unwrap();
    assert_eq!(muster.log().lines_with(&["player joined match=1"]), [""; 0]);
    assert_eq!(muster.log().lines_with(&["game stopping"]), [""; 0]);
}

/// Faults row 23: a game that never reads its control channel gets its players all the same.
#[test]
fn a_game_that_does_not_read_is_stopped() {
    let setup = Setup::default().hostile("bad", &["deaf"], "players = 1\nwarm = 1");
    let muster = setup.start();
    muster.log().wait_for(&["game ready game=1 "]);
    let mut ada = muster.join("bad", "ada");
    muster.log().wait_for(&["match formed match=1"]);
    let port = *muster.ports().start();
    // What it does not read is in the channel when it says that it has started.
    let assigned = wait_for("the assignment", || {
        muster.order(port, "start");
        ada.poll_reply().unwrap().and_then(Assignment::of)
    });
    plays_on(&assigned);
}

/// Faults row 5: hostile bytes in what a game prints and in its result. One event is one line, and no byte of it is
/// one that a terminal would obey.
#[test]
fn hostile_bytes_in_output_and_result_are_escaped() {
    let (muster, bad) = beside_a_match(&["prints"]);
    muster.order(bad.port, "say it");
    let printed = muster.log().wait_for(&["output game=1 ", "match=1: printed "]);
    let cut_off = muster.log().wait_for(&["output game=1 ", "match=1: cut off "]);
    let result = muster.log().wait_for(&["match result match=1 "]);
    for line in [printed, cut_off, result] {
        assert!(line.contains("\\u{1b}[31mred") || line.contains("\\u001b[31mred"), "{line}");
        assert!(line.contains("INFO forged") && line.contains('|'), "cut into lines: {line}");
    }
    muster.log().wait_for(&["match finished match=1"]);
    has_no_raw_bytes(&muster);
}

fn has_no_raw_bytes(muster: &Muster) {
    for line in muster.log().text().lines() {
        let obeyed = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!line.contains(obeyed), "{line:?}");
        assert!(line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00"), "{line:?}");
    }
}

/// A hostile game with one player, and a mode beside it that is well.
fn beside_a_match(way: &[&str]) -> (Muster, Assignment) {
    let setup = Setup::default().hostile("bad", way, "players = 1\nwarm = 0");
    let muster = setup.mode("fine", &["muster-game", "echo"], "players = 1\nwarm = 0").start();
    let bad = muster.join("bad", "mallory").assignment(SOON).unwrap();
    (muster, bad)
}

fn enter(muster: &Muster, queue: &str) -> GameSocket {
    GameSocket::enter(&muster.join(queue, "ada").assignment(SOON).unwrap(), SOON).unwrap()
}

/// A hostile game that says back what is said is still there to do so.
fn plays_on(game: &Assignment) {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(("127.0.0.1", game.port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(b"are you there").unwrap();
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).unwrap(), b"are you there".len());
}
