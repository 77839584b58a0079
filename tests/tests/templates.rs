//! Games that a template forks: they are games like any other, whatever happens to the template; and a template that
//! violates the contract costs its mode's players time, and other players nothing.

use std::process::Command;

use client::{Assignment, GameSocket};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::WaitReason;
use testkit::{FaultToggle, Log, Muster, SOON, Setup, proc, wait_for_reason, wait_until};

/// A mode for two, whose games come from a template.
fn pairs(keys: &str) -> Setup {
    let keys = format!("players = 2\ntemplate = true\n{keys}");
    Setup::default().mode("pair", &["muster-game", "echo"], &keys)
}

/// A pair of assigned players.
fn assigned(muster: &Muster) -> [Assignment; 2] {
    let lobbies = ["ada", "bob"].map(|name| muster.join("pair", name));
    lobbies.map(|mut lobby| lobby.assignment(SOON).unwrap())
}

fn enter(assigned: [Assignment; 2]) -> [GameSocket; 2] {
    assigned.map(|assignment| GameSocket::enter(&assignment, SOON).unwrap())
}

/// Plays a match to its end.
fn play([mut ada, mut bob]: [GameSocket; 2]) {
    ada.say("words");
    assert_eq!(ada.next_words(SOON).unwrap(), "words");
    bob.ping("x", SOON).unwrap();
    ada.bye(SOON).unwrap();
    bob.bye(SOON).unwrap();
}

/// The file that a process prints to.
fn output_of(pid: i32) -> String {
    format!("/proc/{pid}/fd/1")
}

/// The pid of the template with this sequence number.
fn template(muster: &Muster, number: usize) -> i32 {
    let lines = muster.log().wait_for_count(number, &["template started"]);
    pid(&lines[number - 1])
}

