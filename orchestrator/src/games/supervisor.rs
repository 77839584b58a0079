//! Watching games: what they say and print, how they end, and what the launcher answers.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use brain::{GameId, GameInput, Input, ModeId};
use launcher::Contract;
use process::Ended;
use protocol::FromGame;

use super::control::Said;
use super::launcher::{Answer, Remains};
use super::output::Printed;
use super::processes::{NewProcess, Process, Reaped, exit_of, is_child};
use super::templates::Heard;
use super::{GamePhases, Games};
use crate::operators::metrics::FailedLaunch;
use crate::rest::Rest;
use crate::turn::Turn;

/// How often a dead game's channels are read, each time for a turn's share: more than the kernel holds of them.
const LAST_READS_MAX: usize = 256;

/// Further results of the launcher's answer, besides inputs.
pub(crate) enum News {
    /// A game's process exists, and is to be stored before the inputs are handled.
    Launched(GameId),
    /// Nothing of a game is left: [`Games::remove`] it once the inputs are handled.
    Gone(GameId),
    /// The launcher spares unknown children from here on.
    Holding,
    /// The launcher is gone.
    LauncherLost,
    /// Nothing else.
    Handled,
}

impl Games {
    // ---- The launcher ----

    /// Handles the launcher's next answer, if there is one.
    pub(crate) fn handle_answer(
        &mut self,
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) -> Option<News> {
        let Some(answer) = self.launcher.next_answer() else {
            let launcher = &self.launcher;
            self.unclaimed.retain(|_, (_, last)| launcher.awaits_up_to(*last));
            return None;
        };
        Some(match answer {
            Answer::Launched { game, process } => {
                self.handle_launched(game, process, turn, phases);
                News::Launched(game)
            }
            Answer::Failed { game, fault } => {
                if let Some(record) = self.records.get(game) {
                    let failed = &mut turn.counts.mode(record.mode).launches_failed;
                    failed[FailedLaunch::of(&fault) as usize] += 1;
                }
                turn.push(Input::Game(GameInput::LaunchFailed { game, fault }));
                News::Handled
            }
            Answer::CleanedUp { game, remains } => {
                match self.handle_cleaned_up(game, remains, turn, phases) {
                    true => News::Gone(game),
                    false => News::Handled,
                }
            }
            Answer::DirectoryFull { game, bytes, entries } => {
                self.end_full(game, (bytes, entries), turn, phases);
                News::Handled
            }
            Answer::Template { program, pid, output } => {
                if let Some(mode) = turn.config.mode_of_program(program) {
                    self.handle_template(mode, pid, output, turn);
                }
                News::Handled
            }
            Answer::Holding => News::Holding,
            Answer::Gone => {
                // The launcher that was started with the daemon is not counted as a restart.
                turn.counts.launcher_restarts += 1;
                News::LauncherLost
            }
        })
    }

    fn handle_launched(
        &mut self,
        game: GameId,
        process: NewProcess,
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) {
        let Some(record) = self.records.get(game) else { return };
        let (pid, mode, program, ordered) =
            (process.pid, record.mode, record.program, record.ordered);
        let rate = turn.config.limits.output_lines_per_second;
        // A live child has this pid, so an earlier exit belongs to another process.
        let is_child = is_child(pid);
        let early_end = self.unclaimed.remove(&pid).filter(|_| !is_child);
        let is_ours = early_end.is_some() || is_child;
        if !is_ours || !self.processes.insert(game, process, turn.registry, rate, turn.now) {
            return self.launcher.disown(game, program);
        }
        self.records.set_pid(game, pid);
        let took = turn.now.saturating_duration_since(ordered);
        turn.counts.mode(mode).launch_times.observe(took);
        log::debug!("game launched game={game} pid={pid}");
        if let Some((ended, _)) = early_end {
            self.processes.note_early_end(game, ended);
            self.clean_up(game, phases);
        }
        self.report_launched(game, turn);
    }

    /// Reports that a game's process exists.
    pub(crate) fn report_launched(&self, game: GameId, turn: &mut Turn<'_>) {
        let Some(record) = self.records.get(game) else { return };
        turn.push(Input::Game(GameInput::Launched { game }));
        let program = self.program(turn.config, game, record.mode);
        if program.run.contract != Contract::Muster && program.ready_line.is_none() {
            // It reports nothing itself; that it runs has to do.
            turn.push(Input::Game(GameInput::Started { game }));
        }
    }

    /// A game that is another process's child has ended, and was reaped or not yet.
    pub(crate) fn handle_foreign_end(
        &mut self,
        game: GameId,
        is_reaped: bool,
        phases: &dyn GamePhases,
    ) {
        if self.processes.note_foreign_end(game, is_reaped) {
            self.clean_up(game, phases);
        }
    }

