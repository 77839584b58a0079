//! Resolving `ports.public_host`: on a thread, as the system's resolver may take its time, and again and again until it
//! works, as a name service that is not there yet is no error of the configuration.
//!
//! One thread at a time makes one try. The loop is woken for its answer, and sets the time of the next one.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::worker::{Next, Worker};

/// How long a single try may take.
const ONCE_MAX: Duration = Duration::from_secs(3);

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The resolution of one name.
pub(crate) struct Lookup {
    name: String,
    /// A try that is under way.
    under_way: Option<Worker<io::Result<Vec<IpAddr>>>>,
    backoff: Backoff,
    waker: Option<Arc<Waker>>,
}

impl Lookup {
    /// Begins with a name. `waker` wakes the loop when there is an answer.
    pub(crate) fn begin(name: &str, waker: Option<Arc<Waker>>, now: Instant) -> Self {
        let backoff = Backoff::default();
        let mut this = Self { name: name.to_owned(), under_way: None, backoff, waker };
        this.begin_try(now);
        this
    }

    /// Resolves it anew, unless that is under way.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        if self.under_way.is_none() {
            self.begin_try(now);
        }
    }

    /// When to try again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.backoff.retry_at()
    }

    /// Waits for the first answer, but not for long. `None`: it is not there yet.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<io::Result<Vec<IpAddr>>> {
        let answer = match self.under_way.as_ref()?.wait(limit) {
            Next::Report(answer) => answer,
            Next::Pending => return None,
            Next::Ended => Err(lost()),
        };
        self.under_way = None;
        Some(answer)
    }

    /// The answer, if there is one now; begins another try where one is due.
    pub(crate) fn look(&mut self, now: Instant) -> Option<io::Result<Vec<IpAddr>>> {
        if self.backoff.take_due(now) {
            self.begin_again(now);
        }
        let answer = match self.under_way.as_ref()?.next() {
            Next::Report(answer) => answer,
            Next::Pending => return None,
            Next::Ended => Err(lost()),
        };
        self.under_way = None;
        Some(answer)
    }

    /// The answer was of no use. Whether it is the first such answer in a row.
    pub(crate) fn note_failure(&mut self, now: Instant) -> bool {
        self.backoff.fail(now)
    }

    /// The answer is taken. Whether the operator was told of a failure before.
    pub(crate) fn note_success(&mut self) -> bool {
        self.backoff.succeed()
    }

    fn begin_try(&mut self, now: Instant) {
        let name = self.name.clone();
        let worker = Worker::spawn("muster-resolve", self.waker.clone(), move |reporter| {
            reporter.send(resolve(&name));
        });
        match worker {
            Ok(worker) => self.under_way = Some(worker),
            Err(error) => {
                log::debug!("cannot start a thread that resolves {}: {error}", self.name);
                self.backoff.postpone(now);
            }
        }
    }
}

/// Tries a name once, without waiting for long. What an operator may want to know, where it does not work.
pub(crate) fn problem_with(name: &str) -> Option<String> {
    let problem = match Lookup::begin(name, None, Instant::now()).wait(ONCE_MAX) {
        Some(Ok(_)) => return None,
        Some(Err(error)) => error.to_string(),
        None => "the name service does not answer".to_owned(),
    };
    Some(format!(
        "{name} cannot be resolved here now: {problem}; the daemon starts all the same, and tries again until it works"
    ))
}

/// Asks the system's resolver, for as long as it takes.
fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn lost() -> io::Error {
    io::Error::other("the thread that resolves names has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_resolved_without_waiting() {
        let now = Instant::now();
        let mut lookup = Lookup::begin("localhost", None, now);
        let answer = lookup.wait(Duration::from_secs(30)).unwrap().unwrap();
        assert!(answer.iter().all(IpAddr::is_loopback) && !answer.is_empty(), "{answer:?}");
        assert!(lookup.look(now).is_none() && lookup.next_deadline().is_none());
        assert!(lookup.note_failure(now) && !lookup.note_failure(now), "told once");
        let due = lookup.next_deadline().unwrap();
        assert!(due > now && lookup.note_success());
        assert_eq!(lookup.next_deadline(), None);
    }
}
