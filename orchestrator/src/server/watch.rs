//! Watching games: what they say, what they print, and how they end; and the signals, most of which tell of
//! such an end.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use launcher::Contract;
use matchmaker::{GameId, Input, ModeId};
use nix::sys::signal::Signal;
use process::Ended;
use protocol::FromGame;

use super::Server;
use crate::games::control::Said;
use crate::games::launcher::{Answer, Process, Remains};
use crate::games::output::Printed;
use crate::games::processes::{self, Game, Reaped};
use crate::games::templates::Heard;
use crate::handoff::preflight::Preflight;
use crate::rest::Rest;

/// How often a dead game's channels are read, each time for a turn's share: more than the kernel holds of them.
const LAST_WORDS_MAX: usize = 256;

impl Server {
    /// The launcher has answered.
    pub(super) fn handle_answers(&mut self) {
        while let Some(answer) = self.launcher.next_answer() {
            match answer {
                Answer::Launched { game, process } => self.handle_launched(game, process),
                Answer::Failed { game, fault } => {
                    self.count_launch_failed(game, &fault);
                    self.reports.forget(game);
                    self.tell_brain(Input::LaunchFailed { game, fault });
                }
                Answer::CleanedUp { game, remains } => self.handle_cleaned_up(game, remains),
                Answer::DirectoryFull { game, bytes, entries } => {
                    self.end_full(game, bytes, entries);
                }
                Answer::Template { program, pid, output } => {
                    if let Some(mode) = self.config.mode_of_program(program) {
                        self.handle_template(mode, pid, output);
                    }
                }
                Answer::Holding => self.preflight.iter_mut().for_each(Preflight::set_held),
                Answer::Gone => {
                    // The one that starts where this program does is no other one.
                    self.counts.launcher_restarts += 1;
                    self.restart_launcher();
                }
            }
        }
        let launcher = &self.launcher;
        self.unclaimed.retain(|_, (_, last)| launcher.awaits_up_to(*last));
    }

    /// Starts another launcher, if there is none and it is time.
    pub(super) fn restart_launcher(&mut self) {
        if !self.launcher.restart(self.now, self.games.all()) {
            return;
        }
        if let Err(error) = self.launcher.register(self.poll.registry()) {
            log::error!("cannot watch the launcher: {error}");
        }
        // What was asked of the last one was lost with it.
        if self.preflight.as_ref().is_some_and(Preflight::is_to_be_held) {
            self.launcher.hold();
        }
    }

    fn handle_launched(&mut self, game: GameId, process: Process) {
        let (pid, mode, program) = (process.pid, process.ordered.mode, process.ordered.program);
        let rate = self.config.limits.output_lines_per_second;
        // Who lives has that number now, and did not die then.
        let is_child = processes::is_child(pid);
        let early_end = self.unclaimed.remove(&pid).filter(|_| !is_child);
        let is_ours = early_end.is_some() || is_child;
        if !is_ours || !self.games.insert(game, process, self.poll.registry(), rate, self.now) {
            return self.launcher.disown(game, program);
        }
        self.count_launched(game, mode);
        log::debug!("game launched game={game} pid={pid}");
        self.store_game(game);
        if let Some((ended, _)) = early_end {
            self.games.note_early_end(game, ended);
            self.clean_up(game);
        }
        self.tell_launched(game, mode);
    }

    /// The brain is told that a game's process exists.
    pub(super) fn tell_launched(&mut self, game: GameId, mode: ModeId) {
        self.tell_brain(Input::Launched { game });
        let program = self.program(game, mode);
        if program.run.contract != Contract::Muster && program.ready_line.is_none() {
            // It says nothing of itself; that it runs has to do.
            self.tell_brain(Input::GameStarted { game });
        }
    }

    /// A game that is another process's child has ended, and was taken in, or not yet.
    pub(super) fn handle_foreign_end(&mut self, game: GameId, is_reaped: bool) {
        if self.games.note_foreign_end(game, is_reaped) {
            self.clean_up(game);
        }
    }

    /// The process of a game has ended. Whoever else belongs to the game is killed or, as long as the game is being
    /// stopped, may finish what it does.
    pub(super) fn clean_up(&mut self, game: GameId) {
        match self.brain.may_end_in_peace(game) {
            true => self.launcher.await_end(game),
            false => self.launcher.clean_up(game),
        }
    }