fn pid(line: &str) -> i32 {
    Log::field(line, "pid").trim_end_matches(':').parse().unwrap()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn no_match_was_harmed(muster: &Muster) {
    for bad in ["game failed", "port busy", "match stopped", "the launcher is gone"] {
        assert_eq!(muster.log().lines_with(&[bad]), [""; 0]);
    }
}

// ---- Templates that do what they should ----

/// A reload restarts the templates in use, and ends those of removed modes; their games continue.
#[test]
fn a_removed_mode_leaves_no_template() {
    let other = "[[mode]]\nname = \"other\"\ncommand = [\"muster-game\", \"echo\"]\nwarm = 0\n";
    let muster = pairs("warm = 0").config(&format!("{other}template = true")).start();
    let games = enter(assigned(&muster));
    let old = template(&muster, 1);
    muster.configure(&format!("{other}template = true"));
    for _ in 0..2 {
        muster.operate(&["reload"]).unwrap();
        muster.log().wait_for(&["template ended mode=pair", &format!("pid={old} ")]);
    }
    play(games);
    let lobbies = ["ada", "bob"].map(|name| muster.join("other", name));
    play(enter(lobbies.map(|mut lobby| lobby.assignment(SOON).unwrap())));
    let started = muster.log().lines_with(&["template started"]);
    assert_eq!(started.iter().filter(|line| line.contains("mode=pair")).count(), 1, "{started:?}");
    no_match_was_harmed(&muster);
}

/// How long it may take to load is no part of what a template is.
#[test]
fn a_changed_load_timeout_applies_to_the_next_template() {
    let mode = |time: &str| {
        format!(
            "[[mode]]\nname = \"pair\"\ncommand = [\"muster-game\", \"echo\"]\nplayers = 2\n\
             warm = 1\ntemplate = true\nready_timeout = \"{time}\"\n"
        )
    };
    let muster = Setup::default().config(&mode("5s")).start();
    muster.log().wait_for(&["game ready"]);
    let (launcher, old) = (muster.launcher(), template(&muster, 1));
    muster.configure(&mode("7s"));
    assert!(muster.operate(&["reload"]).unwrap().contains("pair changed"));
    muster.log().wait_for(&["template ended mode=pair", &format!("pid={old} ")]);
    assert_ne!(template(&muster, 2), old);
    play(enter(assigned(&muster)));
    assert_eq!(muster.launcher(), launcher);
    assert_eq!(muster.log().lines_with(&["game stopping"]), [""; 0]);
    no_match_was_harmed(&muster);
}

#[test]
fn matches_are_played_under_full_confinement() {
    whole_matches("");
}

#[test]
fn matches_are_played_under_default_confinement() {
    whole_matches("\n[mode.confinement]\nseccomp = \"default\"");
}

#[test]
fn matches_are_played_without_confinement() {
    whole_matches("\n[mode.confinement]\nenabled = false");
}

/// Several matches at the same time, twice, of games that one template forked, some of them ahead of their players. All
/// are the daemon's children, so the kernel reports their exit and resource use; port and directory are released.
fn whole_matches(keys: &str) {
    let muster = pairs(&format!("warm = 2{keys}")).start();
    muster.log().wait_for_count(2, &["game ready"]);
    let template = template(&muster, 1);
    let mut directories = Vec::new();
    for round in 1..=2 {
        let games: Vec<_> = (0..4).map(|_| enter(assigned(&muster))).collect();
        let lines = muster.log().wait_for_count(4 * round, &["match assigned"]);
        let pids: Vec<i32> = lines[4 * (round - 1)..].iter().map(|line| pid(line)).collect();
        assert!(pids.iter().all(|pid| muster.games().contains(pid)), "{pids:?}");
        let directory = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        directories.extend(pids.iter().map(directory));
        games.into_iter().for_each(play);
        let ended = muster.log().wait_for_count(4 * round, &["game ended", "exit status 0"]);
        for line in &ended[4 * (round - 1)..] {
            assert!(pids.contains(&pid(line)), "{line}");
            assert_ne!(Log::field(line, "memory_peak_kib"), "0", "{line}");
        }
        muster.wait_until_idle("pair", 2);
    }
    assert_eq!(directories.len(), 8);
    for directory in directories {
        wait_until("the directory's end", || !directory.exists());
    }
    assert!(proc::is_alive(template));
    assert_eq!(muster.log().lines_with(&["template started"]).len(), 1);
    no_match_was_harmed(&muster);
}

/// It is killed while its games are played: they play on, and the next match has a game of the next template.
#[test]
fn a_killed_template_loses_no_match() {
    let muster = pairs("warm = 0").start();
    let games = enter(assigned(&muster));
    let old = template(&muster, 1);
    send(old, Signal::SIGKILL);
    muster.log().wait_for(&["template ended mode=pair", &format!("pid={old} "), "signal 9"]);
    let others = enter(assigned(&muster));
    assert_ne!(template(&muster, 2), old);
    play(games);
    play(others);
    muster.wait_until_idle("pair", 0);
    no_match_was_harmed(&muster);
}

/// A game may be over before its template has said that there is one.
#[test]
fn games_that_end_before_they_are_reported_are_reaped() {
    let keys = "players = 1\nwarm = 0\ntemplate = true";
    let muster = Setup::default().hostile("brief", &["template", "dawdles"], keys).start();
    for _ in 0..3 {
        muster.join("brief", "ada").assignment(SOON).unwrap();
    }
    muster.wait_until_idle("brief", 0);
    muster.log().wait_for_count(3, &["match finished", "exit status 0"]);
    no_match_was_harmed(&muster);
    assert_eq!(muster.log().lines_with(&["template started"]).len(), 1);
}

/// Its death and the next players are noticed together: it gets no more requests, so no game fails.
#[test]
fn a_dead_template_gets_no_requests() {
    let muster = pairs("warm = 0").start();
    play(enter(assigned(&muster)));
    let (launcher, old) = (muster.launcher(), template(&muster, 1));
    send(launcher, Signal::SIGSTOP);
    wait_until("its standstill", || proc::state(launcher) == Some('T'));
    let lobbies = ["ada", "bob"].map(|name| muster.join("pair", name));
    send(old, Signal::SIGKILL);
    wait_until("the template's end", || !proc::is_alive(old));
    send(launcher, Signal::SIGCONT);
    play(enter(lobbies.map(|mut lobby| lobby.assignment(SOON).unwrap())));
    muster.wait_until_idle("pair", 0);
    no_match_was_harmed(&muster);
}

/// Over and over, at any moment before the next players come.
#[test]
fn templates_may_be_killed_repeatedly() {
    let muster = pairs("warm = 0").start();
    for number in 1..=10 {
        let games = enter(assigned(&muster));
        send(template(&muster, number), Signal::SIGKILL);
        play(games);
    }
    muster.wait_until_idle("pair", 0);
    assert_eq!(muster.log().lines_with(&["match stopped"]), [""; 0]);
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// After a number of games the template is restarted; the old one serves until the new one is ready, then it ends.
#[test]
fn a_template_is_renewed_after_its_limit_of_games() {
    let muster = pairs("warm = 0\ntemplate_games = 3").start();
    for _ in 0..10 {
        play(enter(assigned(&muster)));
    }
    let templates: Vec<i32> = (1..=3).map(|number| template(&muster, number)).collect();
    wait_until("the end of the first", || !proc::is_alive(templates[0]));
    muster.wait_until_idle("pair", 0);
    no_match_was_harmed(&muster);
}

/// SIGHUP restarts them, as their files may have changed.
#[test]
fn an_operator_can_renew_a_template() {
    let muster = pairs("warm = 1").start();
    muster.log().wait_for(&["game ready"]);
    let descriptors = proc::descriptors(muster.pid()).len();
    let games = enter(assigned(&muster));
    for number in 1..=3 {
        let old = template(&muster, number);
        muster.signal(Signal::SIGHUP);
        assert_ne!(template(&muster, number + 1), old);
        play(enter(assigned(&muster)));
        wait_until("the end of the old one", || !proc::is_alive(old));
    }
    play(games);
    muster.wait_until_idle("pair", 1);
    no_match_was_harmed(&muster);
    wait_until("the end of what the old ones had", || {
        proc::descriptors(muster.pid()).len() == descriptors
    });
}

/// While a new one loads the old one serves, and its output is read to the end.
#[test]
fn a_template_being_renewed_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let way = ["template", "narrates", file.to_str().unwrap()];
    let keys = "players = 1\nwarm = 0\ntemplate = true\nready_timeout = \"30s\"";
    let muster = Setup::default().hostile("bad", &way, keys).start();
    // Returns the pid of the forking template.
    let asked = |game: usize| {
        muster.join("bad", "ada").assignment(SOON).unwrap();
        let said = format!("asked for game {game}");
        pid(&muster.log().wait_for(&["output template=bad", &said]))
    };
    let old = asked(1);
    assert_eq!(old, template(&muster, 1));
    std::fs::write(&file, "").unwrap();
    muster.signal(Signal::SIGHUP);
    assert_ne!(template(&muster, 2), old);
    assert_eq!(asked(2), old);
    // The daemon cannot read it now, and later the template is gone.
    muster.while_stopped(|| {
        // A process of its own writes: what is open here is open for a moment in whatever another test starts.
        let words = "printf 'last words\nand the very last' >\"$0\"";
        let wrote = Command::new("sh").arg("-c").arg(words).arg(output_of(old)).status().unwrap();
        assert!(wrote.success(), "sh: {wrote}");
        send(old, Signal::SIGKILL);
        wait_until("the template's end", || !proc::is_alive(old));
    });
    muster.log().wait_for(&[&format!("output template=bad pid={old}: last words")]);
    muster.log().wait_for(&[&format!("output template=bad pid={old}: and the very last")]);
    let ended = muster.log().wait_for(&["template ended mode=bad", &format!("pid={old} ")]);
    let log = muster.log().text();
    assert!(log.find("and the very last") < log.find(&ended), "words of the dead:\n{log}");
}

/// Nothing of it outlives the daemon.
#[test]
fn a_template_ends_with_the_daemon() {
    let mut muster = pairs("warm = 2").start();
    muster.log().wait_for_count(2, &["game ready"]);
    let all = proc::children(muster.pid());
    let place = std::fs::read_link(format!("/proc/{}/cwd", template(&muster, 1))).unwrap();
    let place = place.parent().unwrap();
    assert!(all.len() >= 4 && place.exists());
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    assert!(all.into_iter().all(|pid| !proc::is_alive(pid)));
    assert!(!place.exists());
}

/// As above, although the launcher, its parent, is stopped, and it would not exit by itself.
#[test]
fn a_template_ends_with_a_daemon_without_keeper() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let way = ["template", "narrates", file.to_str().unwrap()];
    let keys = "players = 1\nwarm = 0\ntemplate = true\nready_timeout = \"30s\"";
    let mut muster = Setup::default().hostile("bad", &way, keys).start();
    muster.join("bad", "ada").assignment(SOON).unwrap();
    std::fs::write(&file, "").unwrap();
    muster.signal(Signal::SIGHUP);
    let template = template(&muster, 2);
    muster.wait_until_idle("bad", 0);
    send(muster.launcher(), Signal::SIGSTOP);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    assert!(!proc::is_alive(template));
}

