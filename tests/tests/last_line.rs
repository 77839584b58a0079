//! Faults row 10: `ASSIGN` is the last line of a connection, and it arrives, whatever the player sent and the network
//! loses.
//!
//! A close with unread input makes the kernel send a reset, which overtakes lost segments. To lose a segment on
//! purpose, a test lets the kernel drop the segments of its own socket with a filter (socket(7), `SO_ATTACH_FILTER`):
//! to TCP that is a loss like any other, at a time that the test chooses. Unlike
//! `tc qdisc add dev lo root netem loss 10%`, it does not change the machine.

use std::io::Write as _;

use socket2::{SockFilter, SockRef};
use testkit::{Dice, Muster, Setup, Wire};

/// Games that do not wait for players: a match ends soon after it started.
fn muster() -> Muster {
    let limits = "[limits]\nseats_per_address = 0\nlines_burst = 1000000\nlines_per_second = 1000000\nclose_timeout = \"1m\"";
    Setup::default()
        .config(limits)
        .mode("duel", &["muster-game", "echo"], "warm = 2\nhello_timeout = \"20ms\"")
        .start()
}

/// Whether the conversation ended as it should: with `ASSIGN`, then the end, not a reset.
fn assert_assigned(wire: &mut Wire, round: usize) {
    let rest = wire.rest();
    assert!(rest.last().is_some_and(|line| line.starts_with("ASSIGN ")), "round {round}: {rest:?}");
    let assigned = rest.iter().filter(|line| line.starts_with("ASSIGN ")).count();
    assert_eq!(assigned, 1, "round {round}");
}

/// A player asks far more than it reads, until Muster stops reading its questions: then, where to play is said
/// behind a heap of answers, with a heap of questions still in the kernel.
#[test]
fn assign_arrives_with_unread_input() {
    let muster = muster();
    for round in 0..10 {
        let mut heaping = Wire::greeted(muster.address());
        // The answers are several megabytes, more than all buffers on the way hold.
        heaping.say("READY\n".to_owned() + &"HELP\n".repeat(20_000));
        // Each answer to another client is an iteration of Muster's loop, which serves 64 lines of each client: after
        // this many iterations it has stopped, or the test is pointless.
        let mut other = Wire::greeted(muster.address());
        for _ in 0..20_000 / 64 {
            other.ask("PING\n");
        }
        other.say("READY\n");
        assert_assigned(&mut other, round);
        assert_assigned(&mut heaping, round);
    }
}

/// All that players say around their READY is there at once, before Muster sees any of it.
#[test]
fn assign_arrives_when_all_requests_came_at_once() {
    let muster = muster();
    for round in 0..30 {
        let mut dice = Dice::new(round as u64);
        let mut players = [(); 2].map(|()| Wire::greeted(muster.address()));
        muster.while_stopped(|| {
            for player in &mut players {
                let before = "STATUS\n".repeat(dice.below(200));
                let after = "PING unread\n".repeat(dice.below(8_000));
                player.say(format!("{before}READY\n{after}"));
            }
        });
        for player in &mut players {
            assert_assigned(player, round);
        }
    }
}

/// Players who keep sending, before and after their last line, until they read it.
#[test]
fn assign_arrives_while_the_player_keeps_sending() {
    let muster = muster();
    for round in 0..20 {
        let mut players = [(); 2].map(|()| Wire::greeted(muster.address()));
        for player in &mut players {
            player.say("READY\n");
        }
        let senders = players.each_ref().map(|player| {
            let mut stream = player.stream().try_clone().unwrap();
            // In total no more than Muster promises to read after the last line.
            std::thread::spawn(move || {
                let line = format!("PING {}\n", "x".repeat(400));
                (0..500).try_for_each(|_| stream.write_all(line.as_bytes()))
            })
        });
        for player in &mut players {
            assert_assigned(player, round);
        }
        for sender in senders {
            sender.join().unwrap().unwrap();
        }
    }
}

/// The segment with `ASSIGN` is lost, and the player, unaware of that, sends more. If the connection were closed by
/// now, the answer would be a reset, and the line would be lost.
#[test]
fn assign_arrives_when_its_segment_was_lost() {
    let muster = muster();
    for round in 1..=5 {
        let mut players = [(); 2].map(|()| Wire::greeted(muster.address()));
        for player in &mut players {
            if !lose_all_but_resets(player) {
                eprintln!("left out: this kernel lets only root put a filter on a socket");
                return;
            }
            player.say("READY\n");
        }
        muster.log().wait_for(&["match assigned", &format!("match={round} ")]);
        for player in &mut players {
            player.say("PING too late\n");
        }
        // Another client is served after that: Muster has seen what was said before.
        assert!(Wire::greeted(muster.address()).is_open());
        for player in &players {
            SockRef::from(player.stream()).detach_filter().unwrap();
        }
        for player in &mut players {
            assert_assigned(player, round);
        }
    }
}

/// Drops every segment that comes to a connection and is no reset. `false`: the kernel does not let us.
fn lose_all_but_resets(wire: &Wire) -> bool {
    // The program sees the TCP header; bpf(4) has the instructions, RFC 9293 the flags in byte 13.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const RESET_FLAG: u32 = 0x04;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_BITS, 0, 1, RESET_FLAG),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    match SockRef::from(wire.stream()).attach_filter(&program) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => false,
        attached => {
            attached.unwrap();
            true
        }
    }
}
