//! The daemon's view of templates, which the launcher keeps: who they are, and what they print.
//!
//! A mode may have several: one serves, another loads to take its place. Each is heard until nobody is left who could
//! say something in its name: a pipe that nobody reads is the end of whoever writes to it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use brain::ModeId;
use mio::Registry;
use nix::libc::SIGKILL;
use process::Pidfd;
use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::games::output::{Output, Printed, SavedOutput};
use crate::games::processes;
use crate::handoff::descriptors::{InheritedFds, StateError};
use crate::rest::Rest;
use crate::tokens;

/// How often a dead template's output is read at once, each time for a turn's share: more than the kernel holds of
/// it. A game may have that pipe, too, and say more later.
const LAST_WORDS_MAX: usize = 256;

/// How long templates may take to die when the daemon ends: no time, if the kernel can help it.
const END_MAX: Duration = Duration::from_secs(5);

/// All templates that live or can be heard, by numbers that are never given out again: those of processes are.
#[derive(Default)]
pub(crate) struct Templates {
    all: BTreeMap<u64, Template>,
    next: u64,
}

/// One template.
struct Template {
    mode: ModeId,
    pid: i32,
    is_reaped: bool,
    output: Output,
    has_more: bool,
}

/// All templates as they are written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedTemplates {
    next: u64,
    all: Vec<SavedTemplate>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTemplate {
    number: u64,
    mode: ModeId,
    pid: i32,
    is_reaped: bool,
    output: SavedOutput,
}

/// What was heard of a template.
pub(crate) struct Heard {
    pub(crate) mode: ModeId,
    pub(crate) pid: i32,
    pub(crate) printed: Vec<Printed>,
}

impl Templates {
    /// Takes in a process that was just made, and has the poll watch what it prints.
    pub(crate) fn insert(
        &mut self,
        mode: ModeId,
        pid: i32,
        output: Option<OwnedFd>,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) {
        let token = tokens::template(self.next);
        let output = Output::new(output, token, registry, lines_per_second, now);
        let template = Template { mode, pid, is_reaped: false, output, has_more: false };
        self.all.insert(self.next, template);
        self.next += 1;
    }

    /// What is to be known of them, for the program that goes on listening to them.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedTemplates {
        let save = |(number, template): (&u64, &Template)| SavedTemplate {
            number: *number,
            mode: template.mode,
            pid: template.pid,
            is_reaped: template.is_reaped,
            output: template.output.save(kept),
        };
        SavedTemplates { next: self.next, all: self.all.iter().map(save).collect() }
    }

    /// Goes on listening to all templates. They are dying, as their launcher is gone; what their games print may come
    /// by their pipes.
    ///
    /// # Errors
    /// When a pipe is not there.
    pub(crate) fn restore(saved: SavedTemplates, registry: &Registry) -> Result<Self, StateError> {
        let mut templates = Self { all: BTreeMap::new(), next: saved.next };
        for saved in saved.all {
            let token = tokens::template(saved.number);
            let template = Template {
                mode: saved.mode,
                pid: saved.pid,
                is_reaped: saved.is_reaped,
                output: Output::restore(&saved.output, token, registry)?,
                has_more: true,
            };
            templates.all.insert(saved.number, template);
        }
        Ok(templates)
    }

    /// Those that were not reaped, with their modes, in the order of these.
    pub(crate) fn living(&self) -> Vec<(ModeId, i32)> {
        let living = self.all.values().filter(|template| !template.is_reaped);
        let mut living: Vec<_> = living.map(|template| (template.mode, template.pid)).collect();
        living.sort_unstable();
        living
    }

    /// Reads what one has printed, its share of a turn.
    pub(crate) fn read(&mut self, number: u64, chunk: &mut [u8], now: Instant) -> Option<Heard> {
        self.read_times(1, number, chunk, now)
    }

    /// Whether there is one whose turn was over before all was read.
    pub(crate) fn has_ready(&self) -> bool {
        self.all.values().any(|template| template.has_more)
    }

    /// Those whose turn was over before all was read.
    pub(crate) fn ready(&self) -> Vec<u64> {
        let ready = self.all.iter().filter(|(_, template)| template.has_more);
        ready.map(|(number, _)| *number).collect()
    }

    /// Takes note that a process was reaped, and gives its last words. `None`: it was no template.
    pub(crate) fn note_end(&mut self, pid: i32, chunk: &mut [u8], now: Instant) -> Option<Heard> {
        let mut living = self.all.iter_mut().filter(|(_, template)| !template.is_reaped);
        let (&number, template) = living.find(|(_, template)| template.pid == pid)?;
        template.is_reaped = true;
        self.read_times(LAST_WORDS_MAX, number, chunk, now)
    }

    /// Reads so often at most, and forgets one that is gone and cannot be heard any more.
    fn read_times(
        &mut self,
        times: usize,
        number: u64,
        chunk: &mut [u8],
        now: Instant,
    ) -> Option<Heard> {
        let template = self.all.get_mut(&number)?;
        let mut printed = Vec::new();
        for _ in 0..times {
            let (more, rest) = template.output.read(chunk, now, None);
            let has_more = rest != Rest::Nothing;
            printed.extend(more);
            template.has_more = has_more;
            if !has_more {
                break;
            }
        }
        let (mode, pid) = (template.mode, template.pid);
        if template.is_reaped && !template.output.is_open() {
            let suppressed = template.output.take_suppressed();
            printed.extend((suppressed > 0).then_some(Printed::Suppressed(suppressed)));
            self.all.remove(&number);
        }
        Some(Heard { mode, pid, printed })
    }
}

