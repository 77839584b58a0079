//! What operators ask, and the answers. Each answer is bounded, and says how to get the rest.

use std::time::Duration;

use matchmaker::{GameId, ModeId};
use serde::Serialize;

use super::Server;
use crate::admin::socket::{Asker, CONVERSATIONS_MAX};
use crate::admin::{
    END, Games, LivingGame, PortStatus, QueueStatus, Refusal, ReportStatus, Request, Status,
    TemplateStatus, Turns,
};
use crate::reports::{Draft, Report};

/// A page of games is full when it has so many bytes, about: less than the loop needs a millisecond for.
const PAGE_BYTES: usize = 128 * 1024;

/// What a living game takes of a page, besides names.
const LIVING_BYTES: usize = 256;

impl Server {
    /// Serves each operator one request, where there is one.
    pub(super) fn serve_operators(&mut self) {
        // Taken out meanwhile, so that the answers can come from everything else.
        let Some(mut admin) = self.admin.take() else { return };
        admin.accept(self.poll.registry());
        for place in 0..CONVERSATIONS_MAX {
            let Some(request) = admin.next_request(place, &mut self.chunk) else { continue };
            let answer = match request {
                Ok(line) => self.answer_operator(&line, || admin.promise(place)),
                Err(error) => Some(refusal(error)),
            };
            if let Some(answer) = answer {
                admin.answer(place, &answer);
            }
        }
        self.admin = Some(admin);
    }

    /// The answer to a request; `None` if it is promised for later.
    fn answer_operator(
        &mut self,
        line: &[u8],
        promise: impl FnOnce() -> Option<Asker>,
    ) -> Option<String> {
        Some(match serde_json::from_slice(line) {
            Ok(Request::Games { last, before, from }) => json(&self.games_page(last, before, from)),
            Ok(Request::Status { reset_turns }) => {
                let status = json(&self.daemon_status());
                if reset_turns {
                    self.turns = Turns::default();
                }
                status
            }
            Ok(Request::Upgrade { binary }) => {
                let begun = self.begin_upgrade(binary, promise());
                return begun.err().map(refusal);
            }
            Err(error) => refusal(error.to_string()),
        })
    }

    /// A page: first the living games, then reports.
    fn games_page(&self, last: usize, before: u64, from: u64) -> Games<&Report> {
        let mut room = PAGE_BYTES;
        let mut page = Games { living: Vec::new(), ended: Vec::new(), next: None };
        for (game, draft) in self.reports.living(GameId(from)) {
            if room == 0 {
                page.next = Some(Request::Games { last, before, from: game.0 });
                return page;
            }
            let names: usize = draft.names.iter().map(String::len).sum();
            room = room.saturating_sub(LIVING_BYTES + names);
            page.living.push(self.living_game(game, draft));
        }
        for report in self.reports.newest(before).take(last) {
            if room == 0 {
                page.next = Some(Request::Games {
                    last: last - page.ended.len(),
                    before: report.number + 1,
                    // After all living games.
                    from: END,
                });
                return page;
            }
            room = room.saturating_sub(report.bytes());
            page.ended.push(report);
        }
        page
    }

    fn living_game(&self, game: GameId, draft: &Draft) -> LivingGame {
        LivingGame {
            game: game.to_string(),
            mode: self.config.modes[draft.mode.0].name.clone(),
            match_id: draft.match_id.map(|id| id.to_string()),
            phase: draft.phase,
            pid: self.games.get(game).map(|game| game.pid),
            port: draft.port,
            age_ms: millis(self.now.saturating_duration_since(draft.ordered)),
            players: draft.names.clone(),
        }
    }

    fn daemon_status(&self) -> Status {
        let modes = || (0..self.config.modes.len()).map(ModeId);
        let queue = |mode: ModeId| {
            let status = self.brain.mode_status(mode);
            let queue = self.config.modes[mode.0].name.clone();
            QueueStatus { queue, waiting: status.waiting, games: status.games }
        };
        let template = |(mode, pid): (ModeId, i32)| TemplateStatus {
            mode: self.config.modes[mode.0].name.clone(),
            pid,
        };
        let range = &self.config.ports.range;
        let (kept, bytes) = self.reports.kept();
        Status {
            pid: std::process::id(),
            uptime_ms: millis(self.now.saturating_duration_since(self.started)),
            serving: self.brain.is_serving(),
            queues: modes().map(queue).collect(),
            ports: PortStatus {
                first: *range.start(),
                last: *range.end(),
                free: self.brain.mode_status(ModeId(0)).ports_free,
            },
            launcher: self.launcher.pid(),
            templates: self.templates.living().into_iter().map(template).collect(),
            reports: ReportStatus { ended: self.reports.ended(), kept, bytes },
            turns: self.turns,
        }
    }
}

fn refusal(error: String) -> String {
    json(&Refusal { error })
}

fn json(answer: &impl Serialize) -> String {
    // Serializing fails only for maps with keys that are not strings, which no answer holds.
    serde_json::to_string(answer).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
