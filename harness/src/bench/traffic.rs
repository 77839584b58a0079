//! Traffic during an upgrade: one client sends PING repeatedly, others join a queue and leave it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Failure, LIMIT};
use crate::player::Player;

pub(crate) const TRAFFIC: &str = "traffic";

/// The number of clients that join and leave, in turns.
const JOINERS: usize = 8;

/// Between an answer and the next PING: a pause is known to within this.
const PING_PAUSE: Duration = Duration::from_micros(200);

/// The pause between one client that leaves and the next that joins.
const JOIN_PAUSE: Duration = Duration::from_millis(1);

/// Two threads of clients. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Traffic {
    is_over: Arc<AtomicBool>,
    /// When PING was answered, each time.
    answers: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<Result<(), Failure>>>,
}

impl Traffic {
    pub(crate) fn start(server: SocketAddr) -> Result<Self, Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let mut asker = Player::greeted(server)?;
        let mut joiners = Vec::new();
        for _ in 0..JOINERS {
            joiners.push(Player::greeted(server)?);
        }
        let asking = {
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            move || ask(&mut asker, &is_over, &answers)
        };
        let joining = {
            let is_over = Arc::clone(&is_over);
            move || join_and_leave(&mut joiners, &is_over)
        };
        let threads = vec![std::thread::spawn(asking), std::thread::spawn(joining)];
        let this = Self { is_over, answers, threads };
        this.wait_for_answer_after(Instant::now())?;
        Ok(this)
    }

    /// Ends it. Gives the longest time in which no PING was answered, from a moment on until now, at least.
    ///
    /// # Errors
    /// When a client received an unexpected answer.
    pub(crate) fn end(mut self, begin: Instant) -> Result<Duration, Failure> {
        let answered = self.wait_for_answer_after(Instant::now());
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|_| Err(Failure::Ended("a panic".into())))?;
        }
        answered?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest = Duration::ZERO;
        let mut last = begin;
        for &answer in answers.iter().filter(|&&answer| answer >= begin) {
            longest = longest.max(answer - last);
            last = answer;
        }
        Ok(longest)
    }

    fn wait_for_answer_after(&self, moment: Instant) -> Result<(), Failure> {
        while moment.elapsed() < LIMIT && self.threads.iter().all(|thread| !thread.is_finished()) {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.last().is_some_and(|&answer| answer > moment) {
                return Ok(());
            }
            drop(answers);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Err(Failure::TimedOut { what: "an answer to PING", limit: moment.elapsed() })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn ask(
    asker: &mut Player,
    is_over: &AtomicBool,
    answers: &Mutex<Vec<Instant>>,
) -> Result<(), Failure> {
    let mut number = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        let text = number.to_string();
        asker.say(&format!("PING {text}\n"))?;
        asker.pong(&text)?;
        answers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        number += 1;
        std::thread::sleep(PING_PAUSE);
    }
    Ok(())
}

fn join_and_leave(joiners: &mut [Player], is_over: &AtomicBool) -> Result<(), Failure> {
    loop {
        for joiner in &mut *joiners {
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            joiner.join(TRAFFIC)?;
            joiner.leave()?;
            std::thread::sleep(JOIN_PAUSE);
        }
    }
}