    fn handle_template(&mut self, mode: ModeId, pid: i32, output: Option<OwnedFd>) {
        self.counts.mode(mode).templates_started += 1;
        log::info!("template started mode={} pid={pid}", self.config.modes[mode.0].name);
        let rate = self.config.limits.output_lines_per_second;
        self.templates.insert(mode, pid, output, self.poll.registry(), rate, self.now);
        // It may have been reaped before it was known.
        let early_end = self.unclaimed.remove(&pid);
        if !processes::is_child(pid) {
            self.handle_template_end(pid, early_end.map(|(ended, _)| ended).as_ref());
        }
    }

    pub(super) fn read_template(&mut self, number: u64) {
        if let Some(heard) = self.templates.read(number, &mut self.chunk, self.now) {
            self.log_template_output(&heard);
        }
    }

    pub(super) fn read_ready_templates(&mut self) {
        for number in self.templates.ready() {
            self.read_template(number);
        }
    }

    fn log_template_output(&self, heard: &Heard) {
        let (name, pid) = (&self.mode(heard.mode).name, heard.pid);
        for printed in &heard.printed {
            log::info!("output template={name} pid={pid}: {}", line_of(printed));
        }
    }

    pub(super) fn handle_output_event(&mut self, id: GameId, end_is_near: bool) {
        if end_is_near && let Some(game) = self.games.get_mut(id) {
            game.output.note_end();
        }
        self.read_output(id);
    }

    pub(super) fn handle_control_event(&mut self, id: GameId, end_is_near: bool) {
        if let Some(game) = self.games.get_mut(id) {
            if end_is_near {
                game.control.note_end();
            }
            game.control.flush(self.poll.registry(), id);
            self.read_control(id);
        }
    }

