//! Clients whose time is over, and the good ones beside them.

use std::io::{ErrorKind, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use client::Assignment;
use socket2::Socket;
use testkit::{Muster, SOON, Setup, Wire, proc, wait_until};

/// Every deadline is short but the one that a test is not about.
const SHORT: &str = "[limits]
handshake_timeout = \"300ms\"
line_timeout = \"300ms\"
idle_timeout = \"300ms\"
write_timeout = \"300ms\"
lines_burst = 1000000
lines_per_second = 1000000
";

/// A 408, and then the end of the connection.
fn assert_timed_out(rest: &[String]) {
    let [line] = rest else { panic!("not a 408 alone: {rest:?}") };
    assert!(line.starts_with("ERR 408 TIMEOUT ") && line.contains(" retry_ms="), "{line}");
}

/// Whether there is a slot for a client, which gives it back at once.
fn is_admitted(muster: &Muster) -> bool {
    Wire::open(muster.address()).line().starts_with("MUSTER ")
}

/// Sends a line that has no end, a byte whenever there was no answer for a while, until there is one.
fn drip(wire: &mut Wire) -> Vec<String> {
    wire.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let answer = loop {
        wire.say("P");
        match wire.try_line() {
            Ok(line) => break line,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    };
    wire.stream().set_read_timeout(Some(SOON)).unwrap();
    answer.into_iter().chain(wire.rest()).collect()
}

/// New clients, each of which has already said something when Muster sees it: however slowly the test runs,
/// what they said was not late.
fn arrive<const COUNT: usize>(muster: &Muster, said: [&str; COUNT]) -> [Wire; COUNT] {
    let mut wires = muster.while_stopped(|| {
        said.map(|said| {
            let mut wire = Wire::open(muster.address());
            wire.say(said);
            wire
        })
    });
    for wire in &mut wires {
        assert!(wire.line().starts_with("MUSTER "));
    }
    wires
}

/// Faults row 2: clients that are silent, or send incomplete lines, are notified and closed, however they use their
/// time.
#[test]
fn silent_and_slow_clients_are_closed_at_the_deadline() {
    let muster = Setup::default().config(SHORT).duel("warm = 0").start();
    let [mut silent, mut half, mut blank, mut half_later, mut idle, mut dripping] =
        arrive(&muster, ["", "PING ha", "\n\n\r\n", "PING\nPIN", "PING\n", "PING "]);
    for wire in [&mut half_later, &mut idle] {
        assert_eq!(wire.line(), "PONG");
    }
    assert_timed_out(&drip(&mut dripping));
    for wire in [&mut silent, &mut half, &mut blank, &mut half_later, &mut idle] {
        assert_timed_out(&wire.rest());
    }
}

/// Faults row 2: a queued player has said what it wants and may be silent for good, but not in the middle of a line.
#[test]
fn a_queued_player_may_be_silent_but_must_finish_a_line() {
    let muster = Setup::default().config(SHORT);
    let muster = muster.mode("raid", &["muster-game", "echo"], "players = 9\nwarm = 0").start();
    let [mut patient, mut half, mut dripping] =
        arrive(&muster, ["READY\n", "READY\nLEA", "READY\n"]);
    for wire in [&mut patient, &mut half, &mut dripping] {
        assert!(wire.line().starts_with("QUEUED "));
    }
    assert_timed_out(&drip(&mut dripping));
    assert_timed_out(&half.rest());
    // Clients that came later and were idle have been closed, twice; queued players have not.
    for _ in 0..2 {
        let [mut idle] = arrive(&muster, ["PING\n"]);
        assert_eq!(idle.line(), "PONG");
        assert_timed_out(&idle.rest());
    }
    let [mut asking] = arrive(&muster, ["STATUS\n"]);
    assert_eq!(asking.line(), "STATUS queue=raid waiting=1 games=0 ports_free=8");
    assert_eq!(patient.ask("LEAVE\n"), "LEFT");
    // It is in no queue now, and idle like anybody.
    assert_timed_out(&patient.rest());
}

/// Faults row 2: a client that is blocked until it reads its answers has complete lines, however long it takes to read.
#[test]
fn complete_lines_in_the_buffer_are_not_an_unfinished_line() {
    const QUESTIONS: usize = 30_000;
    let limits = "[limits]\nline_timeout = \"200ms\"\nwrite_timeout = \"1h\"\nlines_burst = 100000";
    let muster = Setup::default().config(limits).duel("warm = 0").log("info").start();
    let mut greedy = Wire::greeted(muster.address());
    greedy.say("HELP\n".repeat(QUESTIONS));
    // Twice a client that came later is closed for an incomplete line.
    for _ in 0..2 {
        let mut half = Wire::greeted(muster.address());
        half.say("PI");
        assert_timed_out(&half.rest());
    }
    greedy.say("QUIT\n");
    let answers = greedy.rest();
    let lines_each = answers.len() / QUESTIONS;
    assert_eq!(answers.len(), QUESTIONS * lines_each + 1, "{:?}", answers.last());
    assert_eq!(answers.last().unwrap(), "BYE reason=quit");
}

/// Faults row 2: good clients are served while slow ones hold every other slot, and all slots come back.
#[test]
fn slow_clients_hold_their_slots_until_their_deadlines() {
    const SLOW: usize = 300;
    let limits = format!("{SHORT}clients = {}\n", SLOW + 2);
    let muster = Setup::default().config(&limits).duel("warm = 1").start();
    let said: [&str; SLOW + 2] = std::array::from_fn(|number| match number {
        SLOW.. => "READY\n",
        _ => ["", "PING", "\n", "PING\nPING"][number % 4],
    });
    let mut wires = arrive(&muster, said);
    let (slow, good) = wires.split_at_mut(SLOW);
    for player in good {
        assert!(player.rest().last().unwrap().starts_with("ASSIGN "));
    }
    for wire in slow {
        let rest = wire.rest();
        assert_timed_out(&rest[rest.len() - 1..]);
    }
    drop(wires);
    arrive(&muster, [""; SLOW + 2]);
}

/// Faults row 2: a client that received its last line and does not close is closed.
#[test]
fn a_client_that_does_not_close_is_closed() {
    let muster = Setup::default()
        .config(SHORT)
        .config("close_timeout = \"300ms\"\nclients = 1")
        .duel("warm = 0")
        .start();
    let mut wire = Wire::greeted(muster.address());
    wire.say("QUIT\n");
    assert_eq!(wire.rest(), ["BYE reason=quit"]);
    // `wire` is still open on this side. Its slot is free all the same.
    wait_until("the slot", || Wire::open(muster.address()).line().starts_with("MUSTER "));
    drop(wire);
}

/// Faults row 2: a client that closed its side before its last line was sent is not waited for.
#[test]
fn a_client_that_closed_first_is_not_waited_for() {
    let limits = "[limits]\nclients = 1\nclose_timeout = \"1h\"";
    let muster = Setup::default().config(limits).duel("warm = 0").start();
    for said in ["QUIT\n", "PING\n", "READY\n", "PING half a line"] {
        let mut wire = Wire::open(muster.address());
        muster.while_stopped(|| {
            wire.say(said);
            wire.shut_down();
        });
        wire.rest();
        wait_until("the slot", || is_admitted(&muster));
    }
}

/// Faults row 6: a client that sends requests and never reads is bounded, and then dropped; other clients are served.
#[test]
fn clients_that_never_read_are_bounded_and_dropped() {
    const CLIENTS: usize = 10;
    let muster = Setup::default().config(SHORT).duel("warm = 0").start();
    let before = proc::memory(muster.pid());
    let floods: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let small = |socket: &Socket| socket.set_recv_buffer_size(4096).unwrap();
            let mut wire = Wire::open_with(muster.address(), small);
            let lines = format!("PING {}\n", "x".repeat(500)).repeat(100);
            thread::spawn(move || while wire.try_say(&lines).is_ok() {})
        })
        .collect();
    let mut most = 0;
    wait_until("the end of all who never read", || {
        let [mut good] = arrive(&muster, ["PING\n"]);
        assert_eq!(good.line(), "PONG");
        most = proc::memory(muster.pid()).max(most);
        floods.iter().all(JoinHandle::is_finished)
    });
    for flood in floods {
        flood.join().unwrap();
    }
    // 64 KiB to write and 16 KiB that were read, for each, and room for the allocator.
    let grown = most.saturating_sub(before);
    assert!(grown < CLIENTS as u64 * (128 << 10) + (4 << 20), "grown by {grown} bytes");
}