impl Drop for Templates {
    /// Nothing of a template outlives the daemon. The launcher has killed them, if there was one, and they are dying.
    fn drop(&mut self) {
        let deadline = Instant::now() + END_MAX;
        for (_, pid) in self.living() {
            let process = Pidfd::open(pid).ok().filter(|_| processes::is_child(pid));
            let Some(process) = process else { continue };
            // `false`: it is dead.
            let _ = process.signal(SIGKILL);
            let left = deadline.saturating_duration_since(Instant::now());
            if !process.wait(Some(left)).unwrap_or_default() {
                log::warn!("a template does not end pid={pid}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write as _};

    use mio::Poll;

    use super::*;

    const MODE: ModeId = ModeId(0);

    /// A template with a pid, and the end of its pipe that it and its games have.
    fn add(templates: &mut Templates, pid: i32) -> PipeWriter {
        let poll = Poll::new().unwrap();
        let (ours, its) = std::io::pipe().unwrap();
        templates.insert(MODE, pid, Some(ours.into()), poll.registry(), 100, Instant::now());
        its
    }

    /// The lines that were heard, if there was anybody to be heard.
    fn lines(heard: Option<Heard>) -> Option<Vec<String>> {
        let text = |printed| match printed {
            Printed::Line(line) => String::from_utf8_lossy(&line).into_owned(),
            Printed::Suppressed(lines) => format!("{lines} suppressed"),
        };
        heard.map(|heard| heard.printed.into_iter().map(text).collect())
    }

    fn read(templates: &mut Templates, number: u64) -> Option<Vec<String>> {
        lines(templates.read(number, &mut [0; 1024], Instant::now()))
    }

    fn end(templates: &mut Templates, pid: i32) -> Option<Vec<String>> {
        lines(templates.note_end(pid, &mut [0; 1024], Instant::now()))
    }

    #[test]
    fn two_of_a_mode_are_heard() {
        let mut templates = Templates::default();
        let mut pipes = [7, 8].map(|pid| add(&mut templates, pid));
        assert_eq!(templates.living(), [(MODE, 7), (MODE, 8)]);
        pipes.iter_mut().for_each(|pipe| pipe.write_all(b"words\n").unwrap());
        assert_eq!(
            [0, 1].map(|number| read(&mut templates, number)),
            [Some(vec!["words".into()]), Some(vec!["words".into()])]
        );
    }

    #[test]
    fn one_that_was_reaped_is_heard_as_long_as_its_games_have_its_pipe() {
        let mut templates = Templates::default();
        let mut pipe = add(&mut templates, 7);
        pipe.write_all(b"last words\n").unwrap();
        assert_eq!(end(&mut templates, 7), Some(vec!["last words".into()]));
        assert_eq!(templates.living(), []);
        pipe.write_all(b"a game's\n").unwrap();
        assert_eq!(read(&mut templates, 0), Some(vec!["a game's".into()]));
        drop(pipe);
        assert_eq!(read(&mut templates, 0), Some(vec![]));
        assert!(templates.all.is_empty(), "nobody can say anything any more");
    }

    #[test]
    fn a_number_that_comes_again_is_another_process() {
        let mut templates = Templates::default();
        let first = add(&mut templates, 7);
        drop(first);
        assert_eq!(end(&mut templates, 7), Some(vec![]));
        assert_eq!(end(&mut templates, 7), None, "no template any more");
        let mut second = add(&mut templates, 7);
        second.write_all(b"words\n").unwrap();
        assert_eq!(read(&mut templates, 0), None);
        assert_eq!(read(&mut templates, 1), Some(vec!["words".into()]));
        assert_eq!(end(&mut templates, 7), Some(vec![]));
    }

    #[test]
    fn one_that_closed_its_output_lives() {
        let mut templates = Templates::default();
        drop(add(&mut templates, 7));
        assert_eq!(read(&mut templates, 0), Some(vec![]));
        assert_eq!(templates.living(), [(MODE, 7)]);
        assert!(!templates.has_ready());
        assert_eq!(end(&mut templates, 7), Some(vec![]));
        assert!(templates.all.is_empty());
    }
}