// ---- Templates that do not ----

/// Four players wait for a mode whose template fails, and are notified. Meanwhile another mode is played, on the same
/// ports, by earlier and later players. Then the template is fixed, and the four are served in order. In the end every
/// port is released, and none was ever leased while a process held it.
fn costs_players_nothing(way: &[&str], fault: &str) {
    let toggle = FaultToggle::new();
    let way = [&["template"], way].concat();
    let keys = "warm = 0\ntemplate = true\nready_timeout = \"2s\"";
    let setup = Setup::default().ports(3).hostile("bad", &toggle.until_fixed(&way), keys);
    let setup = setup.mode("fine", &["muster-game", "echo"], "players = 1\nwarm = 0");
    let muster = setup.start();
    let launcher = muster.launcher();
    let mut eve = enter_fine(&muster);
    let mut waiting = ["ada", "bob", "cid", "dan"].map(|name| muster.join("bad", name));
    for lobby in &mut waiting {
        wait_for_reason(lobby, WaitReason::GameFailing);
    }
    muster.log().wait_for_count(2, &["game failed", "mode=bad", fault]);
    let mut fay = enter_fine(&muster);
    fay.ping("x", SOON).unwrap();
    fay.bye(SOON).unwrap();
    eve.ping("x", SOON).unwrap();
    eve.bye(SOON).unwrap();
    toggle.fix();
    let assigned = waiting.map(|mut lobby| lobby.assignment(SOON).unwrap());
    let slots = assigned.each_ref().map(|it| it.slot);
    assert_eq!(slots, [0, 1, 0, 1], "the order of their coming");
    assert!(assigned.is_sorted_by_key(|it| it.match_id.parse::<u64>().unwrap()));
    for mut game in assigned.map(|assignment| GameSocket::enter(&assignment, SOON).unwrap()) {
        game.ping("x", SOON).unwrap();
        game.bye(SOON).unwrap();
    }
    muster.wait_until_idle("bad", 0);
    for bad in ["port busy", "match stopped", "the launcher is gone"] {
        assert_eq!(muster.log().lines_with(&[bad]), [""; 0]);
    }
    assert_eq!(muster.launcher(), launcher);
    wait_until("the end of all but one template", || muster.games().len() <= 1);
}