/// Faults row 7: a client that floods lines, of any kind, delays no other client and uses no memory.
#[test]
fn a_flooding_client_does_not_delay_others() {
    let limits = "[limits]\nlines_burst = 1000000\nlines_per_second = 1000000";
    let muster = Setup::default().config(limits).duel("warm = 1").start();
    let before = proc::memory(muster.pid());
    let firehose = Firehose::start(&muster);
    let mut good = Wire::greeted(muster.address());
    let flooded = firehose.served();
    for number in 0..300 {
        assert_eq!(good.ask(format!("PING {number}\n")), format!("PONG {number}"));
    }
    // A whole match too, from its first line to the assignment.
    let [ada, bob] = ["ada", "bob"].map(|name| muster.join("duel", name));
    let assignments: Vec<Assignment> =
        [ada, bob].map(|mut player| player.assignment(SOON).unwrap()).into();
    assert_eq!(assignments[0].port, assignments[1].port);
    wait_until("a firehose that was served all the while", || firehose.served() > flooded + 10_000);
    let grown = proc::memory(muster.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "grown by {grown} bytes");
    firehose.stop();
}

/// Clients that send as many lines as they can, and read.
struct Firehose {
    state: Arc<FirehoseState>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct FirehoseState {
    served: AtomicUsize,
    stopped: AtomicBool,
}

impl Firehose {
    fn start(muster: &Muster) -> Self {
        let state = Arc::new(FirehoseState::default());
        let mut threads = Vec::new();
        for line in ["PING x\n", "STATUS\n", "\n", "READY\nLEAVE\n"] {
            let (state, address) = (state.clone(), muster.address().to_owned());
            threads.push(thread::spawn(move || {
                // A client that is too fast is disconnected, and reconnects.
                while !state.is_stopped() {
                    state.flood(Wire::open(&address), line);
                }
            }));
        }
        Self { state, threads }
    }

    /// How many answers the flood has had.
    fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

impl FirehoseState {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn flood(&self, mut wire: Wire, line: &str) {
        let mut writer = wire.stream().try_clone().unwrap();
        let lines = line.repeat(1_000);
        thread::scope(|scope| {
            scope.spawn(move || {
                while !self.is_stopped() && writer.write_all(lines.as_bytes()).is_ok() {}
                // Wakes the reader, whatever Muster does.
                let _ = writer.shutdown(Shutdown::Both);
            });
            while let Ok(Some(_)) = wire.try_line() {
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            let _ = wire.stream().shutdown(Shutdown::Both);
        });
    }
}