    pub(super) fn read_control(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id) else { return };
        let (said, rest) = game.control.read(&mut self.chunk, self.now);
        for said in said {
            self.handle_said(id, said);
        }
        self.come_back_to(id, rest);
    }

    /// Reads the rest of a channel later.
    fn come_back_to(&mut self, id: GameId, rest: Rest) {
        match rest {
            Rest::More => self.games.set_ready(id),
            Rest::Later(due) => self.games.set_resting(id, due),
            Rest::Nothing | Rest::NothingLikely => {}
        }
    }

    pub(super) fn read_output(&mut self, id: GameId) {
        let rest = self.hear_output(id);
        self.come_back_to(id, rest);
    }

    /// Reads what a game printed for the log and, as long as it has not started, for its ready line.
    fn hear_output(&mut self, id: GameId) -> Rest {
        let Some(game) = self.games.get_mut(id) else { return Rest::Nothing };
        if game.output.is_on_screen() && !self.brain.awaits_start(id) {
            game.output.leave_screen();
        }
        let program = self.config.programs.get(game.program);
        let wanted = program.and_then(|program| Some(program.ready_line.as_ref()?.regex()));
        let (printed, rest) = game.output.read(&mut self.chunk, self.now, wanted);
        for printed in printed {
            self.log_output(id, &printed);
        }
        self.look_at_screen(id);
        rest
    }

    /// A program that knows nothing of Muster may print that it can be played with.
    fn look_at_screen(&mut self, id: GameId) {
        self.games.note_printed(id);
        if self.games.get_mut(id).is_some_and(|game| game.output.take_found()) {
            self.tell_brain(Input::GameStarted { game: id });
        }
    }

    /// Looks at lines that are not finished, when nothing was printed for a while.
    pub(super) fn look_after_pauses(&mut self) {
        for id in self.games.paused(self.now) {
            let Some(game) = self.games.get_mut(id) else { continue };
            let program = self.config.programs.get(game.program);
            game.output
                .note_pause(program.and_then(|program| Some(program.ready_line.as_ref()?.regex())));
            self.look_at_screen(id);
        }
    }

    fn handle_said(&mut self, game: GameId, said: Said) {
        let message = match said {
            Said::Message(message) => message,
            Said::Garbage(what) => return self.tell_brain(Input::GameBroken { game, what }),
        };
        match message {
            FromGame::Ready => self.tell_brain(Input::GameReady { game }),
            FromGame::Started => self.tell_brain(Input::GameStarted { game }),
            FromGame::Joined { slot } => self.tell_brain(Input::GameJoined { game, slot }),
            FromGame::Left { slot } => self.tell_brain(Input::GameLeft { game, slot }),
            FromGame::Backfill { slots } => self.tell_brain(Input::GameBackfill { game, slots }),
            FromGame::Alive => self.tell_brain(Input::GameAlive { game }),
            FromGame::Result { fields } => {
                let result = serde_json::Value::Object(fields).to_string();
                self.tell_brain(Input::GameResult { game, result });
            }
            FromGame::Unknown => log::debug!("game {game} said something of a later contract"),
        }
    }

    /// Writes a line of a game's output into the log, with the game and its match named.
    fn log_output(&self, id: GameId, printed: &Printed) {
        let line = line_of(printed);
        let Some(game) = self.games.get(id) else { return };
        let mode = &self.mode(game.mode).name;
        match game.match_id {
            Some(match_id) => log::info!("output game={id} mode={mode} match={match_id}: {line}"),
            None => log::info!("output game={id} mode={mode}: {line}"),
        }
    }

    /// Nothing of a game is left: hear its last words, then let its port go.
    fn handle_cleaned_up(&mut self, id: GameId, remains: Remains) {
        // Nobody can write to its channels any more, so what the kernel holds of them is all; the bound is for
        // one who handed them to a process that is not its own.
        for _ in 0..LAST_WORDS_MAX {
            let Some(game) = self.games.get_mut(id) else { return };
            game.output.note_end();
            let (control, control_rest) = game.control.read_last(&mut self.chunk);
            for said in control {
                self.handle_said(id, said);
            }
            let output_rest = self.hear_output(id);
            if (control_rest, output_rest) == (Rest::Nothing, Rest::Nothing) {
                break;
            }
        }
        let suppressed = self.games.get_mut(id).map_or(0, |game| game.output.take_suppressed());
        if suppressed > 0 {
            self.log_output(id, &Printed::Suppressed(suppressed));
        }
        let Some(exit) = self.games.get(id).and_then(Game::exit) else {
            return log::error!("game {id} was cleaned up before it was reaped");
        };
        self.note_remains(id, remains);
        if remains.is_port_taken {
            self.tell_brain(Input::PortTaken { game: id });
        }
        self.tell_brain(Input::GameExited { game: id, exit });
        self.games.remove(id);
        self.forget_stored_game(id);
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
                    self.note_stop_asked();
                    log::info!("{signal}: draining; once more stops at once");
                    self.notifier.stopping(self.now);
                    self.tell_brain(Input::Drain);
                }
                Signal::SIGHUP => {
                    log::info!("{signal}: reading the configuration anew");
                    // What came of it is in the log.
                    drop(self.reload());
                }
                Signal::SIGUSR2 => self.upgrade_on_signal(),
                _ => log::error!("{signal} came, which nobody asked for"),
            }
        }
    }

    pub(super) fn reap(&mut self) {
        while let Some(reaped) = self.games.reap() {
            match reaped {
                Reaped::Game(game) => self.clean_up(game),
                Reaped::Other(ended) => {
                    if let Some(preflight) = &mut self.preflight {
                        preflight.note_end(ended);
                    }
                    if !self.handle_template_end(ended.pid, Some(&ended))
                        && let Some(last) = self.launcher.last_ordered()
                    {
                        self.unclaimed.insert(ended.pid, (ended, last));
                    }
                    self.launcher.look_again();
                }
            }
        }
        self.look_after_preflight();
    }

    /// A process was reaped. Whether it was a template.
    fn handle_template_end(&mut self, pid: i32, ended: Option<&Ended>) -> bool {
        let Some(heard) = self.templates.note_end(pid, &mut self.chunk, self.now) else {
            return false;
        };
        self.log_template_output(&heard);
        let exit =
            ended.map_or_else(|| "not known".into(), |it| processes::exit_of(it).to_string());
        log::warn!("template ended mode={} pid={pid} end=\"{exit}\"", self.mode(heard.mode).name);
        self.counts.mode(heard.mode).templates_ended += 1;
        self.closed_a_descriptor = true;
        true
    }
}

/// What a game or a template printed, for the log.
fn line_of(printed: &Printed) -> Cow<'_, str> {
    match printed {
        Printed::Line(line) => String::from_utf8_lossy(line),
        Printed::Suppressed(lines) => format!("({lines} lines were too many for the log)").into(),
    }
}