    /// The process of a game has ended. Its other processes are killed or, while the game is being stopped, may finish.
    pub(super) fn clean_up(&mut self, game: GameId, phases: &dyn GamePhases) {
        match phases.may_end_in_peace(game) {
            true => self.launcher.await_end(game),
            false => self.launcher.clean_up(game),
        }
    }

    /// Nothing of a game is left: reads the rest of its channels. Whether its end was reported.
    fn handle_cleaned_up(
        &mut self,
        game: GameId,
        remains: Remains,
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) -> bool {
        // No process of the game can write any more, so what the kernel holds is all; the bound is for a game that gave
        // its channels to a foreign process.
        for _ in 0..LAST_READS_MAX {
            let Some(process) = self.processes.get_mut(game) else { return false };
            process.output.note_end();
            let (control, control_rest) = process.control.read_last(turn.chunk);
            for said in control {
                handle_said(game, said, turn);
            }
            let output_rest = self.read_output_once(game, turn, phases);
            if (control_rest, output_rest) == (Rest::Nothing, Rest::Nothing) {
                break;
            }
        }
        let suppressed =
            self.processes.get_mut(game).map_or(0, |process| process.output.take_suppressed());
        if suppressed > 0 {
            self.log_output(game, &Printed::Suppressed(suppressed), turn);
        }
        let Some(exit) = self.processes.get(game).and_then(Process::exit) else {
            log::error!("game {game} was cleaned up before it was reaped");
            return false;
        };
        self.note_remains(game, remains, turn, phases);
        if remains.is_port_taken {
            turn.push(Input::Game(GameInput::PortTaken { game }));
        }
        turn.push(Input::Game(GameInput::Exited { game, exit }));
        *turn.closed_a_descriptor = true;
        true
    }

    // ---- Templates ----

    fn handle_template(
        &mut self,
        mode: ModeId,
        pid: i32,
        output: Option<OwnedFd>,
        turn: &mut Turn<'_>,
    ) {
        turn.counts.mode(mode).templates_started += 1;
        log::info!("template started mode={} pid={pid}", turn.config.modes[mode.0].name);
        let rate = turn.config.limits.output_lines_per_second;
        self.templates.insert(mode, pid, output, turn.registry, rate, turn.now);
        // It may have been reaped before it was known.
        let early_end = self.unclaimed.remove(&pid);
        if !is_child(pid) {
            self.handle_template_end(pid, early_end.map(|(ended, _)| ended).as_ref(), turn);
        }
    }

    pub(crate) fn read_template(&mut self, number: u64, turn: &mut Turn<'_>) {
        if let Some(heard) = self.templates.read(number, turn.chunk, turn.now) {
            log_template_output(&heard, turn);
        }
    }

    /// A process was reaped. Whether it was a template.
    fn handle_template_end(
        &mut self,
        pid: i32,
        ended: Option<&Ended>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(heard) = self.templates.note_end(pid, turn.chunk, turn.now) else {
            return false;
        };
        log_template_output(&heard, turn);
        let exit = ended.map_or_else(|| "unknown".into(), |it| exit_of(it).to_string());
        let mode = &turn.config.modes[heard.mode.0].name;
        log::warn!("template ended mode={mode} pid={pid} end=\"{exit}\"");
        turn.counts.mode(heard.mode).templates_ended += 1;
        *turn.closed_a_descriptor = true;
        true
    }

    // ---- Channels ----

    /// Reads what was left for fairness.
    pub(crate) fn read_ready(&mut self, turn: &mut Turn<'_>, phases: &dyn GamePhases) {
        for game in self.processes.take_ready() {
            self.read_control(game, turn);
            self.read_output(game, turn, phases);
        }
        for number in self.templates.ready() {
            self.read_template(number, turn);
        }
    }

    pub(crate) fn handle_output_event(
        &mut self,
        game: GameId,
        end_is_near: bool,
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) {
        if end_is_near && let Some(process) = self.processes.get_mut(game) {
            process.output.note_end();
        }
        self.read_output(game, turn, phases);
    }

    pub(crate) fn handle_control_event(
        &mut self,
        game: GameId,
        end_is_near: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(process) = self.processes.get_mut(game) else { return };
        if end_is_near {
            process.control.note_end();
        }
        process.control.flush(turn.registry, game);
        self.read_control(game, turn);
    }

    fn read_control(&mut self, game: GameId, turn: &mut Turn<'_>) {
        let Some(process) = self.processes.get_mut(game) else { return };
        let (said, rest) = process.control.read(turn.chunk, turn.now);
        for said in said {
            handle_said(game, said, turn);
        }
        self.remember_rest(game, rest);
    }

    /// Reads the rest of a channel later.
    fn remember_rest(&mut self, game: GameId, rest: Rest) {
        match rest {
            Rest::More => self.processes.set_ready(game),
            Rest::Later(due) => self.processes.set_resting(game, due),
            Rest::Nothing | Rest::NothingLikely => {}
        }
    }

