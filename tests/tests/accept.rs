//! Accepting connections: more clients than there are slots, and clients that connect and close at the same time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use testkit::{CpuComparison, Dice, Muster, Setup, Wire, proc, wait_until};

/// Whether a new client is admitted; if not, checks that it receives the reason before the connection is closed.
fn is_admitted(wire: &mut Wire) -> bool {
    let line = wire.line();
    if line.starts_with("MUSTER 1 ") {
        return true;
    }
    assert!(line.starts_with("ERR 429 TOO_MANY ") && line.contains(" retry_ms="), "{line}");
    assert_eq!(wire.rest(), [""; 0]);
    false
}

fn wait_until_admitted(muster: &Muster) -> Wire {
    testkit::wait_for("a slot", || {
        let mut wire = Wire::open(muster.address());
        is_admitted(&mut wire).then_some(wire)
    })
}

/// Changes how many descriptors a running daemon may have; gives what it was before.
fn limit_descriptors(muster: &Muster, count: u64) -> u64 {
    let pid = Pid::from_raw(muster.pid());
    let unchanged = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(count), maximum: unchanged };
    prlimit(pid, Resource::Nofile, limit).unwrap().current.unwrap()
}

/// The first descriptor that the daemon does not use, as a limit: with it there is none left.
fn descriptors_in_use(muster: &Muster) -> u64 {
    let used = proc::descriptors(muster.pid());
    (0..)
        .find(|number| !used.iter().any(|&other| i64::from(other) == *number))
        .unwrap()
        .unsigned_abs()
}

/// Faults row 1: more clients than descriptors: each is admitted or refused, none waits; when they leave, as many can
/// connect again.
#[test]
fn with_few_descriptors_every_client_is_admitted_or_refused() {
    let muster = Setup::default().ports(2).open_files(256).duel("warm = 1").start();
    let mut wires: Vec<Wire> = (0..600).map(|_| Wire::open(muster.address())).collect();
    let refused = wires.extract_if(.., |wire| !is_admitted(wire)).count();
    let admitted = wires.len();
    assert!(admitted >= 100 && refused >= 300, "{admitted} admitted, {refused} refused");
    CpuComparison::of(muster.pid()).assert_idle();
    // Players have the game that they were promised, with all slots taken.
    let mut players = wires.split_off(admitted - 2);
    for player in &mut players {
        player.say("READY\n");
    }
    for player in &mut players {
        assert!(player.rest().last().unwrap().starts_with("ASSIGN "));
    }
    drop((wires, players));
    let again: Vec<Wire> = (0..admitted).map(|_| wait_until_admitted(&muster)).collect();
    assert_eq!(again.len(), admitted);
}

/// Faults row 1: no descriptors are left. Each client is refused by means of the reserve; a client that leaves makes
/// room for another at once.
#[test]
fn without_descriptors_clients_are_refused_with_the_reserve() {
    let muster = Setup::default().duel("warm = 0").start();
    let mut inside: Vec<Wire> = (0..3).map(|_| Wire::greeted(muster.address())).collect();
    let before = limit_descriptors(&muster, descriptors_in_use(&muster));
    for _ in 0..50 {
        assert!(!is_admitted(&mut Wire::open(muster.address())));
    }
    // All at once, in one batch.
    let open = || (0..50).map(|_| Wire::open(muster.address())).collect::<Vec<_>>();
    let mut batch = muster.while_stopped(open);
    assert!(batch.iter_mut().all(|wire| !is_admitted(wire)));
    CpuComparison::of(muster.pid()).assert_idle();
    for wire in &mut inside {
        assert!(wire.is_open());
    }
    drop(inside.pop());
    let _new = wait_until_admitted(&muster);
    assert!(!is_admitted(&mut Wire::open(muster.address())));
    limit_descriptors(&muster, before);
    assert!(is_admitted(&mut Wire::open(muster.address())));
}

/// Faults row 1: not even the reserve can be reopened. Clients wait in the backlog, nothing spins, and all are served
/// when there is room again.
#[test]
fn without_a_reserve_clients_wait_and_are_served_later() {
    let muster = Setup::default().duel("warm = 0").start();
    let mut inside = Wire::greeted(muster.address());
    let before = limit_descriptors(&muster, 3);
    let mut waiting: Vec<Wire> = (0..20).map(|_| Wire::open(muster.address())).collect();
    muster.log().wait_for(&["cannot accept"]);
    CpuComparison::of(muster.pid()).assert_idle();
    assert!(inside.is_open());
    limit_descriptors(&muster, before);
    // Nothing else happens: the daemon has to retry by itself.
    for wire in &mut waiting {
        assert!(is_admitted(wire) && wire.is_open());
    }
    // The reserve is back as well.
    limit_descriptors(&muster, descriptors_in_use(&muster));
    assert!(!is_admitted(&mut Wire::open(muster.address())));
}

#[test]
fn the_total_of_clients_is_bounded_and_slots_are_reused() {
    let muster = Setup::default().config("[limits]\nclients = 3").duel("warm = 0").start();
    let mut inside: Vec<Wire> = (0..3).map(|_| Wire::greeted(muster.address())).collect();
    let mut refused = Wire::open(muster.address());
    refused.say("PING too early\n");
    assert!(!is_admitted(&mut refused));
    assert!(inside.iter_mut().all(Wire::is_open));
    inside.pop().unwrap().reset();
    wait_until_admitted(&muster);
}

