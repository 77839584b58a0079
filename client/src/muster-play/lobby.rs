//! From the connection to the assignment.

use std::os::fd::AsFd;
use std::time::Duration;

use client::{Assignment, Lobby};
use protocol::{Reply, Request, Visible};

use crate::PlayError;
use crate::args::Args;
use crate::console::Console;

/// How long Muster may take to greet, or to let a player go. How long a player waits for another one has no limit.
const LIMIT: Duration = Duration::from_secs(10);

/// Joins the queue and waits there. `None` is a player who left.
pub(crate) fn wait_in_queue(
    console: &mut Console,
    args: &Args,
) -> Result<Option<Assignment>, PlayError> {
    let mut lobby = Lobby::connect(&args.address, LIMIT)?;
    let queues = lobby.queues().join(", ");
    console.say(format_args!("connected to {} (queues: {})", lobby.address(), Visible(&queues)));
    lobby.send(&Request::Ready {
        queue: args.queue.clone(),
        name: args.name.clone(),
        resume: None,
    })?;
    loop {
        while let Some(reply) = lobby.poll_reply()? {
            if let Some(text) = describe(&reply) {
                console.say(text);
            }
            if let Some(assignment) = lobby.handle_waiting(reply)? {
                return Ok(Some(assignment));
            }
        }
        console.wait(lobby.as_fd(), None)?;
        while console.next_line().is_some() {
            console.say("nobody to play with yet; Ctrl-C leaves");
        }
        if console.wants_out() {
            lobby.quit(LIMIT)?;
            console.say("left the queue");
            return Ok(None);
        }
    }
}

/// What a reply says to a person.
fn describe(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Queued { queue, position, needed, .. } => {
            let queue = Visible(queue);
            Some(format!("queued in {queue}: position {position}, needed {needed}"))
        }
        Reply::Requeued { queue, position } => {
            Some(format!("back in queue {}: position {position}", Visible(queue)))
        }
        Reply::Waiting { queue, reason } => {
            Some(format!("waiting in {}: {}", Visible(queue), reason.word()))
        }
        Reply::Found { match_id, .. } => {
            Some(format!("match {} is found, and accepted", Visible(match_id)))
        }
        Reply::Accepted { count, of } => Some(format!("{count} of {of} have accepted")),
        Reply::Assign { match_id, host, port, slot, players, .. } => Some(format!(
            "assigned: match {} on {}:{port}, slot {slot} of {players}",
            Visible(match_id),
            Visible(host)
        )),
        Reply::Other(line) => Some(Visible(line.trim_end()).to_string()),
        // The end is told by the error that it becomes; the rest was not asked for.
        Reply::Muster { .. }
        | Reply::Left
        | Reply::Evicted { .. }
        | Reply::Pong(_)
        | Reply::Status { .. }
        | Reply::Help(_)
        | Reply::Bye { .. }
        | Reply::Error { .. } => None,
    }
}
