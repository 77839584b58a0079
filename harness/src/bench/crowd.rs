//! Many clients who wait in one queue, keep their connections, and know their places.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;

use testkit::Setup;

use crate::daemon;
use crate::failure::Failure;
use crate::player::Player;
use crate::visitors::sources;

pub(crate) const CROWD: &str = "crowd";

/// All of them, in the order of their places.
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

/// What became of those who came back.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) lost: usize,
    /// Who has another place than before.
    pub(crate) misplaced: usize,
}

/// A daemon with a queue for them: nobody in it meets anybody, as all differ in skill.
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
    /// Connects so many and waits until all are in the queue.
    pub(crate) fn come(server: SocketAddr, count: usize) -> Result<Self, Failure> {
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

    /// Lets some of them say PING.
    pub(crate) fn ask(&mut self, who: Range<usize>, text: &str) -> Result<(), Failure> {
        let line = format!("PING {text}\n");
        self.members[who].iter_mut().try_for_each(|member| member.player.say(&line))
    }

    /// Waits until all have heard the answer to PING. How many never will.
    pub(crate) fn hear(&mut self, text: &str) -> Result<usize, Failure> {
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

    /// Lets all take up their sessions, in order and on other connections, and waits until all have.
    pub(crate) fn come_back(&mut self) -> Result<Returned, Failure> {
        for (at, member) in self.members.iter_mut().enumerate() {
            // The connection before this one goes.
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

/// `None` for one who is told something else or whose connection ended; to hear nothing at all is an error.
fn unless_lost<T>(heard: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match heard {
        Ok(heard) => Ok(Some(heard)),
        Err(Failure::Os { source, attempt }) if source.kind() == ErrorKind::WouldBlock => {
            Err(Failure::Os { source, attempt })
        }
        Err(_) => Ok(None),
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_default()
}
