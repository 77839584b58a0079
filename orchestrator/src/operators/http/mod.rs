//! The HTTP interface for operators: metrics, health, and a page.
//!
//! A separate thread accepts connections, parses, formats and writes, so that requests do not delay matches. It gets
//! its figures from the loop: it wakes the loop, which passes it a copy of its numbers, at most ten times a second.
//! Everything is bounded: the connections, the size of a request, and the duration of a connection. Each connection has
//! one request.

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
use crate::operators::view::View;

/// The listening socket, before the thread is started.
pub(crate) struct HttpListener {
    listener: TcpListener,
}

/// The loop's end: sends figures to the thread.
pub(crate) struct Http {
    answers: SyncSender<View>,
    /// Wakes the thread.
    waker: Arc<Waker>,
}

impl HttpListener {
    /// Listens on an address. Port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the address is unavailable.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        log::info!("serving HTTP metrics={}", listener.local_addr()?);
        Ok(Self { listener })
    }

    /// Starts the thread. It lives as long as the daemon; `loop_waker` wakes the loop.
    ///
    /// # Errors
    /// When there is no descriptor or no thread left.
    pub(crate) fn open(mut self, loop_waker: Arc<Waker>) -> io::Result<Http> {
        let poll = Poll::new()?;
        poll.registry().register(&mut self.listener, serve::LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), serve::ANSWER)?);
        // The channel holds two: the thread may not have taken one answer when the loop sends the next.
        let (answers, given) = sync_channel(2);
        let desk = Desk::new(poll, self.listener, loop_waker, given);
        std::thread::Builder::new().name("muster-http".into()).spawn(move || desk.run())?;
        Ok(Http { answers, waker })
    }
}

impl Http {
    /// Sends figures to the thread. Never waits: if the channel is full, the figures in it are recent enough.
    pub(crate) fn send(&self, view: View) {
        let _ = self.answers.try_send(view);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the HTTP thread: {error}");
        }
    }
}