fn enter_fine(muster: &Muster) -> GameSocket {
    GameSocket::enter(&muster.join("fine", "eve").assignment(SOON).unwrap(), SOON).unwrap()
}

#[test]
fn a_template_that_never_gets_ready_is_replaced() {
    costs_players_nothing(&["never-ready"], "it did not say ready in time");
}

#[test]
fn a_template_that_exits_at_once_is_replaced() {
    costs_players_nothing(&["exits"], "its template failed: it ended");
}

#[test]
fn a_template_that_exits_when_ready_is_replaced() {
    costs_players_nothing(&["exits-when-ready"], "its template");
}

#[test]
fn a_template_that_exits_on_a_request_is_replaced() {
    costs_players_nothing(&["exits-when-asked"], "its template");
}

/// It is killed after a second, which delays no other player for longer.
#[test]
fn a_template_that_hangs_on_a_request_is_replaced() {
    costs_players_nothing(&["hangs"], "fork it from its template: timed out");
}

#[test]
fn a_template_that_answers_before_it_is_ready_is_replaced() {
    let early = r#"{"type":"forked","game":"1","pid":1}"#;
    costs_players_nothing(&["babbles", early], "it sent a message before it was ready");
}

#[test]
fn a_template_that_sends_garbage_instead_of_ready_is_replaced() {
    costs_players_nothing(&["babbles", "{"], "its message violates the contract");
}

#[test]
fn a_template_that_reports_ready_twice_is_replaced() {
    costs_players_nothing(&["speaks-unasked"], "its template");
}

#[test]
fn a_template_that_answers_garbage_is_replaced() {
    costs_players_nothing(&["answers", "{\"type\":"], "its template");
}

#[test]
fn a_template_that_answers_without_a_request_is_replaced() {
    let other = r#"{"type":"forked","game":"999","pid":1}"#;
    costs_players_nothing(&["answers", other], "its template answered something else");
}

#[test]
fn a_template_that_answers_with_an_invalid_pid_is_replaced() {
    let group = r#"{"type":"forked","game":"1","pid":-1}"#;
    costs_players_nothing(&["answers", group], "its template answered something else");
}

#[test]
fn a_template_that_names_no_process_is_replaced() {
    costs_players_nothing(&["names", "none"], "not one of its games");
}

#[test]
fn a_template_that_names_init_is_replaced() {
    costs_players_nothing(&["names", "init"], "not one of its games");
}

#[test]
fn a_template_that_names_the_daemon_is_replaced() {
    costs_players_nothing(&["names", "daemon"], "not one of its games");
}

