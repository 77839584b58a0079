//! The main job: from READY over TCP to a finished game over UDP.

use std::process::{Child, Command, Stdio};

use testkit::{Log, Muster, Setup, binary, wait_for};

fn bot(muster: &Muster, name: &str) -> Child {
    Command::new(binary("muster-play"))
        .args([muster.address(), "--queue", "duel", "--name", name, "--bot"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_bots_play_a_match_and_the_port_is_free_again() {
    let muster = Setup::default().duel("warm = 1").start();
    for mut bot in [bot(&muster, "ada"), bot(&muster, "bob")] {
        let status = wait_for("the end of a bot", || bot.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
    let result = muster.log().wait_for(&["match result", "match=1"]);
    assert!(result.contains("\"moves\":["), "{result}");
    let ended = muster.log().wait_for(&["match finished", "match=1"]);
    assert!(ended.contains("exit status 0"), "{ended}");
    let assigned = muster.log().wait_for(&["match assigned", "match=1"]);
    let port = Log::field(&assigned, "port");
    muster.log().wait_for(&["port free", &format!("port={port}")]);
    muster.wait_until_idle("duel", 1);
}
