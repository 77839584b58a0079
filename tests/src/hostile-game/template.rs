//! Templates that break their part of the contract, and one that keeps it for games that do not.

#![allow(clippy::zombie_processes, reason = "to be left behind is what they are for")]

use std::io::{BufRead as _, BufReader, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use process::{Forked, fork_sibling};
use protocol::{FromGame, FromTemplate, GAME_CONTROL_FD, TEMPLATE_PACKET_MAX, ToTemplate};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use testkit::proc;

use crate::contract::{hang, inherited};

/// Does what a template should not.
pub(crate) fn betray(way: &[&str]) {
    let mut template = Template { channel: inherited(GAME_CONTROL_FD) };
    match *way {
        ["never-ready"] => hang(),
        ["narrates", file] if Path::new(file).exists() => hang(),
        _ => {}
    }
    if let ["exits"] = way {
        return;
    }
    if let ["babbles", text] = way {
        template.say(text);
        hang();
    }
    template.say(&FromTemplate::Ready.to_packet());
    match *way {
        ["exits-when-ready"] => return,
        ["speaks-unasked"] => template.say(&FromTemplate::Ready.to_packet()),
        _ => {}
    }
    while let Some((game, descriptors)) = template.hear() {
        match *way {
            ["hangs"] => hang(),
            ["exits-when-asked"] => return,
            ["answers", text] => template.say(text),
            ["names", whom] => template.say(&forked(game, pid_of(whom))),
            // The process exists and holds the port, and is not reported.
            ["conceals", how] => {
                if let Forked::Child = fork_sibling().unwrap() {
                    hang();
                }
                drop(descriptors);
                return conceal(&template, game, how);
            }
            // A game like any other, except for its additional processes.
            ["litters"] => {
                let twin = fork_sibling().unwrap();
                let Forked::Parent(pid) = fork_sibling().unwrap() else { hang() };
                if twin == Forked::Child {
                    hang();
                }
                drop(descriptors);
                let reason = format!("there is {pid}");
                return template.say(&FromTemplate::Failed { game, reason }.to_packet());
            }
            // Its answer comes when the game is over, and forgotten by the kernel.
            ["dawdles"] => {
                let pid = fork_honest(descriptors);
                while proc::state(pid).is_some() {
                    std::thread::yield_now();
                }
                template.say(&forked(game, pid));
            }
            // It says what it does; one that starts when the file is there never comes to that.
            ["narrates", _] => {
                println!("asked for game {game}");
                template.say(&forked(game, fork_honest(descriptors)));
            }
            ["leaves", what] => match fork_sibling().unwrap() {
                Forked::Child => {
                    drop(template);
                    return leave(what, descriptors);
                }
                Forked::Parent(pid) => template.say(&forked(game, pid)),
            },
            _ => panic!("no such way to betray: {way:?}"),
        }
    }
}

fn conceal(template: &Template, game: String, how: &str) {
    match how {
        "silently" => hang(),
        "lying" => template.say(&forked(game, pid_of("init"))),
        "denying" => {
            let reason = "it did not work out".into();
            template.say(&FromTemplate::Failed { game, reason }.to_packet());
        }
        _ => panic!("no such way to conceal: {how:?}"),
    }
}

/// Plays a match to its end, if there is one.
fn play(control: OwnedFd) -> Option<UnixStream> {
    let mut control = UnixStream::from(control);
    control.set_nonblocking(false).unwrap();
    let mut lines = BufReader::new(control.try_clone().unwrap()).lines();
    control.write_all(FromGame::Ready.to_line().as_bytes()).unwrap();
    lines.next()?.ok()?;
    control.write_all(FromGame::Started.to_line().as_bytes()).unwrap();
    Some(control)
}

/// Forks a game that is what it should be, and gives its pid.
fn fork_honest(descriptors: Vec<OwnedFd>) -> i32 {
    match fork_sibling().unwrap() {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let [_socket, control, _log] = descriptors.try_into().unwrap();
            play(control);
            std::process::exit(0);
        }
    }
}

/// Plays a match to its end, and leaves a process behind that holds the port.
fn leave(what: &str, descriptors: Vec<OwnedFd>) {
    let [socket, control, _log] = descriptors.try_into().unwrap();
    let Some(_control) = play(control) else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["leftover", what]).stdin(Stdio::from(socket)).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    println!("left pid={}", pid.trim());
}

/// A game of a template that keeps its part of the contract, and tries as soon as its match starts what a file names,
/// a line each. What came of it is printed.
pub(crate) fn probe_from_a_fork(orders: &Path) {
    game_child::template(|| Ok::<_, std::convert::Infallible>(())).unwrap();
    let options = game_child::Options::default();
    let played = game_child::run(&options, |setup| {
        for order in std::fs::read_to_string(orders).unwrap_or_default().lines() {
            let words: Vec<&str> = order.split(' ').collect();
            match crate::probes::attempt(&words) {
                Ok(what) => println!("{order}: done {what}"),
                Err(why) => println!("{order}: denied {why}"),
            }
        }
        std::fs::write("secret", "this game's own").unwrap();
        println!("tried all");
        Ok(game_child::echo::Echo::new(setup))
    });
    played.unwrap();
}

/// The template's end of its channel.
struct Template {
    channel: OwnedFd,
}

impl Template {
    fn say(&self, packet: &str) {
        // Muster may have given up.
        let _ = send(&self.channel, packet.as_bytes(), SendFlags::NOSIGNAL);
    }

    /// The next request, a game's number and what it gets; `None` when there will be none.
    fn hear(&mut self) -> Option<(String, Vec<OwnedFd>)> {
        let mut packet = vec![0; TEMPLATE_PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received =
            recvmsg(&self.channel, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        match ToTemplate::parse(packet.get(..received.bytes)?).ok()? {
            ToTemplate::Fork { game, .. } => Some((game, descriptors)),
            ToTemplate::Unknown => None,
        }
    }
}

fn forked(game: String, pid: i32) -> String {
    FromTemplate::Forked { game, pid }.to_packet()
}

/// A process that is no game of this template.
fn pid_of(whom: &str) -> i32 {
    let this = i32::try_from(std::process::id()).unwrap();
    let daemon = i32::try_from(std::os::unix::process::parent_id()).unwrap();
    let child = |is_it: &dyn Fn(i32) -> bool| {
        let mut children = proc::children(daemon).into_iter();
        children.find(|pid| *pid != this && is_it(*pid)).unwrap_or(this)
    };
    match whom {
        "none" => i32::MAX,
        "init" => 1,
        "daemon" => daemon,
        "itself" => this,
        "launcher" => child(&|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words == b"muster-launcher\0"
        }),
        "game" => child(&|pid| {
            proc::environment(pid).iter().any(|variable| variable.starts_with("MUSTER_GAME="))
        }),
        _ => panic!("no process is called {whom:?}"),
    }
}
