//! Watching games: what they say, what they print, and how they end; and the signals, most of which tell of
//! such an end.

use matchmaker::{GameId, Input};
use nix::sys::signal::Signal;
use protocol::FromGame;

use super::Server;
use crate::channels::Said;
use crate::games::Reaped;
use crate::launcher::{Answer, Process};

/// How often a dead game's channels are read, each time for a turn's share: more than the kernel holds of them.
const LAST_WORDS_MAX: usize = 256;

impl Server {
    /// The worker has answered.
    pub(super) fn handle_answers(&mut self) {
        while let Some(answer) = self.launcher.next_answer() {
            match answer {
                Answer::Launched { game, process } => self.handle_launched(game, process),
                Answer::Failed { game, fault } => {
                    self.tell_brain(Input::LaunchFailed { game, fault });
                }
                Answer::CleanedUp { game } => self.handle_cleaned_up(game),
            }
        }
        let answered = self.launcher.answered();
        self.unclaimed.retain(|_, (_, last_launch)| *last_launch > answered);
    }

    fn handle_launched(&mut self, game: GameId, process: Process) {
        let pid = process.pid;
        let rate = self.config.limits.output_lines_per_second;
        log::debug!("game launched game={game} pid={pid}");
        self.games.insert(game, process, self.poll.registry(), rate, self.now);
        if let Some((exit, _)) = self.unclaimed.remove(&pid) {
            self.games.note_early_exit(game, exit);
            self.launcher.clean_up(game);
        }
        self.tell_brain(Input::Launched { game });
    }

    pub(super) fn handle_control_event(&mut self, id: GameId) {
        if let Some(game) = self.games.get_mut(id) {
            game.channels.flush_control(self.poll.registry(), id);
            self.read_control(id);
        }
    }

    pub(super) fn read_control(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id) else { return };
        let (said, has_more) = game.channels.read_control(&mut self.chunk);
        for said in said {
            self.handle_said(id, said);
        }
        if has_more {
            self.games.set_ready(id);
        }
    }

    pub(super) fn read_output(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id) else { return };
        let (said, has_more) = game.channels.read_output(&mut self.chunk, self.now);
        for said in said {
            self.handle_said(id, said);
        }
        if has_more {
            self.games.set_ready(id);
        }
    }

    fn handle_said(&mut self, game: GameId, said: Said) {
        let message = match said {
            Said::Message(message) => message,
            Said::Garbage(what) => return self.tell_brain(Input::GameBroken { game, what }),
            Said::Output(line) => return self.log_output(game, &String::from_utf8_lossy(&line)),
            Said::Suppressed(lines) => {
                return self
                    .log_output(game, &format!("({lines} lines were too many for the log)"));
            }
        };
        match message {
            FromGame::Ready => self.tell_brain(Input::GameReady { game }),
            FromGame::Started => self.tell_brain(Input::GameStarted { game }),
            FromGame::Joined { slot } => self.tell_brain(Input::GameJoined { game, slot }),
            FromGame::Left { slot } => self.tell_brain(Input::GameLeft { game, slot }),
            FromGame::Alive => self.tell_brain(Input::GameAlive { game }),
            FromGame::Result { fields } => {
                let result = serde_json::Value::Object(fields).to_string();
                self.tell_brain(Input::GameResult { game, result });
            }
            FromGame::Unknown => log::debug!("game {game} said something of a later contract"),
        }
    }

    /// Writes a line of a game's output into the log, with the game and its match named.
    fn log_output(&self, id: GameId, line: &str) {
        match self.games.get(id).and_then(|game| game.match_id) {
            Some(match_id) => log::info!("output game={id} match={match_id}: {line}"),
            None => log::info!("output game={id}: {line}"),
        }
    }

    /// Nothing of a game is left: hear its last words, then let its port go.
    fn handle_cleaned_up(&mut self, id: GameId) {
        // Nobody can write to its channels any more, so what the kernel holds of them is all; the bound is for
        // one who handed them to a process that is not its own.
        for _ in 0..LAST_WORDS_MAX {
            let Some(game) = self.games.get_mut(id) else { return };
            let (control, control_has_more) = game.channels.read_control(&mut self.chunk);
            let (output, output_has_more) = game.channels.read_output(&mut self.chunk, self.now);
            for said in control.into_iter().chain(output) {
                self.handle_said(id, said);
            }
            if !control_has_more && !output_has_more {
                break;
            }
        }
        let suppressed = self.games.get_mut(id).map_or(0, |game| game.channels.take_suppressed());
        if suppressed > 0 {
            self.handle_said(id, Said::Suppressed(suppressed));
        }
        let Some(exit) = self.games.get(id).and_then(|game| game.exit) else {
            return log::error!("game {id} was cleaned up before it was reaped");
        };
        self.tell_brain(Input::GameExited { game: id, exit });
        self.games.remove(id);
        self.closed_a_descriptor = true;
    }

    // ---- Signals ----

    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTERM | Signal::SIGINT if self.stop_was_asked => {
                    log::info!("{signal} again: stopping now");
                    self.tell_brain(Input::Stop);
                }
                Signal::SIGTERM | Signal::SIGINT => {
                    self.stop_was_asked = true;
                    log::info!("{signal}: draining; once more stops at once");
                    self.tell_brain(Input::Drain);
                }
                _ => log::warn!(
                    "{signal} does nothing in this version; restart to change the config"
                ),
            }
        }
    }

    fn reap(&mut self) {
        while let Some(reaped) = self.games.reap() {
            match reaped {
                Reaped::Game(game) => self.launcher.clean_up(game),
                Reaped::Other(pid, exit) => {
                    let ordered = self.launcher.ordered();
                    if ordered > self.launcher.answered() {
                        self.unclaimed.insert(pid, (exit, ordered));
                    }
                    self.launcher.look_again();
                }
            }
        }
    }
}
