//! All faults together, checked by the oracle: players who join, leave, lose connections and are hostile, while the
//! daemon is upgraded, killed and stopped, and so are its launcher and its games, and its configuration changes.
//! `make storm` runs it for minutes.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{ChaosMonkey, Muster, SOON, Setup, binary, proc, wait_until};

/// The ring, and the number of warm games without players.
const PORTS: u16 = 12;
const WARM: usize = 2;

/// How long players may take to finish once the storm is over.
const GRACE: Duration = Duration::from_secs(40);

/// The limits and modes that are in force at one time or another; the first ones at the beginning and at the end.
fn configs() -> [String; 3] {
    let limits =
        "[limits]\nseats_per_address = 0\nhandshake_timeout = \"2s\"\nline_timeout = \"4s\"\n";
    // A stopped game ends before the end of the storm.
    let keys = "max_duration = \"10s\"\nhello_timeout = \"4s\"\nstop_grace = \"1s\"";
    let mode = |name: &str, game: &str, more: &str| {
        let command = format!("command = [\"muster-game\", \"{game}\"]");
        format!("[[mode]]\nname = \"{name}\"\n{command}\n{keys}\n{more}\n")
    };
    let asked = mode("asked", "echo", "warm = 1\naccept_timeout = \"1s\"\ntemplate = true");
    let duel = mode("duel", "tictactoe", "warm = 1");
    let trio = |more: &str| mode("trio", "echo", &format!("warm = 0\nplayers = 3\n{more}"));
    let usual = format!("{limits}{duel}{asked}{}", trio(""));
    let other_program = format!("{limits}{duel}{asked}{}", trio("env = { WIND = \"north\" }"));
    let one_more = format!("{usual}{}", mode("solo", "echo", "warm = 1\nplayers = 1"));
    [usual, other_program, one_more]
}

#[test]
fn no_player_is_lost_under_random_faults() {
    let number = |name, otherwise| {
        let given = std::env::var(name).ok();
        given.map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{name}={given}")))
    };
    let length = Duration::from_secs(number("MUSTER_STORM_SECONDS", 20));
    let seed = number("MUSTER_STORM_SEED", 1);
    let configs = configs();
    let setup = Setup::default().ports(PORTS).quarantine("100ms").config(&configs[0]);
    let muster = setup.keep("4s").log("info").start();
    // So that the daemon is one that came back.
    muster.crash();
    let before = holdings_at_rest(&muster);

    let more = std::env::var("MUSTER_STORM_ARGS").unwrap_or_default();
    let mut monkey = ChaosMonkey::new(&muster, seed, &configs);
    let mut load = Load::start(muster.address(), length, seed, &more);
    let over_at = Instant::now() + length;
    let mut next_at = Instant::now();
    while Instant::now() < over_at && !load.has_ended() {
        std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
        monkey.strike();
        next_at = Instant::now() + monkey.pause();
    }
    let (report, is_clean) = load.end();
    let count = |part| muster.log().lines_with(&[part]).len();
    println!(
        "storm of {length:?}, seed {seed}: {}; {} crashes, {} upgrades, {} launchers lost\n{report}",
        monkey.summary(),
        count("back after a crash"),
        count("upgraded from="),
        count("the launcher is gone"),
    );
    assert!(is_clean, "a player was lost");

    muster.configure(&configs[0]);
    assert_eq!(holdings_at_rest(&muster), before);
    let killed = muster.log().lines_with(&["the daemon died of signal "]);
    assert!(killed.iter().all(|line| line.contains("signal 9 ")), "{killed:?}");
    for bad in ["panicked", "starting empty", "does not end", "was not handed over"] {
        assert_eq!(muster.log().lines_with(&[bad]), [""; 0]);
    }
    muster.stop_and_assert_nothing_left();
}

/// No player waits, every port but the warm games' is free, and there are no zombies.
fn is_calm(muster: &Muster) {
    for queue in ["asked", "trio", "duel"] {
        let free = usize::from(PORTS) - WARM;
        let games = usize::from(queue != "trio");
        wait_until(&format!("calm in {queue}"), || muster.status(queue) == (0, games, free));
    }
    let is_zombie = |pid: i32| proc::state(pid) == Some('Z');
    for parent in [muster.pid(), muster.started_pid()] {
        wait_until("no zombie", || !proc::children(parent).into_iter().any(is_zombie));
    }
}

/// The resources that are held when the warm games are the daemon's own children, as none is after a crash, and the
/// launcher has started them: before that it has no template.
fn holdings_at_rest(muster: &Muster) -> Holdings {
    wait_until("an upgrade", || muster.upgrade(None).is_ok());
    is_calm(muster);
    let pids = || -> Vec<i32> {
        let living = muster.living_games();
        let warm = living.iter().filter(|game| game["phase"] == "warm");
        warm.filter_map(|game| game["pid"].as_i64()?.try_into().ok()).collect()
    };
    let old = pids();
    old.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    wait_until("other warm games", || {
        let new = pids();
        new.len() == WARM && !new.iter().any(|pid| old.contains(pid))
    });
    is_calm(muster);
    // The connections of the observers have to end, too.
    let (mut holdings, mut looks) = (Holdings::of(muster), 0);
    wait_until("what it holds to stay as it is", || {
        let now = Holdings::of(muster);
        looks = if now == holdings { looks + 1 } else { 0 };
        holdings = now;
        looks == 20
    });
    holdings
}

/// The kernel resources of the daemon and its keeper.
#[derive(Debug, PartialEq)]
struct Holdings {
    /// The kinds of descriptors, without numbers.
    descriptors: [Vec<String>; 2],
    threads: [Option<String>; 2],
    children: [Vec<Vec<String>>; 2],
}

impl Holdings {
    fn of(muster: &Muster) -> Self {
        let both = [muster.pid(), muster.started_pid()];
        Self {
            descriptors: both.map(kinds_of_descriptors),
            threads: both.map(|pid| proc::status(pid, "Threads")),
            children: both.map(|pid| {
                let mut words: Vec<_> =
                    proc::children(pid).into_iter().map(proc::command_line).collect();
                words.sort_unstable();
                words
            }),
        }
    }
}

fn kinds_of_descriptors(pid: i32) -> Vec<String> {
    let link = |number| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
    let links = proc::descriptors(pid).into_iter().filter_map(link);
    let name =
        |link: PathBuf| link.display().to_string().replace(|it: char| it.is_ascii_digit(), "");
    let mut names: Vec<String> = links.map(name).collect();
    names.sort_unstable();
    names
}

/// The players.
struct Load {
    child: Child,
    over_at: Instant,
}

impl Load {
    fn start(address: &str, length: Duration, seed: u64, more: &str) -> Self {
        let mut command = Command::new(binary("muster-load"));
        command.args([address, "--scenario", "storm", "--queue", "duel,asked,trio"]);
        command.args(["--comes-back", "--quiet", "--players", "40", "--patience", "20s"]);
        for (option, time) in [("--duration", length), ("--grace", GRACE)] {
            command.arg(option).arg(format!("{}s", time.as_secs()));
        }
        command.arg("--seed").arg(seed.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.args(more.split_ascii_whitespace()).spawn().unwrap();
        Self { child, over_at: Instant::now() + length + GRACE + SOON }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its report, which fits into the pipe, and whether no player was lost.
    fn end(mut self) -> (String, bool) {
        while !self.has_ended() {
            assert!(Instant::now() < self.over_at, "muster-load does not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let mut report = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        (report, self.child.wait().unwrap().success())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
