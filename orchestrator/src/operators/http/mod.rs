//! What an operator sees over HTTP: metrics, health, and a page.
//!
//! A thread of its own waits for connections, parses, formats and writes, so that nobody who asks takes time from a
//! match. What it shows it gets from the loop: it asks by waking the loop, and the loop hands a copy of its numbers
//! over, ten times a second at most however many ask. Everything is bounded: connections, the size of a request, and the
//! time from a connection to its end. One request for each connection is all there is.

mod accept;
mod answer;
mod conversation;
mod process;
mod request;
mod serve;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use mio::net::TcpListener;
use mio::{Interest, Poll, Waker};

use self::serve::Desk;
use crate::operators::metrics::Snapshot;

/// The listening socket, while nobody serves it yet.
pub(crate) struct HttpListener {
    listener: TcpListener,
}

/// The loop's end: where its answers go.
pub(crate) struct Http {
    answers: SyncSender<Snapshot>,
    /// Wakes the thread that waits for them.
    waker: Arc<Waker>,
}

impl HttpListener {
    /// Listens on an address. Port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        log::info!("serving HTTP metrics={}", listener.local_addr()?);
        Ok(Self { listener })
    }

    /// Starts the thread. It lives as long as the daemon; `loop_waker` wakes the loop.
    ///
    /// # Errors
    /// When a descriptor or a thread cannot be had.
    pub(crate) fn open(mut self, loop_waker: Arc<Waker>) -> io::Result<Http> {
        let poll = Poll::new()?;
        poll.registry().register(&mut self.listener, serve::LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), serve::ANSWER)?);
        // One answer may be on its way while the loop gives another.
        let (answers, given) = sync_channel(2);
        let desk = Desk::new(poll, self.listener, loop_waker, given);
        std::thread::Builder::new().name("muster-http".into()).spawn(move || desk.run())?;
        Ok(Http { answers, waker })
    }
}

impl Http {
    /// Hands figures over. Never waits: an answer that nobody has taken yet is as good.
    pub(crate) fn tell(&self, snapshot: Snapshot) {
        let _ = self.answers.try_send(snapshot);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the thread that speaks HTTP: {error}");
        }
    }
}
