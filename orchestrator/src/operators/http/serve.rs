//! The HTTP thread.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::accept::Format;
use super::answer::{Answer, Status};
use super::conversation::{Conversation, Next};
use super::request::{Path, Request};
use super::{process, status};
use crate::operators::metrics::{classic, openmetrics};
use crate::operators::view::View;

pub(super) const LISTENER: Token = Token(0);
pub(super) const ANSWER: Token = Token(1);

/// The token of the first connection.
const CONVERSATIONS: usize = 2;

/// The largest number of connections. The next one replaces the oldest that was not answered yet, or else the oldest.
const CONVERSATIONS_MAX: usize = 16;

/// How long the loop may take to answer before it counts as stuck.
const LOOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The age up to which figures are reused, which limits how often the loop is asked.
const VIEW_AGE_MAX: Duration = Duration::from_millis(100);

/// When to retry after the kernel had no room for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The size of a read.
const READ_CHUNK: usize = 4096;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// The state of the thread.
pub(super) struct Desk {
    poll: Poll,
    listener: TcpListener,
    /// Whether it listens on loopback, where `Host` must name loopback.
    is_on_loopback: bool,
    /// When to retry after a failed accept.
    accept_at: Option<Instant>,
    /// Wakes the loop.
    loop_waker: Arc<Waker>,
    given: Receiver<View>,
    latest: Option<(Instant, Arc<View>)>,
    /// When the loop was asked, until it has answered or counts as stuck.
    asked_at: Option<Instant>,
    /// With the sequence number of each connection.
    conversations: [Option<(u64, Conversation)>; CONVERSATIONS_MAX],
    arrivals: u64,
    /// Counts, in the order of [`Status::ALL`].
    responses: [u64; Status::ALL.len()],
    started_seconds: f64,
    chunk: Box<[u8]>,
}

impl Desk {
    pub(super) fn new(
        poll: Poll,
        listener: TcpListener,
        loop_waker: Arc<Waker>,
        given: Receiver<View>,
    ) -> Self {
        let address = listener.local_addr();
        Self {
            poll,
            is_on_loopback: address.is_ok_and(|it| it.ip().to_canonical().is_loopback()),
            listener,
            accept_at: None,
            loop_waker,
            given,
            latest: None,
            asked_at: None,
            conversations: [const { None }; CONVERSATIONS_MAX],
            arrivals: 0,
            responses: [0; Status::ALL.len()],
            started_seconds: process::started_seconds().unwrap_or_default(),
            chunk: vec![0; READ_CHUNK].into_boxed_slice(),
        }
    }

