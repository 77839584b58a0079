//! The examples in other languages are games like any other, confined as any other is by default.

use std::fs::Permissions;
use std::path::Path;
use std::process::Command;

use client::GameSocket;
use tempfile::TempDir;
use testkit::{Muster, SOON, Setup, example};

/// The tutorial.
const FIRST_STEPS: &str = include_str!("../../docs/your-game.md");

/// The game's environment names no `PATH` and no home: the system's Python needs neither, nor does Node.
fn script(interpreter: &str, name: &str, keys: &str) -> Muster {
    let script = example(name);
    start(&[interpreter, script.to_str().unwrap()], keys)
}

/// Compiles an example, as its head says.
fn compiled(name: &str, directory: &Path, keys: &str) -> Muster {
    let program = directory.join("echo");
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Wextra", "-Werror", "-O2", "-o"]).arg(&program).arg(example(name));
    let status = compiler.status().unwrap();
    assert!(status.success(), "cc: {status}");
    start(&[program.to_str().unwrap()], keys)
}

fn start(command: &[&str], keys: &str) -> Muster {
    let timeouts = "ready_timeout = \"30s\"\nstart_timeout = \"30s\"\nstop_grace = \"30s\"";
    let keys = format!("players = 2\nwarm = 1\n{timeouts}\n{keys}");
    Setup::default().mode("echo", command, &keys).start()
}

fn enter(muster: &Muster) -> [GameSocket; 2] {
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("echo", name));
    let assigned = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    assigned.map(|assignment| GameSocket::enter(&assignment, SOON).unwrap())
}

fn plays_from_hello_to_result(muster: &Muster) {
    let mut players = enter(muster);
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
    muster.wait_until_idle("echo", 1);
}

/// A match of the mode must have `max_duration = "1s"`.
fn ends_with_a_result_when_stopped(muster: &Muster) {
    let _players = enter(muster);
    muster.log().wait_for(&["game stopping", "its time is over"]);
    muster.log().wait_for(&["match result match=1 ", "\"joined\":2"]);
    muster.log().wait_for(&["match stopped match=1 ", "exit status 0"]);
    muster.wait_until_idle("echo", 1);
}

const STOPPED: &str = "max_duration = \"1s\"";

#[test]
fn a_python_game_plays_a_match() {
    plays_from_hello_to_result(&script("/usr/bin/python3", "echo.py", ""));
}

#[test]
fn a_stopped_python_game_ends() {
    ends_with_a_result_when_stopped(&script("/usr/bin/python3", "echo.py", STOPPED));
}

#[test]
fn a_node_game_plays_a_match() {
    plays_from_hello_to_result(&script("node", "echo.js", ""));
}

#[test]
fn a_stopped_node_game_ends() {
    ends_with_a_result_when_stopped(&script("node", "echo.js", STOPPED));
}

#[test]
fn a_c_game_plays_a_match() {
    let directory = TempDir::new().unwrap();
    plays_from_hello_to_result(&compiled("echo.c", directory.path(), ""));
}

#[test]
fn a_stopped_c_game_ends() {
    let directory = TempDir::new().unwrap();
    ends_with_a_result_when_stopped(&compiled("echo.c", directory.path(), STOPPED));
}

/// The game that the page for newcomers builds is a whole one, as it stands there.
#[test]
fn the_first_steps_of_the_guide_work() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_, game) = FIRST_STEPS.split_once("```python\n").unwrap();
    let (game, _) = game.split_once("```").unwrap();
    let directory = TempDir::new().unwrap();
    // As the page says: the game is another user where Muster is root.
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("guess.py");
    std::fs::write(&file, game).unwrap();
    let muster = start(&["/usr/bin/python3", file.to_str().unwrap()], "");
    let [mut ada, mut bob] = enter(&muster);
    ada.ping("are you there", SOON).unwrap();
    bob.say("fifty");
    assert_eq!(bob.next_words(SOON).unwrap(), "A NUMBER PLEASE");
    let (mut low, mut high) = (1, 100);
    let received = loop {
        let guess = (low + high) / 2;
        ada.say(&guess.to_string());
        match ada.next_words(SOON).unwrap().as_str() {
            "HIGHER" => low = guess + 1,
            "LOWER" => high = guess - 1,
            received => break received.to_owned(),
        }
    };
    assert_eq!((received.as_str(), bob.next_words(SOON).unwrap().as_str()), ("WON ada", "WON ada"));
    muster.log().wait_for(&["match result match=1 ", "\"winner\":0"]);
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    muster.wait_until_idle("echo", 1);
}
