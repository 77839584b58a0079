//! Many clients that wait in one queue, keep their connections, and know their positions.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;

use testkit::Setup;

use crate::daemon;
use crate::failure::Failure;
use crate::player::Player;
use crate::visitors::sources;

pub(crate) const CROWD: &str = "crowd";

/// The clients, in the order of their positions.
#[derive(Debug)]
pub(crate) struct Crowd {
    server: SocketAddr,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    player: Player,
    key: String,
}

/// The outcome of reconnects.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) lost: usize,
    /// Clients with another position than before.
    pub(crate) misplaced: usize,
}

/// A daemon with a queue for them. No two match, as all differ in skill.
pub(crate) fn setup() -> Setup {
    let sources: Vec<String> = sources().map(|source| source.to_string()).collect();
    let limits = format!("skill_from = {sources:?}\nresume_window = \"10m\"");
    daemon::setup(1).limits(&limits).mode(
        CROWD,
        &["false"],
        "players = 2\nwarm = 0\n[mode.skill]\nwindow = 0\nwindow_max = 0",
    )
}

impl Crowd {
    /// Connects `count` clients and waits until all are queued.
    pub(crate) fn connect(server: SocketAddr, count: usize) -> Result<Self, Failure> {
        let mut players = Vec::with_capacity(count);
        for at in 0..count {
            let mut player = Player::from_source(server, number(at))?;
            player.say(&format!("READY queue={CROWD} skill={at}\n"))?;
            players.push(player);
        }
        let mut members = Vec::with_capacity(count);
        for mut player in players {
            let (key, place) = player.queued()?;
            members.push((place, Member { player, key }));
        }
        members.sort_by_key(|&(place, _)| place);
        Ok(Self { server, members: members.into_iter().map(|(_, member)| member).collect() })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Sends PING for some of them.
    pub(crate) fn send_pings(&mut self, who: Range<usize>, text: &str) -> Result<(), Failure> {
        let line = format!("PING {text}\n");
        self.members[who].iter_mut().try_for_each(|member| member.player.say(&line))
    }

    /// Waits until all have received the answer to PING. Gives how many have lost their connection.
    pub(crate) fn receive_pongs(&mut self, text: &str) -> Result<usize, Failure> {
        let mut lost = 0;
        for member in &mut self.members {
            lost += usize::from(unless_lost(member.player.pong(text))?.is_none());
        }
        Ok(lost)
    }

    /// Waits until all connections have ended.
    pub(crate) fn wait_for_ends(&mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            while unless_lost(member.player.reply())?.is_some() {}
        }
        Ok(())
    }

    /// Resumes all sessions, in order and on new connections, and waits until all have answers.
    pub(crate) fn reconnect(&mut self) -> Result<Returned, Failure> {
        for (at, member) in self.members.iter_mut().enumerate() {
            // This closes the previous connection.
            member.player = Player::from_source(self.server, number(at))?;
            member.player.say(&format!("READY resume={}\n", member.key))?;
        }
        let mut returned = Returned::default();
        for (at, member) in self.members.iter_mut().enumerate() {
            match unless_lost(member.player.queued())? {
                Some((key, place)) if key == member.key => {
                    returned.misplaced += usize::from(place != at + 1);
                }
                _ => returned.lost += 1,
            }
        }
        Ok(returned)
    }
}

/// `None` for a client that received another answer or lost its connection; no answer in time is an error.
fn unless_lost<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Os { source, attempt }) if source.kind() == ErrorKind::WouldBlock => {
            Err(Failure::Os { source, attempt })
        }
        Err(_) => Ok(None),
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_default()
}
