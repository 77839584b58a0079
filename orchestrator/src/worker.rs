//! Threads that work for the loop: what one reports, it reports through a channel, and wakes the loop for it.
//!
//! The loop never waits for a worker. It asks [`Worker::next`] when its poll was woken.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};
use mio::Waker;

/// The loop's end of a worker thread.
pub(crate) struct Worker<T> {
    reports: Receiver<T>,
}

/// The thread's end.
pub(crate) struct Reporter<T> {
    reports: Sender<T>,
    waker: Option<Arc<Waker>>,
}

/// What a worker has for the loop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    Report(T),
    /// Nothing yet.
    Pending,
    /// Nothing any more: the thread has ended.
    Ended,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread. `waker` wakes the loop for each report.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn spawn(
        name: &str,
        waker: Option<Arc<Waker>>,
        work: impl FnOnce(&Reporter<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, reports) = unbounded();
        let reporter = Reporter { reports: sender, waker };
        thread::Builder::new().name(name.to_owned()).spawn(move || work(&reporter))?;
        Ok(Self { reports })
    }

    /// The next report, without waiting.
    pub(crate) fn next(&self) -> Next<T> {
        match self.reports.try_recv() {
            Ok(report) => Next::Report(report),
            Err(TryRecvError::Empty) => Next::Pending,
            Err(TryRecvError::Disconnected) => Next::Ended,
        }
    }

    /// The next report, for which it waits no longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Next<T> {
        match self.reports.recv_timeout(limit) {
            Ok(report) => Next::Report(report),
            Err(RecvTimeoutError::Timeout) => Next::Pending,
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        }
    }
}

impl<T> Reporter<T> {
    /// Sends a report and wakes the loop. The report is dropped where the loop is no longer interested.
    pub(crate) fn send(&self, report: T) {
        let _ = self.reports.send(report);
        if let Some(Err(error)) = self.waker.as_ref().map(|waker| waker.wake()) {
            log::error!("cannot wake the loop: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reports_until_it_ends() {
        let worker = Worker::spawn("test", None, |reporter| {
            (1..=2).for_each(|number| reporter.send(number));
        })
        .unwrap();
        let limit = Duration::from_secs(30);
        assert_eq!([1, 2].map(Next::Report), [0, 1].map(|_| worker.wait(limit)));
        assert_eq!((worker.wait(limit), worker.next()), (Next::Ended, Next::Ended));
    }
}
