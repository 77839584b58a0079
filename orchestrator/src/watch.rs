//! `muster status --watch`: how the daemon is, live, on a terminal.
//!
//! It asks what any operator may ask, twice a second, and takes what games use from the kernel; the daemon knows of
//! no watcher. Everything is drawn anew each time, for the size that the terminal has then.

mod draw;
mod usage;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use crate::Failure;
use crate::admin::ask::{AskError, Daemon};
use crate::admin::{LivingGame, Status};
use usage::Usage;

/// How often the daemon is asked.
const PERIOD: Duration = Duration::from_millis(500);

/// What is shown.
pub(crate) struct View {
    status: Status,
    games: Vec<LivingGame>,
    /// By pid.
    usage: BTreeMap<i32, Usage>,
    asked: Instant,
    /// Matches a second, since the daemon was asked before.
    rate: Option<f64>,
}

/// Shows it until q is pressed.
///
/// # Errors
/// When there is no terminal, or the daemon does not answer any more.
pub(crate) fn run(mut daemon: Daemon) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "status --watch needs a terminal; muster status --json is for programs",
        ));
    }
    let mut view = View::of(&mut daemon)?;
    let mut terminal = ratatui::try_init().map_err(Failure::run("take over the terminal"))?;
    let shown = show(&mut terminal, &mut daemon, &mut view);
    ratatui::restore();
    shown
}

fn show(
    terminal: &mut DefaultTerminal,
    daemon: &mut Daemon,
    view: &mut View,
) -> Result<(), Failure> {
    loop {
        terminal.draw(|frame| draw::draw(view, frame)).map_err(Failure::run("draw"))?;
        let left = (view.asked + PERIOD).saturating_duration_since(Instant::now());
        if !event::poll(left).map_err(Failure::run("hear the keyboard"))? {
            view.refresh(daemon)?;
            continue;
        }
        if let Event::Key(key) = event::read().map_err(Failure::run("hear the keyboard"))? {
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
        view.look_at_processes();
        Ok(view)
    }

    fn refresh(&mut self, daemon: &mut Daemon) -> Result<(), AskError> {
        let before = (self.status.matches_assigned, self.asked);
        self.status = daemon.watch()?;
        self.games = daemon.games(0)?.living;
        self.asked = Instant::now();
        // After an upgrade in place it counts from zero.
        let matches = self.status.matches_assigned.checked_sub(before.0);
        self.rate = matches.map(|count| count as f64 / (self.asked - before.1).as_secs_f64());
        self.look_at_processes();
        Ok(())
    }

    /// What the daemon uses, and the games that are there; what is known of others is forgotten.
    fn look_at_processes(&mut self) {
        let before = std::mem::take(&mut self.usage);
        let games = self.games.iter().filter_map(|game| game.pid);
        let pids = i32::try_from(self.status.pid).into_iter().chain(games);
        let look = |pid: i32| Some((pid, Usage::of(pid, before.get(&pid))?));
        self.usage = pids.filter_map(look).collect();
    }
}
