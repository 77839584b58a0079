//! Matching players, and starting games for matches: in order, whoever leaves meanwhile and however few ports there
//! are.

use std::io::ErrorKind;
use std::time::Duration;

use client::{GameSocket, Lobby};
use protocol::{Reply, Request};
use testkit::{CpuComparison, Dice, Log, Muster, SOON, Setup, Wire, wait_until};

/// How a player goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Leave,
    Quit,
    ShutDown,
    Close,
    Reset,
}

const WAYS: [Way; 5] = [Way::Leave, Way::Quit, Way::ShutDown, Way::Close, Way::Reset];

/// Lets a player go. What is given back is to be kept by the caller: a connection that is still open.
fn go(mut player: Wire, way: Way) -> Option<Wire> {
    match way {
        Way::Leave => {
            player.say("LEAVE\n");
            while player.line() != "LEFT" {}
            return Some(player);
        }
        Way::Quit => player.say("QUIT\n"),
        Way::ShutDown => {
            player.shut_down();
            return Some(player);
        }
        Way::Close => {}
        Way::Reset => player.reset(),
    }
    None
}

/// A player who has joined, and the QUEUED line.
fn join(muster: &Muster, queue: &str) -> Wire {
    let mut wire = Wire::greeted(muster.address());
    let queued = wire.ask(format!("READY queue={queue}\n"));
    assert!(queued.starts_with(&format!("QUEUED queue={queue} ")), "{queued}");
    wire
}

/// Reads up to the first line that begins so.
fn hear(player: &mut Wire, start: &str) -> String {
    loop {
        let line = player.line();
        if line.starts_with(start) {
            return line;
        }
        assert!(!line.starts_with("ASSIGN ") && !line.starts_with("ERR "), "{line}, not {start}");
    }
}

/// Reads up to the assignment: the match, and the slot in it.
fn assigned(player: &mut Wire) -> (u64, usize) {
    let line = hear(player, "ASSIGN ");
    assert_eq!(player.rest(), [""; 0], "ASSIGN is not the last line");
    let number = |key| Log::field(&line, key).parse::<u64>().unwrap();
    (number("match"), usize::try_from(number("slot")).unwrap())
}

/// Fails unless two players are assigned together, in the order in which they joined.
fn assert_together(players: [&mut Wire; 2]) {
    let [(first, 0), (second, 1)] = players.map(assigned) else { panic!("not in order") };
    assert_eq!(first, second);
}

/// The one port of a ring of one.
fn port(muster: &Muster) -> u16 {
    *muster.ports().start()
}

/// A daemon with one port, which a running game holds until its string is pulled.
fn with_the_port_taken() -> Muster {
    let muster = Setup::default().ports(1).puppet("duel", &[], "players = 2\nwarm = 0").start();
    for mut player in [join(&muster, "duel"), join(&muster, "duel")] {
        assert_eq!(assigned(&mut player).0, 1);
    }
    muster
}

/// Faults row 12: a waiting player leaves; the others are matched in order, without them.
#[test]
fn a_player_who_leaves_the_queue_is_not_matched() {
    let muster = Setup::default().puppet("raid", &[], "players = 3\nwarm = 1").start();
    for (match_id, way) in (1..).zip(WAYS) {
        let (mut ada, bob) = (join(&muster, "raid"), join(&muster, "raid"));
        let _open = go(bob, way);
        wait_until("the way out", || muster.status("raid").0 == 1);
        let (mut cy, mut dan) = (join(&muster, "raid"), join(&muster, "raid"));
        let assignments = [&mut ada, &mut cy, &mut dan].map(assigned);
        assert_eq!(assignments, [(match_id, 0), (match_id, 1), (match_id, 2)], "{way:?}");
    }
}