/// Faults row 3: the cap of an address is the harm of that address alone.
#[test]
fn clients_of_one_address_are_bounded_without_effect_on_others() {
    let limits = "[limits]\nclients_per_address = 3\nclose_timeout = \"1h\"";
    let muster = Setup::default().config(limits).duel("warm = 0").start();
    let [many, other] = [2, 3].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
    let open = |address| Wire::open_from(address, muster.address());
    let mut inside: Vec<Wire> = (0..3).map(|_| open(many)).collect();
    assert!(inside.iter_mut().all(is_admitted));
    let mut refused: Vec<Wire> = (0..3).map(|_| open(many)).collect();
    assert!(!refused.iter_mut().any(is_admitted));
    assert!(is_admitted(&mut open(other)));
    // The refused clients do not close. They use no slots.
    let mut leaving = inside.pop().unwrap();
    leaving.say("QUIT\n");
    assert_eq!(leaving.rest(), ["BYE reason=quit"]);
    drop(leaving);
    wait_until("the slot that was freed", || is_admitted(&mut open(many)));
}

/// Faults row 3: a flood of connections from one address; a client from another comes in and is answered.
#[test]
fn a_flood_of_connections_does_not_block_others() {
    let limits = "[limits]\nclients_per_address = 10";
    let muster = Setup::default().config(limits).duel("warm = 0").log("info").start();
    let flood_is_over = AtomicBool::new(false);
    let flooder = IpAddr::from(Ipv4Addr::new(127, 0, 0, 66));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut open = Vec::new();
                while !flood_is_over.load(Ordering::Relaxed) {
                    open.push(Wire::open_from(flooder, muster.address()));
                    if open.len() > 30 {
                        open.drain(..).for_each(Wire::reset);
                    }
                }
            });
        }
        let mut good = Wire::greeted(muster.address());
        for number in 0..50 {
            assert_eq!(good.ask(format!("PING {number}\n")), format!("PONG {number}"));
            assert!(Wire::greeted(muster.address()).is_open());
        }
        flood_is_over.store(true, Ordering::Relaxed);
    });
}

/// The action of an old client while new ones connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Stay,
    Quit,
    ShutDown,
    Close,
    Reset,
}

/// Faults row 11: old clients send, close and reset, and new ones connect, all in one batch of events. Descriptors and
/// slots are reused at once, and no client receives what is meant for another.
#[test]
fn events_of_closed_connections_do_not_reach_new_ones() {
    let muster =
        Setup::default().mode("raid", &["muster-game", "echo"], "players = 100\nwarm = 0").start();
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let deeds = [Deed::Stay, Deed::Quit, Deed::ShutDown, Deed::Close, Deed::Reset];
        let old =
            (0..40).map(|number| (number, Wire::greeted(muster.address()), dice.one_of(&deeds)));
        let mut old: Vec<_> = old.collect();
        for (_, wire, _) in &mut old {
            assert!(wire.ask("READY\n").starts_with("QUEUED "));
        }
        dice.shuffle(&mut old);
        let (stayed, mut new) = muster.while_stopped(|| in_one_batch(&muster, old));
        for (number, mut wire, deed) in stayed {
            assert_eq!(wire.line(), format!("PONG old-{number}"), "seed {seed}");
            match deed {
                Deed::Quit => assert_eq!(wire.rest(), ["BYE reason=quit"], "seed {seed}"),
                Deed::ShutDown => assert_eq!(wire.rest(), [""; 0], "seed {seed}"),
                Deed::Stay | Deed::Close | Deed::Reset => assert!(wire.is_open(), "seed {seed}"),
            }
        }
        for (number, wire) in new.iter_mut().enumerate() {
            assert!(wire.line().starts_with("MUSTER 1 "), "seed {seed}");
            assert_eq!(wire.line(), format!("PONG new-{number}"), "seed {seed}");
            assert!(wire.line().starts_with("QUEUED "), "seed {seed}");
            assert_eq!(wire.ask("LEAVE\n"), "LEFT", "seed {seed}");
        }
        drop(new);
        wait_until("an empty queue", || muster.status("raid").0 == 0);
    }
}

type OldClient = (usize, Wire, Deed);

/// Does all deeds of the old clients, each of which is followed by a new client. Gives the old ones that still
/// listen, and the new ones.
fn in_one_batch(muster: &Muster, old: Vec<OldClient>) -> (Vec<OldClient>, Vec<Wire>) {
    let (mut stayed, mut new) = (Vec::new(), Vec::new());
    for (number, mut wire, deed) in old {
        wire.say(format!("PING old-{number}\n"));
        match deed {
            Deed::Stay => stayed.push((number, wire, deed)),
            Deed::Quit => {
                wire.say("QUIT\nPING never\n");
                stayed.push((number, wire, deed));
            }
            Deed::ShutDown => {
                wire.shut_down();
                stayed.push((number, wire, deed));
            }
            Deed::Close => drop(wire),
            Deed::Reset => wire.reset(),
        }
        let mut came = Wire::open(muster.address());
        came.say(format!("PING new-{}\nREADY\n", new.len()));
        new.push(came);
    }
    (stayed, new)
}
