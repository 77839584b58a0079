//! Answers as tables for people, and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use protocol::Visible;
use protocol::admin::{
    Done, Games, LivingGame, OneGame, Players, QueueStatus, Report, ReportedPlayer, Status,
    Upgraded, WaitingPlayer,
};
use serde::Serialize;

use service::units::Span;

/// Characters of a result that a table shows.
const RESULT_SHOWN: usize = 60;

/// The space between columns.
const GAP: &str = "  ";

/// The outcome of an upgrade.
pub(crate) fn upgraded(upgraded: &Upgraded) -> String {
    let Upgraded { from, to, pid, gap_us } = upgraded;
    let gap = Duration::from_micros(*gap_us);
    format!("upgraded from {from} to {to}: pid {pid} unchanged, service paused for {gap:.1?}\n")
}

/// The answer to a change.
pub(crate) fn done(done: &Done) -> String {
    let mut text = format!("{}\n", Visible(&done.done));
    for warning in &done.warnings {
        text += &format!("warning: {}\n", Visible(warning));
    }
    text
}

/// One game, a line for each of its properties.
pub(crate) fn game(game: &OneGame<Report>) -> String {
    let heads = ["game", "mode", "phase", "match", "pid", "port", "age", "players"];
    let living = game.living.iter().flat_map(|it| heads.into_iter().zip(living_row(it)));
    let heads =
        ["ended", "game", "mode", "match", "end", "lived", "cpu", "memory", "players", "result"];
    let ended = game.ended.iter().flat_map(|it| {
        let port = ("port", it.port.to_string());
        heads.into_iter().zip(ended_row(it, usize::MAX)).chain([("pid", it.pid.to_string()), port])
    });
    let cell = |(head, cell): (&str, String)| [head.to_owned(), Visible(&cell).to_string()];
    let lines: Vec<[String; 2]> = living.chain(ended).map(cell).collect();
    let mut text = String::new();
    rows(&mut text, &lines, &widths(&lines));
    text
}

/// The waiting players.
pub(crate) fn players(players: &Players) -> String {
    if players.players.is_empty() {
        return "no players waiting\n".to_owned();
    }
    let row = |it: &WaitingPlayer| {
        [
            it.player.clone(),
            it.name.clone(),
            it.queue.clone(),
            it.match_id.clone().unwrap_or_else(nothing),
            short(it.waited_ms),
            (if it.here { "here" } else { "away" }).to_owned(),
        ]
    };
    let body: Vec<_> = players.players.iter().map(row).collect();
    let mut text = String::new();
    table(&mut text, ["PLAYER", "NAME", "QUEUE", "MATCH", "WAITS", "IS"], &body);
    text
}

/// The living and the ended games.
pub(crate) fn games(games: &Games<Report>) -> String {
    let mut text = String::new();
    let living: Vec<_> = games.living.iter().map(living_row).collect();
    match living.is_empty() {
        true => text.push_str("no games running\n"),
        false => {
            let head = ["GAME", "MODE", "PHASE", "MATCH", "PID", "PORT", "AGE", "PLAYERS"];
            table(&mut text, head, &living);
        }
    }
    let ended: Vec<_> = games.ended.iter().map(|it| ended_row(it, RESULT_SHOWN)).collect();
    if !ended.is_empty() {
        text.push('\n');
        let head = [
            "ENDED", "GAME", "MODE", "MATCH", "END", "LIVED", "CPU", "MEMORY", "PLAYERS", "RESULT",
        ];
        table(&mut text, head, &ended);
    }
    let is_absent =
        |report: &Report| report.joined_known && report.players.iter().any(|it| !it.joined);
    if games.ended.iter().any(is_absent) {
        text.push_str("\n(name): was sent to the game and did not join\n");
    }
    text
}

/// The daemon's state.
pub(crate) fn status(status: &Status) -> String {
    let mut text = String::new();
    let doing = if status.serving { "serving" } else { "draining" };
    let uptime = short(status.uptime_ms);
    let queues: Vec<_> = status.queues.iter().map(queue_row).collect();
    table(&mut text, QUEUE_HEAD, &queues);
    text.push('\n');
    let ports = &status.ports;
    let launcher = status.launcher.map_or("restarting".to_owned(), |pid| format!("pid {pid}"));
    let mut lines = vec![
        ["muster".to_owned(), format!("pid {}, {doing}, up {uptime}", status.pid)],
        ["ports".to_owned(), format!("{}-{}, {} free", ports.first, ports.last, ports.free)],
        ["launcher".to_owned(), launcher],
    ];
    for template in &status.templates {
        lines.push(["template".to_owned(), format!("{} pid {}", template.mode, template.pid)]);
    }
    for queue in &status.queues {
        let reason = queue.reason.as_ref().map(|reason| Visible(reason).to_string());
        lines.extend(reason.map(|it| ["failing".to_owned(), format!("{}: {it}", queue.queue)]));
    }
    let (reports, turns) = (&status.reports, &status.turns);
    let memory = bytesize::ByteSize(reports.bytes as u64);
    lines.push([
        "reports".to_owned(),
        format!("{} kept ({memory}), of {} ended games", reports.kept, reports.ended),
    ]);
    let longest = Duration::from_micros(turns.longest_us);
    lines.push([
        "loop".to_owned(),
        format!("longest of {} iterations {}", turns.count, Span(longest)),
    ]);
    rows(&mut text, &lines, &widths(&lines));
    text
}