    /// Runs as long as the process.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(CONVERSATIONS_MAX);
        loop {
            match self.poll.poll(&mut events, self.time_to_wait()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return log::error!("HTTP has stopped: cannot wait for events: {error}");
                }
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    ANSWER => self.take_figures(),
                    // The event may be about an earlier connection with this number: checking the current one is
                    // harmless.
                    token => self.go_on(token.0 - CONVERSATIONS),
                }
            }
            self.handle_deadlines(Instant::now());
        }
    }

    fn time_to_wait(&self) -> Option<Duration> {
        let conversations = self.conversations.iter().flatten().map(|(_, it)| it.deadline);
        let asked = self.asked_at.map(|at| at + LOOP_TIMEOUT);
        let next = conversations.chain(asked).chain(self.accept_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_deadlines(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.accept();
        }
        if self.asked_at.is_some_and(|at| at + LOOP_TIMEOUT <= now) {
            // Its answer is still used when it arrives.
            self.asked_at = None;
            self.answer_waiting(None);
        }
        for place in 0..CONVERSATIONS_MAX {
            let Some((_, conversation)) = &self.conversations[place] else { continue };
            if conversation.deadline > now {
                continue;
            }
            if conversation.is_answered() {
                self.conversations[place] = None;
            } else {
                self.answer(place, Answer::plain(Status::RequestTimeout), false);
            }
        }
    }

    // ---- Connections ----

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // accept(2): the connection has ended, or a similar error; retry.
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept an HTTP connection: {error}; retrying");
                    self.accept_at = Some(Instant::now() + ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut socket: TcpStream) {
        let worth = |place: &usize| {
            let held = self.conversations[*place].as_ref();
            held.map(|(arrival, it)| (it.is_answered() || it.awaited().is_some(), *arrival))
        };
        let Some(place) = (0..CONVERSATIONS_MAX).min_by_key(worth) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(CONVERSATIONS + place);
        // Closed first: dropping it later would also deregister the new one.
        self.conversations[place] = None;
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            return log::error!("cannot poll an HTTP connection: {error}");
        }
        self.arrivals += 1;
        let conversation = Conversation::new(socket, Instant::now());
        self.conversations[place] = Some((self.arrivals, conversation));
        self.go_on(place);
    }

    fn go_on(&mut self, place: usize) {
        let Some(Some((_, conversation))) = self.conversations.get_mut(place) else { return };
        match conversation.go_on(&mut self.chunk) {
            Next::Wait => {}
            Next::Answer(request) => self.serve(place, request),
            Next::Refuse(status) => self.answer(place, Answer::plain(status), false),
            Next::Close => self.conversations[place] = None,
        }
    }

    fn answer(&mut self, place: usize, answer: Answer, is_head: bool) {
        let Some((_, conversation)) = &mut self.conversations[place] else { return };
        if let Some(kind) = Status::ALL.iter().position(|it| *it == answer.status) {
            self.responses[kind] += 1;
        }
        conversation.answer(answer, is_head, Instant::now());
        if conversation.go_on(&mut self.chunk) == Next::Close {
            self.conversations[place] = None;
        }
    }

    // ---- Requests ----

    fn serve(&mut self, place: usize, request: Request) {
        if self.is_on_loopback && !request.is_for_loopback {
            return self.answer(place, Answer::plain(Status::Forbidden), request.is_head);
        }
        if !request.path.needs_figures() {
            let answer = page(request.path);
            return self.answer(place, answer, request.is_head);
        }
        let now = Instant::now();
        if let Some((at, view)) = &self.latest
            && now.saturating_duration_since(*at) < VIEW_AGE_MAX
        {
            let view = Arc::clone(view);
            let answer = self.tell(request, &view);
            return self.answer(place, answer, request.is_head);
        }
        if let Some((_, conversation)) = &mut self.conversations[place] {
            conversation.await_figures(request, now);
        }
        if self.asked_at.is_none() {
            self.asked_at = Some(now);
            if let Err(error) = self.loop_waker.wake() {
                log::error!("cannot wake the loop: {error}");
            }
        }
    }

    /// Takes the loop's figures.
    fn take_figures(&mut self) {
        let Some(view) = self.given.try_iter().last().map(Arc::new) else { return };
        self.latest = Some((Instant::now(), Arc::clone(&view)));
        self.asked_at = None;
        self.answer_waiting(Some(&view));
    }

    /// Answers all requests that wait for figures. `None` if the loop is stuck.
    fn answer_waiting(&mut self, view: Option<&Arc<View>>) {
        for place in 0..CONVERSATIONS_MAX {
            let waiting = self.conversations[place].as_ref();
            let Some(request) = waiting.and_then(|(_, it)| it.awaited()) else { continue };
            let answer = match view {
                Some(view) => self.tell(request, view),
                None => Answer::plain(Status::Unavailable),
            };
            self.answer(place, answer, request.is_head);
        }
    }

    fn tell(&self, request: Request, view: &Arc<View>) -> Answer {
        match request.path {
            Path::Metrics => {
                let process = process::read(self.started_seconds);
                let responses = Status::ALL.map(Status::number).into_iter().zip(self.responses);
                match openmetrics::write(Arc::clone(view), process, responses.collect()) {
                    Ok(text) => in_format(request.format, text).negotiated(),
                    Err(error) => {
                        log::error!("cannot write the metrics: {error}");
                        Answer::plain(Status::Unavailable)
                    }
                }
            }
            Path::Status => {
                let process = process::read(self.started_seconds);
                Answer::of(JSON, status::write(view, process))
            }
            Path::Readyz if !view.is_serving => {
                Answer::with_words(Status::Unavailable, "draining\n")
            }
            Path::Healthz | Path::Readyz => Answer::plain(Status::Ok),
            Path::Page | Path::Style | Path::Script => page(request.path),
        }
    }
}

/// The metrics in the requested format.
fn in_format(format: Format, openmetrics: String) -> Answer {
    match format {
        Format::OpenMetrics => Answer::of(openmetrics::CONTENT_TYPE, openmetrics),
        Format::Classic => Answer::of(classic::CONTENT_TYPE, classic::of(&openmetrics)),
    }
}

/// The static pages.
fn page(path: Path) -> Answer {
    match path {
        Path::Style => Answer::of(CSS, include_bytes!("page/page.css")),
        Path::Script => Answer::of(SCRIPT, include_bytes!("page/page.js")),
        _ => Answer::of(HTML, include_bytes!("page/index.html")),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}