/// Faults row 12: a player of a match that waits for a port leaves; the other one returns to the old position, before
/// all later players, even those in waiting matches, and is notified. Faults row 30: matches wait in order, without
/// spinning, and continue when the port is released.
#[test]
fn leaving_a_waiting_match_requeues_the_others() {
    for way in WAYS {
        let muster = with_the_port_taken();
        let [mut ada, bob, mut cy, mut dan] = [(); 4].map(|()| join(&muster, "duel"));
        for player in [&mut ada, &mut cy, &mut dan] {
            hear(player, "WAITING queue=duel reason=no-port");
        }
        CpuComparison::of(muster.pid()).assert_idle();
        let _open = go(bob, way);
        assert_eq!(hear(&mut ada, "REQUEUED "), "REQUEUED queue=duel position=1");
        let mut eve = join(&muster, "duel");
        hear(&mut ada, "WAITING queue=duel reason=no-port");
        muster.order(port(&muster), "exit 0");
        // The first players play first, with their original partners.
        assert_together([&mut ada, &mut cy]);
        assert_eq!(muster.status("duel"), (2, 1, 0));
        muster.order(port(&muster), "exit 0");
        assert_together([&mut dan, &mut eve]);
    }
}

/// Faults row 12: one of a match whose game was sent its players goes before the game has started. The other is matched
/// with the next in line, in another game, and keeps its place before all others.
#[test]
fn leaving_a_starting_match_requeues_the_others() {
    let keys = "players = 2\nwarm = 0\nstart_timeout = \"1m\"";
    for way in WAYS {
        let muster = Setup::default().ports(1).puppet("duel", &["held"], keys).start();
        let [ada, mut bob, mut cy, mut dan] = [(); 4].map(|()| join(&muster, "duel"));
        muster.log().wait_for(&["output game=1 ", "received ", "\"start\""]);
        let _open = go(ada, way);
        assert_eq!(hear(&mut bob, "REQUEUED "), "REQUEUED queue=duel position=1");
        let mut eve = join(&muster, "duel");
        for (game, pair) in [("game=2 ", [&mut bob, &mut cy]), ("game=3 ", [&mut dan, &mut eve])] {
            muster.log().wait_for(&["output ", game, "received ", "\"start\""]);
            muster.order(port(&muster), "say {\"type\":\"started\"}");
            assert_together(pair);
            muster.order(port(&muster), "exit 0");
        }
        muster.wait_until_idle("duel", 0);
    }
}

