//! Parties, teams, skill, wait limits and backfill: with real sockets.

use client::{Assignment, GameSocket, Lobby};
use protocol::{Member, Reply, Request};
use testkit::{Muster, SOON, Setup};

/// The next reply that is of the kind that is looked for.
fn wait_for<T>(lobby: &mut Lobby, mut what: impl FnMut(Reply) -> Option<T>) -> T {
    loop {
        if let Some(found) = what(lobby.next_reply(SOON).unwrap()) {
            return found;
        }
    }
}

fn error(lobby: &mut Lobby) -> u16 {
    wait_for(lobby, |reply| match reply {
        Reply::Error { number, .. } => Some(number),
        _ => None,
    })
}

fn party(lobby: &mut Lobby, size: usize) -> String {
    wait_for(lobby, |reply| match reply {
        Reply::Party { code, size: actual } if actual == size => Some(code),
        _ => None,
    })
}

/// A party of `size` players, the first member first.
fn gathered(muster: &Muster, size: usize) -> Vec<Lobby> {
    let mut first = muster.connect();
    first.send(&Request::CreateParty(Member::default())).unwrap();
    let code = party(&mut first, 1);
    let mut lobbies = vec![first];
    for joined in 2..=size {
        let mut lobby = muster.connect();
        let code = code.to_ascii_lowercase();
        lobby.send(&Request::JoinParty { code, member: Member::default() }).unwrap();
        lobbies.push(lobby);
        lobbies.iter_mut().for_each(|lobby| drop(party(lobby, joined)));
    }
    lobbies
}

fn queued(lobby: &mut Lobby) {
    wait_for(lobby, |reply| matches!(reply, Reply::Queued { .. }).then_some(()));
}

#[test]
fn a_party_plays_in_one_team() {
    let keys = "teams = [[2], [2]]\nparty_max = 2\nwarm = 0";
    let muster = Setup::default().mode("teams", &["muster-game", "echo"], keys).start();
    let mut alone = muster.join("teams", "cid");
    let mut pair = gathered(&muster, 2);
    pair[0].send(&Request::ReadyParty { queue: None }).unwrap();
    pair.iter_mut().for_each(queued);
    let mut other = muster.join("teams", "dan");
    let slots: Vec<usize> =
        pair.iter_mut().map(|lobby| lobby.assignment(SOON).unwrap().slot).collect();
    assert_eq!(slots[0] / 2, slots[1] / 2, "{slots:?}");
    let others = [&mut alone, &mut other].map(|lobby| lobby.assignment(SOON).unwrap().slot);
    assert_eq!(others[0] / 2, others[1] / 2, "{others:?}");
}

#[test]
fn invalid_party_requests_are_refused() {
    let keys = "players = 4\nparty_max = 2\nwarm = 0";
    let muster = Setup::default().mode("four", &["muster-game", "echo"], keys).start();
    let mut lobby = muster.connect();
    for (line, number) in [
        ("PARTY\n", 502),
        ("PARTY leave\n", 503),
        ("PARTY join NOSUCH\n", 506),
        ("READY party\n", 503),
        ("PARTY join\n", 501),
    ] {
        lobby.send_raw(line.as_bytes()).unwrap();
        assert_eq!(error(&mut lobby), number, "{line}");
    }
    let mut three = gathered(&muster, 3);
    three[0].send(&Request::ReadyParty { queue: None }).unwrap();
    assert_eq!(error(&mut three[0]), 506, "too large");
    three[1].send(&Request::ReadyParty { queue: None }).unwrap();
    assert_eq!(error(&mut three[1]), 503, "not the first");
    three[2].send(&Request::LeaveParty).unwrap();
    wait_for(&mut three[2], |reply| (reply == Reply::Left).then_some(()));
    party(&mut three[0], 2);
    three[0].send(&Request::ReadyParty { queue: None }).unwrap();
    three[..2].iter_mut().for_each(queued);
    // One leaves, and the other is notified.
    three[1].send(&Request::Leave).unwrap();
    let reason = wait_for(&mut three[0], |reply| match reply {
        Reply::Evicted { reason } => Some(reason),
        _ => None,
    });
    assert_eq!(reason, "party");
}

#[test]
fn skill_counts_from_a_trusted_front_only() {
    let keys = "players = 2\nwarm = 0\n[mode.skill]\nwindow = 100\nwiden_by = 0\nwindow_max = 100";
    let trusted = "[limits]\nskill_from = [\"127.0.0.1\"]";
    let ready = |muster: &Muster, skill| {
        let mut lobby = muster.connect();
        let skill = Some(skill);
        lobby.send(&Request::Ready { queue: None, name: None, skill, resume: None }).unwrap();
        queued(&mut lobby);
        lobby
    };
    let setup = || Setup::default().mode("duel", &["muster-game", "echo"], keys);
    let muster = setup().config(trusted).start();
    let mut players = [1_000, 1_500, 1_050].map(|skill| ready(&muster, skill));
    let match_of = |lobby: &mut Lobby| lobby.assignment(SOON).unwrap().match_id;
    assert_eq!(match_of(&mut players[0]), match_of(&mut players[2]));
    assert_eq!(muster.status("duel").0, 1);
    // From anybody else it is only a word.
    let muster = setup().start();
    let mut players = [1_000, 1_500].map(|skill| ready(&muster, skill));
    assert_eq!(match_of(&mut players[0]), match_of(&mut players[1]));
}

#[test]
fn a_player_who_waits_too_long_is_notified_and_may_queue_again() {
    let keys = "players = 2\nwarm = 0\nmax_wait = \"100ms\"\nrounds = 2";
    let muster = Setup::default().mode("duel", &["muster-game", "echo"], keys).start();
    let mut lobby = muster.join("duel", "ada");
    for wanted in [1, 2] {
        let (waited, round) = wait_for(&mut lobby, |reply| match reply {
            Reply::Expired { waited_ms, round, rounds: 2 } => Some((waited_ms, round)),
            _ => None,
        });
        assert!(round == wanted && waited >= 100 * u64::from(round), "{waited} ms, {round}");
    }
    lobby.join(None, None, SOON).unwrap();
}

#[test]
fn a_player_joins_a_running_game() {
    let keys = "players = 2\nwarm = 0";
    let command = ["muster-game", "echo", "--backfill", "on"];
    let muster = Setup::default().mode("echo", &command, keys).start();
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("echo", name));
    let assigned: Vec<Assignment> =
        lobbies.iter_mut().map(|lobby| lobby.assignment(SOON).unwrap()).collect();
    let mut players: Vec<GameSocket> =
        assigned.iter().map(|it| GameSocket::enter(it, SOON).unwrap()).collect();
    let mut gone = players.pop().unwrap();
    gone.bye(SOON).unwrap();
    let mut third = muster.join("echo", "cid");
    let filled = third.assignment(SOON).unwrap();
    let place = |it: &Assignment| (it.match_id.clone(), it.port, it.slot);
    assert_eq!(place(&filled), place(&assigned[1]));
    assert_ne!(filled.token, assigned[1].token);
    let entered = GameSocket::enter(&filled, SOON);
    assert!(entered.is_ok(), "{entered:?}");
    muster.log().wait_for(&["match backfilled match=1", "slots=1"]);
}