    fn read_output(&mut self, game: GameId, turn: &mut Turn<'_>, phases: &dyn GamePhases) {
        let rest = self.read_output_once(game, turn, phases);
        self.remember_rest(game, rest);
    }

    /// Reads what a game printed for the log and, until it has started, for its ready line.
    fn read_output_once(
        &mut self,
        game: GameId,
        turn: &mut Turn<'_>,
        phases: &dyn GamePhases,
    ) -> Rest {
        let program = self.records.get(game).map(|record| record.program);
        let Some(process) = self.processes.get_mut(game) else { return Rest::Nothing };
        if process.output.is_on_screen() && !phases.awaits_start(game) {
            process.output.leave_screen();
        }
        let program = program.and_then(|program| turn.config.programs.get(program));
        let wanted = program.and_then(|program| Some(program.ready_line.as_ref()?.regex()));
        let (printed, rest) = process.output.read(turn.chunk, turn.now, wanted);
        for printed in printed {
            self.log_output(game, &printed, turn);
        }
        self.check_screen(game, turn);
        rest
    }

    /// A program without the contract may have printed its ready line.
    fn check_screen(&mut self, game: GameId, turn: &mut Turn<'_>) {
        self.processes.note_printed(game);
        if self.processes.get_mut(game).is_some_and(|process| process.output.take_found()) {
            turn.push(Input::Game(GameInput::Started { game }));
        }
    }

    /// Checks lines that are not finished, when nothing was printed for a while.
    pub(super) fn read_paused(&mut self, turn: &mut Turn<'_>) {
        for game in self.processes.paused(turn.now) {
            let program = self.records.get(game).map(|record| record.program);
            let Some(process) = self.processes.get_mut(game) else { continue };
            let program = program.and_then(|program| turn.config.programs.get(program));
            let wanted = program.and_then(|program| Some(program.ready_line.as_ref()?.regex()));
            process.output.note_pause(wanted);
            self.check_screen(game, turn);
        }
    }

    /// Writes a line of a game's output into the log, with the game and its match.
    fn log_output(&self, game: GameId, printed: &Printed, turn: &Turn<'_>) {
        let line = line_of(printed);
        let Some(record) = self.records.get(game) else { return };
        let mode = &turn.config.modes[record.mode.0].name;
        match record.match_id {
            Some(match_id) => {
                log::info!("output game={game} mode={mode} match={match_id}: {line}");
            }
            None => log::info!("output game={game} mode={mode}: {line}"),
        }
    }

    // ---- Ends ----

    /// Reaps all children that have ended. Returns those that are neither a game nor a template.
    pub(crate) fn reap(&mut self, turn: &mut Turn<'_>, phases: &dyn GamePhases) -> Vec<Ended> {
        let mut others = Vec::new();
        while let Some(reaped) = self.processes.reap() {
            match reaped {
                Reaped::Game(game) => self.clean_up(game, phases),
                Reaped::Other(ended) => {
                    others.push(ended);
                    if !self.handle_template_end(ended.pid, Some(&ended), turn)
                        && let Some(last) = self.launcher.last_ordered()
                    {
                        self.unclaimed.insert(ended.pid, (ended, last));
                    }
                    self.launcher.look_again();
                }
            }
        }
        others
    }
}

fn handle_said(game: GameId, said: Said, turn: &mut Turn<'_>) {
    let message = match said {
        Said::Message(message) => message,
        Said::Garbage(what) => return turn.push(Input::Game(GameInput::Broken { game, what })),
    };
    match message {
        FromGame::Ready => turn.push(Input::Game(GameInput::Ready { game })),
        FromGame::Started => turn.push(Input::Game(GameInput::Started { game })),
        FromGame::Joined { slot } => turn.push(Input::Game(GameInput::Joined { game, slot })),
        FromGame::Left { slot } => turn.push(Input::Game(GameInput::Left { game, slot })),
        FromGame::Backfill { slots } => turn.push(Input::Game(GameInput::Backfill { game, slots })),
        FromGame::Alive => turn.push(Input::Game(GameInput::Alive { game })),
        FromGame::Result { fields } => {
            let result = serde_json::Value::Object(fields).to_string();
            turn.push(Input::Game(GameInput::Result { game, result }));
        }
        FromGame::Unknown => log::debug!("game {game} sent a message of a later contract"),
    }
}

fn log_template_output(heard: &Heard, turn: &Turn<'_>) {
    let (name, pid) = (&turn.config.modes[heard.mode.0].name, heard.pid);
    for printed in &heard.printed {
        log::info!("output template={name} pid={pid}: {}", line_of(printed));
    }
}

/// A line of output, for the log.
fn line_of(printed: &Printed) -> Cow<'_, str> {
    match printed {
        Printed::Line(line) => String::from_utf8_lossy(line),
        Printed::Suppressed(lines) => format!("({lines} lines were too many for the log)").into(),
    }
}