/// The answer as one JSON document. Characters that control a terminal are escaped as in JSON strings; they cannot
/// occur outside of strings.
pub(crate) fn json(answer: &impl Serialize) -> String {
    let plain = serde_json::to_string(answer).unwrap_or_default();
    let mut text = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        let mut bytes = [0; 4];
        let shown = character.encode_utf8(&mut bytes);
        if character == '\\' || Visible(shown).to_string() == *shown {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a string cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text.push('\n');
    text
}

/// The column names of [`queue_row`].
pub(crate) const QUEUE_HEAD: [&str; 6] = ["QUEUE", "WAITING", "AWAY", "OLDEST", "GAMES", "IS"];

/// A queue in a table.
pub(crate) fn queue_row(it: &QueueStatus) -> [String; 6] {
    [
        it.queue.clone(),
        it.waiting.to_string(),
        it.away.to_string(),
        it.oldest_ms.map_or_else(nothing, short),
        it.games.to_string(),
        match it {
            QueueStatus { removed: true, .. } => "removed",
            QueueStatus { failing: true, .. } => "failing",
            _ => "ok",
        }
        .to_owned(),
    ]
}

fn living_row(game: &LivingGame) -> [String; 8] {
    [
        game.game.clone(),
        game.mode.clone(),
        game.phase.word().to_owned(),
        game.match_id.clone().unwrap_or_else(nothing),
        game.pid.map_or_else(nothing, |pid| pid.to_string()),
        game.port.to_string(),
        short(game.age_ms),
        or_nothing(game.players.join(", ")),
    ]
}

fn ended_row(report: &Report, result_shown: usize) -> [String; 10] {
    let player = |player: &ReportedPlayer| match player.joined || !report.joined_known {
        true => player.name.clone(),
        false => format!("({})", player.name),
    };
    let players: Vec<String> = report.players.iter().map(player).collect();
    let cpu = Duration::from_micros(report.cpu_user_us + report.cpu_system_us);
    let result = report.result.as_ref().map_or("", |result| result.get());
    let is_longer = result.chars().nth(result_shown).is_some();
    let mut shown: String = result.chars().take(result_shown).collect();
    if is_longer {
        shown.push('…');
    }
    [
        // Milliseconds are for programs.
        report.ended_at.split('.').next().unwrap_or_default().replace('T', " "),
        report.game.clone(),
        report.mode.clone(),
        report.match_id.clone().unwrap_or_else(nothing),
        match &report.limit {
            Some(limit) => format!("{} ({limit})", report.exit),
            None => report.exit.to_string(),
        },
        short(report.lived_ms),
        format!("{:.3}s", cpu.as_secs_f64()),
        bytesize::ByteSize::kib(report.memory_peak_kib).to_string(),
        or_nothing(players.join(", ")),
        or_nothing(shown),
    ]
}

fn table<const N: usize>(text: &mut String, head: [&str; N], body: &[[String; N]]) {
    let mut lines = vec![head.map(str::to_owned)];
    // Names and results are foreign text.
    lines.extend(body.iter().map(|row| row.clone().map(|cell| Visible(&cell).to_string())));
    rows(text, &lines, &widths(&lines));
}

fn widths<const N: usize>(lines: &[[String; N]]) -> [usize; N] {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

fn rows<const N: usize>(text: &mut String, lines: &[[String; N]], widths: &[usize; N]) {
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(row, "{cell:width$}{GAP}");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
}

/// A duration in its two largest units.
pub(crate) fn short(millis: u64) -> String {
    let rounded = match millis {
        0..60_000 => Duration::from_millis(millis),
        _ => Duration::from_secs(millis / 1000),
    };
    let text = humantime::format_duration(rounded).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn nothing() -> String {
    "-".to_owned()
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { nothing() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let shown = [0, 250, 12_345, 60_000, 3_723_000, 90_061_000].map(short);
        assert_eq!(shown, ["0s", "250ms", "12s 345ms", "1m", "1h 2m", "1day 1h"]);
    }

    #[test]
    fn waiting_players_are_shown_escaped_and_without_keys() {
        let player = |name: &str, here| WaitingPlayer {
            player: "7".into(),
            name: name.into(),
            queue: "duel".into(),
            match_id: None,
            waited_ms: 61_000,
            here,
        };
        let all =
            Players { players: vec![player("a\u{1b}b", true), player("c", false)], next: None };
        let expected = "PLAYER  NAME      QUEUE  MATCH  WAITS  IS\n\
                        7       a\\u{1b}b  duel   -      1m 1s  here\n\
                        7       c         duel   -      1m 1s  away\n";
        assert_eq!(players(&all), expected);
        let none = Players { players: Vec::new(), next: None };
        assert_eq!(players(&none), "no players waiting\n");
    }

    #[test]
    fn output_contains_no_terminal_controls() {
        let hostile = "\u{1b}[31m\u{9b}\u{202e}\u{e0041} \"\\";
        let players = vec![hostile.to_owned()];
        let game = LivingGame {
            game: "1".into(),
            mode: "duel".into(),
            match_id: None,
            phase: protocol::admin::GamePhase::Running,
            pid: None,
            port: 20000,
            age_ms: 1,
            players,
        };
        let all = Games { living: vec![game], ended: Vec::new(), next: None };
        let document = json(&all);
        for shown in [&games(&all), &document] {
            let bad = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{e0041}".contains(c);
            assert!(!shown.chars().any(bad), "{shown:?}");
        }
        let back: Games<Report> = serde_json::from_str(&document).unwrap();
        assert_eq!(back.living[0].players[0], hostile);
    }
}
