//! The example in another language is a game like any other.

use client::GameSocket;
use tests::{Muster, SOON, Setup, example};

fn python(keys: &str) -> Muster {
    let program = example("echo.py");
    let program = program.to_str().unwrap();
    // The game's environment names no `PATH` and no home: the system's Python needs neither.
    let timeouts = "ready_timeout = \"30s\"\nstart_timeout = \"30s\"\nstop_grace = \"30s\"";
    let keys = format!("players = 2\nwarm = 1\n{timeouts}\n{keys}");
    Setup::default().mode("echo", &["/usr/bin/python3", program], &keys).start()
}

fn enter(muster: &Muster) -> [GameSocket; 2] {
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("echo", name));
    let assigned = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    assigned.map(|assignment| GameSocket::enter(&assignment, SOON).unwrap())
}

#[test]
fn a_match_from_hello_to_result() {
    let muster = python("");
    let mut players = enter(&muster);
    for (slot, player) in players.iter_mut().enumerate() {
        player.ping("are you there", SOON).unwrap();
        player.say("words of mine");
        assert_eq!(player.next_words(SOON).unwrap(), "words of mine");
        muster.log().wait_for(&["player joined match=1", &format!("slot={slot}")]);
        player.bye(SOON).unwrap();
        muster.log().wait_for(&["player left match=1", &format!("slot={slot}")]);
    }
    muster.log().wait_for(&["match result match=1 ", "\"joined\":2"]);
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    muster.wait_until_calm("echo", 1);
}

#[test]
fn a_stop_ends_it_with_a_result() {
    let muster = python("max_duration = \"1s\"");
    let _players = enter(&muster);
    muster.log().wait_for(&["game stopping", "its time is over"]);
    muster.log().wait_for(&["match result match=1 ", "\"joined\":2"]);
    muster.log().wait_for(&["match stopped match=1 ", "exit status 0"]);
    muster.wait_until_calm("echo", 1);
}