/// Faults row 12: after the assignment a lost connection does not matter: the match continues.
#[test]
fn a_player_who_disconnects_after_the_assignment_stays_in_the_match() {
    let muster = Setup::default().duel("warm = 1").start();
    let assignments = [muster.join("duel", "ada"), muster.join("duel", "bob")].map(|mut lobby| {
        let assignment = lobby.assignment(SOON).unwrap();
        socket2::SockRef::from(lobby.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        assignment
    });
    for assignment in &assignments {
        GameSocket::enter(assignment, SOON).unwrap();
    }
}

/// Faults row 13: hundreds of players send READY and disconnect before Muster has read it, among others who stay.
/// Players who stay are matched with each other.
#[test]
fn players_do_not_wait_for_disconnected_players() {
    let muster = Setup::default()
        // All players have one address, and none plays.
        .config("[limits]\nseats_per_address = 0")
        .mode("duel", &["muster-game", "echo"], "warm = 2\nhello_timeout = \"20ms\"")
        .log("info")
        .start();
    for seed in 0..5 {
        let mut dice = Dice::new(seed);
        let mut honest = Vec::new();
        let ghost = |_: usize| {
            let mut wire = Wire::open(muster.address());
            wire.say("READY name=ghost\n");
            wire.reset();
        };
        for _ in 0..10 {
            let before: Vec<Wire> = (0..dice.below(4)).map(|_| join(&muster, "duel")).collect();
            honest.extend(before);
            muster.while_stopped(|| (0..dice.below(20)).for_each(ghost));
        }
        if honest.len() % 2 == 1 {
            honest.push(join(&muster, "duel"));
        }
        assert_paired(&mut honest);
    }
    muster.wait_until_idle("duel", 2);
}

/// Fails unless every player is assigned, each with one other of them.
fn assert_paired(players: &mut [Wire]) {
    let mut assignments: Vec<_> = players.iter_mut().map(assigned).collect();
    assignments.sort_unstable();
    for pair in assignments.chunks(2) {
        let [(match_id, 0), (other, 1)] = pair else { panic!("{assignments:?}") };
        assert_eq!(match_id, other, "{assignments:?}");
    }
}

/// Faults rows 12 and 13: players join and leave in every way at every moment; players who stay are assigned with
/// others who stayed, and nothing is left at the end.
#[test]
fn players_who_stay_are_assigned_whatever_others_do() {
    for seed in 0..6 {
        let muster = Setup::default()
            .ports(2)
            // All players have one address, and none plays.
            .config("[limits]\nseats_per_address = 0")
            .mode("duel", &["muster-game", "echo"], "warm = 1\nhello_timeout = \"10ms\"")
            .log("info")
            .start();
        let mut dice = Dice::new(seed);
        let (mut staying, mut going, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..80 {
            match dice.below(3) {
                0 => staying.push(join(&muster, "duel")),
                1 => going.push(join(&muster, "duel")),
                _ if going.is_empty() => {}
                _ => {
                    let player = going.swap_remove(dice.below(going.len()));
                    open.extend(go_or_be_assigned(player, dice.one_of(&WAYS)));
                }
            }
        }
        // The leaving players have left before the number of staying ones is made even.
        for player in going {
            open.extend(go_or_be_assigned(player, dice.one_of(&WAYS)));
        }
        let mut last = Wire::greeted(muster.address());
        assert!(last.is_open());
        for mut player in staying {
            // A partner for the last one, should it be alone; several may wait for one at the end.
            wait_until_assigned(&muster, &mut player, &mut open);
        }
        drop(open);
        wait_until("an empty queue", || muster.status("duel").0 == 0);
    }
}

/// Lets a player go that may have been assigned meanwhile.
fn go_or_be_assigned(mut player: Wire, way: Way) -> Option<Wire> {
    if let Way::Leave = way {
        player.say("LEAVE\n");
        let said = std::iter::from_fn(|| player.try_line().unwrap());
        let end = said.into_iter().find(|line| line == "LEFT" || line.starts_with("ASSIGN "));
        assert!(end.is_some(), "neither left nor assigned");
        return Some(player);
    }
    go(player, way)
}

/// Waits for a player's assignment; a partner comes in when it is the only one in the queue.
fn wait_until_assigned(muster: &Muster, player: &mut Wire, open: &mut Vec<Wire>) {
    player.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    wait_until("an assignment", || match player.try_line() {
        Ok(Some(line)) if line.starts_with("ASSIGN ") => true,
        Ok(Some(line)) => {
            assert!(!line.starts_with("ERR "), "{line}");
            false
        }
        Ok(None) => panic!("the end without an assignment"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if muster.status("duel").0 == 1 {
                open.push(join(muster, "duel"));
            }
            false
        }
        Err(error) => panic!("{error}"),
    });
}

/// A hundred players, fifty matches, five ports: all are served in the order in which they came.
#[test]
fn a_hundred_players_share_five_ports_in_order() {
    let muster =
        Setup::default().ports(5).mode("duel", &["muster-game", "echo"], "warm = 1").start();
    let mut players: Vec<Lobby> =
        (0..100).map(|number| muster.join("duel", &format!("player {number}"))).collect();
    for (number, pair) in players.chunks_mut(2).enumerate() {
        let games = pair.iter_mut().enumerate().map(|(slot, player)| {
            let assignment = player.assignment(SOON).unwrap();
            let place = (assignment.match_id.as_str(), assignment.slot);
            assert_eq!(place, ((number + 1).to_string().as_str(), slot));
            assert!(muster.ports().contains(&assignment.port));
            GameSocket::enter(&assignment, SOON).unwrap()
        });
        let games: Vec<GameSocket> = games.collect();
        for mut game in games {
            game.bye(SOON).unwrap();
        }
    }
    let ended = muster.log().wait_for_count(50, &["match finished", "exit status 0"]);
    assert_eq!(ended.len(), 50);
    let assigned = muster.log().lines_with(&["match assigned"]);
    for (before, line) in assigned.iter().enumerate() {
        // Five games may say that they started in any order; the sixth waits for a port.
        let match_id: usize = Log::field(line, "match").parse().unwrap();
        assert!(match_id <= before + 5, "match {match_id} was assigned after {before} others");
    }
    wait_until("every port back", || muster.status("duel") == (0, 1, 4));
}

/// Faults row 30: with all ports in use, all players are notified, and the first match is served as soon as a port is
/// released.
#[test]
fn the_first_in_the_queue_gets_the_freed_port() {
    let muster = Setup::default().ports(2).puppet("duel", &[], "players = 2\nwarm = 0").start();
    let mut running = [(); 4].map(|()| join(&muster, "duel"));
    for player in &mut running {
        assigned(player);
    }
    let mut line = [(); 6].map(|()| join(&muster, "duel"));
    for player in &mut line {
        let reported = hear(player, "WAITING ");
        assert!(reported.starts_with("WAITING queue=duel reason=no-port ahead="), "{reported}");
    }
    let ports: Vec<u16> = muster.ports().collect();
    for (pair, turn) in line.chunks_mut(2).zip(0..) {
        muster.order(ports[turn % 2], "exit 0");
        let [ada, bob] = pair else { panic!("not a pair") };
        // The player receives WAITING for a starting game, and then ASSIGN.
        assert_eq!(hear(ada, "WAITING "), "WAITING queue=duel reason=game-starting");
        let line = hear(ada, "ASSIGN ");
        assert_eq!(Log::field(&line, "port"), ports[turn % 2].to_string());
        assert_eq!(assigned(bob), (turn as u64 + 3, 1));
        // No other player was served: both ports are in use again.
        assert_eq!(muster.status("duel").0, 4 - 2 * turn);
    }
}

/// Two modes side by side take nothing from each other, though their players come mixed.
#[test]
fn two_modes_form_their_own_matches() {
    let muster = Setup::default()
        .puppet("duel", &[], "players = 2\nwarm = 1")
        .puppet("raid", &[], "players = 3\nwarm = 0")
        .start();
    let mut players: Vec<(usize, Lobby)> = (0..12)
        .map(|number| {
            let (size, queue) = if number % 2 == 0 { (3, "raid") } else { (2, "duel") };
            (size, muster.join(queue, "x"))
        })
        .collect();
    for (size, player) in &mut players {
        let assignment = player.assignment(SOON).unwrap();
        assert_eq!(assignment.players, *size);
    }
    assert_eq!(muster.log().wait_for_count(3, &["match assigned", "mode=duel"]).len(), 3);
    assert_eq!(muster.log().wait_for_count(2, &["match assigned", "mode=raid"]).len(), 2);
}

/// A warm game that is not needed gives its port to a mode with waiting players.
#[test]
fn a_warm_game_is_stopped_for_players_of_another_mode() {
    let muster = Setup::default()
        .ports(1)
        .puppet("duel", &[], "players = 2\nwarm = 1")
        .puppet("raid", &[], "players = 3\nwarm = 0")
        .start();
    muster.log().wait_for(&["game ready", "mode=duel"]);
    let mut raiders = [(); 3].map(|()| join(&muster, "raid"));
    for raider in &mut raiders {
        assigned(raider);
    }
    assert_eq!(muster.status("duel"), (0, 0, 0));
    muster.order(port(&muster), "exit 0");
    // And back again, when the raid is over.
    wait_until("a warm duel", || muster.status("duel") == (0, 1, 0));
}

#[test]
fn status_counts_waiting_players_only() {
    let muster = with_the_port_taken();
    assert_eq!(muster.status("duel"), (0, 1, 0));
    let mut lobby = muster.join("duel", "ada");
    assert_eq!(muster.status("duel"), (1, 1, 0));
    let bob = muster.join("duel", "bob");
    assert_eq!(muster.status("duel"), (2, 1, 0));
    lobby.send(&Request::Leave).unwrap();
    while lobby.next_reply(SOON).unwrap() != Reply::Left {}
    assert_eq!(muster.status("duel"), (1, 1, 0));
    drop(bob);
    wait_until("an empty queue", || muster.status("duel") == (0, 1, 0));
}
