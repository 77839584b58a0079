//! A daemon whose games do what they are asked, and may not.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::Signal;

use crate::{Log, Muster, Prey, SOON, Setup, proc, wait_until};

/// A daemon with hostile games of a mode `bad`.
#[derive(Debug)]
pub struct Stage {
    /// What they are let loose at.
    pub prey: Prey,
    /// The daemon.
    pub muster: Muster,
    /// A game that is there to be got at, too; in its directory a file `kept`.
    pub victim: Game,
}

/// A hostile game that does what it is asked; see `hostile-game`, `probes`.
#[derive(Debug)]
pub struct Game {
    /// Its number.
    pub number: String,
    /// Its process.
    pub pid: i32,
    socket: UdpSocket,
}

/// What a game says of a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done, and this came of it.
    Done(String),
    /// It was not, and why.
    Denied(String),
}

impl Stage {
    /// With games that are confined as `keys` say, and everything else off.
    pub fn with(keys: &str) -> Self {
        Self::of(Setup::default(), Prey::lay_out(), &format!("enabled = false\n{keys}"))
    }

    /// With games at this prey whose `[mode.confinement]` is `keys`.
    pub fn of(setup: Setup, prey: Prey, keys: &str) -> Self {
        let keys = format!("players = 1\nwarm = 0\n[mode.confinement]\n{keys}");
        let program = prey.program.to_str().unwrap();
        let muster = setup.mode("bad", &[program, "probes"], &keys).start();
        let victim = Game::start(&muster, "bad");
        fs::write(victim.directory().join("kept"), "the game's own").unwrap();
        Self { prey, muster, victim }
    }
}

impl Game {
    /// Has one of a mode start, whose games play `probes`.
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

    /// Asks for a probe; a game that became another program cannot answer, which says so in the log.
    pub fn ask(&self, muster: &Muster, words: &str) -> Answer {
        self.tell(words);
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
            ("done", what) => Answer::Done(what.to_owned()),
            (_, why) => Answer::Denied(why.to_owned()),
        }
    }

    /// Tells it something that is not answered.
    pub fn tell(&self, words: &str) {
        self.socket.send(words.as_bytes()).unwrap();
    }

    /// Has it end, if it has not yet, and waits for its port.
    pub fn end(&self, muster: &Muster) {
        let _ = self.socket.send(b"end");
        muster.log().wait_for(&["game ended", &format!("game={} ", self.number)]);
    }

    /// Whether it got the signal that a game sends to everybody.
    pub fn is_signalled(&self) -> bool {
        let pending = proc::status(self.pid, "ShdPnd").unwrap();
        let bit = 1 << (Signal::SIGURG as u32 - 1);
        u64::from_str_radix(&pending, 16).unwrap() & bit != 0
    }

    /// As whom it runs.
    pub fn user(&self) -> u32 {
        let users = proc::status(self.pid, "Uid").unwrap();
        users.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where it works.
    pub fn directory(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap()
    }

    /// An address in its memory where there is something.
    pub fn address(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).unwrap();
        usize::from_str_radix(heap.split_once('-').unwrap().0, 16).unwrap()
    }
}

impl Answer {
    /// Whether it was not done.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}
