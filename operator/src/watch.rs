//! `muster status --watch`: the daemon's state, live, on a terminal.
//!
//! Twice a second it requests the status like any operator, and reads from proc(5) what the processes use. Each time
//! the whole screen is drawn, for the current size of the terminal.

mod draw;
mod usage;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use protocol::admin::{LivingGame, Status};

use self::usage::Usage;
use crate::Error;
use crate::ask::{AskError, Daemon};

/// The time between two requests.
const PERIOD: Duration = Duration::from_millis(500);

/// The state that is shown.
struct View {
    status: Status,
    games: Vec<LivingGame>,
    /// By pid.
    usage: BTreeMap<i32, Usage>,
    asked: Instant,
    /// Matches per second, since the request before.
    rate: Option<f64>,
}

/// Shows it until q is pressed.
///
/// # Errors
/// When there is no terminal, or the daemon stops answering.
pub(crate) fn run(mut daemon: Daemon) -> Result<(), Error> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "status --watch needs a terminal; programs use muster status --json",
        ));
    }
    let mut view = View::of(&mut daemon)?;
    let mut terminal = ratatui::try_init().map_err(Error::run("take over the terminal"))?;
    let shown = show(&mut terminal, &mut daemon, &mut view);
    ratatui::restore();
    shown
}

fn show(terminal: &mut DefaultTerminal, daemon: &mut Daemon, view: &mut View) -> Result<(), Error> {
    loop {
        terminal.draw(|frame| draw::draw(view, frame)).map_err(Error::run("draw"))?;
        let left = (view.asked + PERIOD).saturating_duration_since(Instant::now());
        if !event::poll(left).map_err(Error::run("read the keyboard"))? {
            view.refresh(daemon)?;
            continue;
        }
        if let Event::Key(key) = event::read().map_err(Error::run("read the keyboard"))? {
            let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                // In raw mode Ctrl-C is a key like others.
                KeyCode::Char('c') if is_interrupt => return Ok(()),
                _ => {}
            }
        }
    }
}

impl View {
    fn of(daemon: &mut Daemon) -> Result<Self, AskError> {
        let status = daemon.watch()?;
        let games = daemon.games(0)?.living;
        let asked = Instant::now();
        let mut view = Self { status, games, usage: BTreeMap::new(), asked, rate: None };
        view.read_usage();
        Ok(view)
    }

    fn refresh(&mut self, daemon: &mut Daemon) -> Result<(), AskError> {
        let before = (self.status.matches_assigned, self.asked);
        self.status = daemon.watch()?;
        self.games = daemon.games(0)?.living;
        self.asked = Instant::now();
        // An upgrade in place resets the count.
        let matches = self.status.matches_assigned.checked_sub(before.0);
        self.rate = matches.map(|count| count as f64 / (self.asked - before.1).as_secs_f64());
        self.read_usage();
        Ok(())
    }

    /// Reads what the daemon and the living games use, and forgets other processes.
    fn read_usage(&mut self) {
        let before = std::mem::take(&mut self.usage);
        let games = self.games.iter().filter_map(|game| game.pid);
        let pids = i32::try_from(self.status.pid).into_iter().chain(games);
        let read = |pid: i32| Some((pid, Usage::of(pid, before.get(&pid))?));
        self.usage = pids.filter_map(read).collect();
    }
}
