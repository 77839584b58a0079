//! A game that breaks the rules, in the way that its first argument names. Only for tests.
//!
//! With `until FILE` before the way, it does so only as long as the file is not there: a test that has seen
//! enough makes the file, and the next game is an honest `echo`.

#![forbid(unsafe_code)]

mod contract;
mod leftovers;
mod probes;
mod stubborn;
mod tardy;
mod template;
mod words;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["until", file, ..] if Path::new(file).exists() => become_honest(),
        ["until", _, ref way @ ..] => misbehave(way),
        ref way => misbehave(way),
    }
}

fn misbehave(way: &[&str]) {
    match *way {
        ["never-ready"] => tardy::never_ready(),
        ["never-started"] => tardy::never_started(),
        ["too-late", word] => tardy::too_late(word),
        ["heart-stops"] => tardy::heart_stops(),
        ["needs-memory", bytes] => tardy::needs_memory(bytes.parse().unwrap()),

        ["stubborn"] => stubborn::ignore_all(),
        ["stopped", when] => stubborn::stop_itself(when),

        ["leaves-group"] => stubborn::leave_group(),
        ["traced"] => leftovers::be_traced(),
        ["leaves", what] => leftovers::leave(what),
        ["leaves-fleeing"] => leftovers::leave_fleeing(),
        ["leftover", ref what @ ..] => leftovers::stay(what),
        ["keeps-helper"] => leftovers::keep_helper(),
        ["digs", depth] => leftovers::dig(depth.parse().unwrap()),

        ["result", end] => words::end_with_result(end),
        ["says", what] => words::say(what),
        ["prints"] => words::print_hostile_bytes(),
        ["floods", channel] => words::flood(channel),
        ["deaf"] => words::never_listen(),
        ["hangs-up"] => words::hang_up(),

        ["template", ref way @ ..] => template::betray(way),

        ["probes"] => probes::answer(),
        ["executed"] => println!("executed"),
        ["bombs"] => probes::greed::bomb(),
        ["bomb", generations] => probes::greed::explode(generations.parse().unwrap()),
        ["leaves-hydra"] => probes::greed::leave_hydra(),
        ["template-probes", orders] => template::probe_from_a_fork(Path::new(orders)),
        ["leaves-fugitives"] => probes::greed::leave_fugitives(),
        ["flees", until] => probes::greed::flee(until.parse().unwrap()),
        ["hogs"] => probes::greed::hog(),

        _ => panic!("no such way to misbehave: {way:?}"),
    }
}

fn become_honest() {
    let beside = std::env::current_exe().unwrap().with_file_name("muster-game");
    panic!("{}", Command::new(beside).arg("echo").exec());
}