#[test]
fn a_template_that_names_the_launcher_is_replaced() {
    costs_players_nothing(&["names", "launcher"], "not one of its games");
}

#[test]
fn a_template_that_names_itself_is_replaced() {
    costs_players_nothing(&["names", "itself"], "not one of its games");
}

#[test]
fn a_template_that_names_another_modes_game_is_replaced() {
    costs_players_nothing(&["names", "game"], "not one of its games");
}

/// It forks a game that holds the port, and does not answer.
#[test]
fn a_template_that_hides_a_game_without_an_answer_leaves_none() {
    costs_players_nothing(&["conceals", "silently"], "its template");
}

/// As above, and names a process that is none.
#[test]
fn a_template_that_hides_a_game_with_a_false_answer_leaves_none() {
    costs_players_nothing(&["conceals", "lying"], "not one of its games");
}

/// As above, and says that there is none.
#[test]
fn a_template_that_hides_a_game_with_a_refusal_leaves_none() {
    costs_players_nothing(&["conceals", "denying"], "its template cannot fork");
}

/// It forks more than it was asked for.
#[test]
fn a_template_that_leaves_files_is_cleaned_up() {
    costs_players_nothing(&["litters"], "its template cannot fork");
}

// ---- What games of a template leave behind ----

/// Faults row 21, for forks, whose environment names no game: a process that holds the port is dead before the port is
/// released.
#[test]
fn leftovers_are_killed_before_their_port_is_free() {
    for what in ["still", "daemon", "nameless"] {
        let keys = "players = 1\nwarm = 0\ntemplate = true";
        let setup = Setup::default().ports(1);
        let muster = setup.hostile("bad", &["template", "leaves", what], keys).start();
        for number in 1..=2 {
            let assigned = muster.join("bad", "ada").assignment(SOON).unwrap();
            assert_eq!(assigned.match_id, number.to_string());
            muster.log().wait_for_count(number, &["port free"]);
            let said = muster.log().wait_for_count(number, &["left pid="]);
            let left = said.iter().map(|line| pid(line.split(": ").last().unwrap()));
            assert!(left.into_iter().all(|pid| !proc::is_alive(pid)), "{said:?}");
        }
        muster.wait_until_idle("bad", 0);
        no_match_was_harmed(&muster);
    }
}

/// Forks of one template have one user. Each is in a Landlock domain of its own: none reads or writes in another's
/// directory, signals it, or takes its descriptors.
#[test]
fn games_of_one_template_cannot_reach_each_other() {
    let targets = testkit::AttackTargets::create();
    let orders = targets.path("orders");
    let program = targets.program.to_str().unwrap();
    let keys = format!(
        "players = 1\ntemplate = true\nwarm = 0\n[mode.confinement]\nseccomp = \"default\"\nread = [\"{}\"]",
        targets.directory.path().display()
    );
    let command = [program, "template-probes", &orders];
    let muster = Setup::default().mode("bad", &command, &keys).start();
    let start = |number| {
        let assigned = muster.join("bad", "ada").assignment(SOON).unwrap();
        muster.log().wait_for_count(number, &["output game=", ": tried all"]);
        let of_match = format!("match={} ", assigned.match_id);
        pid(&muster.log().wait_for(&["match assigned", &of_match]))
    };
    let victim = start(1);
    let directory = std::fs::read_link(format!("/proc/{victim}/cwd")).unwrap();
    let directory = directory.to_str().unwrap();
    let (daemon, template) = (muster.pid(), template(&muster, 1));
    let mut words = vec![
        format!("read {directory}/secret"),
        format!("write {directory}/secret"),
        format!("list {directory}"),
        format!("create {directory}/new"),
    ];
    for pid in [victim, template, daemon] {
        words.push(format!("signal {pid}"));
        words.push(format!("signal -{pid}"));
        words.push(format!("join-group {pid}"));
        words.push(format!("descriptor {pid} 4"));
        words.push(format!("limit {pid}"));
    }
    let allowed = [format!("read {orders}"), "create own".to_owned()];
    std::fs::write(&orders, [&words[..], &allowed].concat().join("\n")).unwrap();
    start(2);
    let answer = |words: &str| muster.log().wait_for(&["output game=", &format!(": {words}: ")]);
    for words in words {
        assert!(answer(&words).contains(": denied "), "{}", answer(&words));
    }
    for words in allowed {
        assert!(answer(&words).contains(": done "), "{}", answer(&words));
    }
    assert!(proc::is_alive(victim) && proc::is_alive(template));
}
