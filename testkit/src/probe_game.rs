//! Games that attempt what a test asks, to see whether their confinement denies it.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::Signal;

use crate::{AttackTargets, Log, Muster, SOON, Setup, proc, wait_until};

/// A daemon with hostile games of a mode `bad`.
#[derive(Debug)]
pub struct ConfinementFixture {
    /// The targets of the games.
    pub targets: AttackTargets,
    /// The daemon.
    pub muster: Muster,
    /// A running game that other games attack; its directory holds a file `kept`.
    pub victim: ProbeGame,
}

/// A hostile game that attempts what it is asked; see `hostile-game`, `probes`.
#[derive(Debug)]
pub struct ProbeGame {
    /// Its id in the log.
    pub number: String,
    /// Its process id.
    pub pid: i32,
    socket: UdpSocket,
}

/// A game's answer to a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It succeeded, with this output.
    Done(String),
    /// It failed, with this error.
    Denied(String),
}

impl ConfinementFixture {
    /// A fixture whose games have only the confinement that `keys` set.
    pub fn with(keys: &str) -> Self {
        Self::of(Setup::default(), AttackTargets::create(), &format!("enabled = false\n{keys}"))
    }

    /// A fixture with these targets, whose `[mode.confinement]` is `keys`.
    pub fn of(setup: Setup, targets: AttackTargets, keys: &str) -> Self {
        let keys = format!("players = 1\nwarm = 0\n[mode.confinement]\n{keys}");
        let program = targets.program.to_str().unwrap();
        let muster = setup.mode("bad", &[program, "probes"], &keys).start();
        let victim = ProbeGame::start(&muster, "bad");
        fs::write(victim.directory().join("kept"), "kept").unwrap();
        Self { targets, muster, victim }
    }
}

impl ProbeGame {
    /// Starts a game of a mode that runs `hostile-game probes`.
    pub fn start(muster: &Muster, mode: &str) -> Self {
        let assigned = muster.join(mode, "ada").assignment(SOON).unwrap();
        let of_match = format!("match={} ", assigned.match_id);
        let line = muster.log().wait_for(&["match assigned", &of_match]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, assigned.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let number = Log::field(&line, "game").to_owned();
        Self { number, pid: Log::field(&line, "pid").parse().unwrap(), socket }
    }

    /// Asks for a probe. A game that executed another program cannot answer; that program logs `: executed`.
    pub fn ask(&self, muster: &Muster, words: &str) -> ProbeResult {
        self.send(words);
        let output = format!("output game={} ", self.number);
        let mut datagram = [0; 60_000];
        let mut answer = None;
        wait_until(&format!("an answer to {words}"), || {
            answer = match self.socket.recv(&mut datagram) {
                Ok(length) => Some(String::from_utf8_lossy(&datagram[..length]).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
                Err(_) => {
                    let executed = muster.log().lines_with(&[&output, ": executed"]);
                    executed.first().map(|_| "done executed".to_owned())
                }
            };
            answer.is_some()
        });
        let answer = answer.unwrap();
        match answer.split_once(' ').unwrap() {
            ("done", what) => ProbeResult::Done(what.to_owned()),
            (_, why) => ProbeResult::Denied(why.to_owned()),
        }
    }

    /// Sends a request that has no answer.
    pub fn send(&self, words: &str) {
        self.socket.send(words.as_bytes()).unwrap();
    }

    /// Ends the game, if it runs, and waits until its port is free.
    pub fn end(&self, muster: &Muster) {
        let _ = self.socket.send(b"end");
        muster.log().wait_for(&["game ended", &format!("game={} ", self.number)]);
    }

    /// Whether it received the signal that `signal-all` sends.
    pub fn is_signalled(&self) -> bool {
        let pending = proc::status(self.pid, "ShdPnd").unwrap();
        let bit = 1 << (Signal::SIGURG as u32 - 1);
        u64::from_str_radix(&pending, 16).unwrap() & bit != 0
    }

    /// Its user id.
    pub fn user(&self) -> u32 {
        let users = proc::status(self.pid, "Uid").unwrap();
        users.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// Its working directory.
    pub fn directory(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap()
    }

    /// A mapped address of its memory.
    pub fn address(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).unwrap();
        usize::from_str_radix(heap.split_once('-').unwrap().0, 16).unwrap()
    }
}

impl ProbeResult {
    /// Whether it failed.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}
