//! The screen: a header, the queues, the port ring, the games and the last log lines, each in its share of the height.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Visible;
use protocol::admin::{LivingGame, PortState, Watch};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

use service::units;

use super::View;
use crate::tables::{QUEUE_HEAD, queue_row, short};

/// Queues that are shown, at most.
const QUEUES_MAX: u16 = 6;

/// Lines for the ports, and for the log.
const PORT_LINES_MAX: u16 = 3;
const EVENT_LINES: u16 = 5;

/// The rule above each part.
const RULE: u16 = 1;

const GAME_HEAD: [&str; 8] = ["GAME", "MODE", "PHASE", "PORT", "AGE", "CPU", "MEMORY", "PLAYERS"];

/// The state that a cell shows for several ports: the first of these that one of them has.
const LOUDEST: &str = "srlewbq.";

/// Draws the screen.
pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let queues = u16::try_from(view.status.queues.len()).unwrap_or(u16::MAX).min(QUEUES_MAX);
    let width = usize::from(frame.area().width.max(1));
    let watch = view.status.watch.as_ref();
    let ports = watch.map_or(0, |watch| watch.ports.len()).div_ceil(width);
    let ports = u16::try_from(ports).unwrap_or(u16::MAX).clamp(1, PORT_LINES_MAX);
    let parts = [
        Constraint::Length(1),
        Constraint::Length(RULE + 1 + queues),
        Constraint::Length(RULE + ports + 1),
        Constraint::Min(RULE + 2),
        Constraint::Length(RULE + EVENT_LINES),
        Constraint::Length(1),
    ];
    let [head, queues, ports, games, events, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(head_of(view), head);
    draw_queues(view, frame, queues);
    if let Some(watch) = watch {
        draw_ports(view, watch, frame, ports);
        draw_events(watch, frame, events);
    }
    draw_games(view, frame, games);
    frame.render_widget(foot_of(view), foot);
}

/// The daemon's own usage. A player waits at most for the longest iteration of its loop.
fn foot_of(view: &View) -> Line<'static> {
    let pid = i32::try_from(view.status.pid).ok();
    let (cpu, memory) = usage_of(view, pid);
    let longest = Duration::from_micros(view.status.turns.longest_us);
    Line::from(format!(
        "q: quit   daemon: cpu {cpu}  memory {memory}  longest iteration {}",
        units::Span(longest)
    ))
    .dim()
}

fn head_of(view: &View) -> Line<'static> {
    let status = &view.status;
    let waiting: usize = status.queues.iter().map(|queue| queue.waiting).sum();
    let rate = view.rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let phase = match status.serving {
        true => Span::from("serving").green(),
        false => Span::from("draining").yellow(),
    };
    Line::from(vec![
        Span::from(format!("muster {} ", status.pid)).bold(),
        phase,
        Span::from(format!(
            " up {}  {waiting} waiting  {} games  {rate} matches/s  {} ports free",
            short(status.uptime_ms / 1000 * 1000),
            view.games.len(),
            status.ports.free
        )),
    ])
}

fn rule(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title)
}

fn draw_queues(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let queues = &view.status.queues;
    let row = |queue| {
        let row = Row::new(queue_row(queue));
        if queue.failing { row.red() } else { row }
    };
    let widths = [24, 9, 7, 12, 7, 10].map(Constraint::Length);
    let table = Table::new(queues.iter().map(row), widths)
        .header(Row::new(QUEUE_HEAD).dim())
        .block(rule(format!(" {} queues ", queues.len())));
    frame.render_widget(table, area);
}

fn draw_ports(view: &View, watch: &Watch, frame: &mut Frame<'_>, area: Rect) {
    let ports = &view.status.ports;
    let block = rule(format!(" ports {}-{} ", ports.first, ports.last));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inside.width.max(1));
    let cells = strip(&watch.ports, width * usize::from(inside.height.saturating_sub(1)));
    let paint = |letter: &char| Span::styled(letter.to_string(), Style::new().fg(colour(*letter)));
    let mut lines: Vec<Line<'_>> =
        cells.chunks(width).map(|cells| cells.iter().map(paint).collect()).collect();
    let mut legend = Vec::new();
    for state in PortState::ALL {
        let (letter, word) = (state.letter(), state.word());
        let count = watch.ports.chars().filter(|it| *it == letter).count();
        if count > 0 {
            legend.push(Span::styled(letter.to_string(), Style::new().fg(colour(letter))));
            legend.push(Span::from(format!(" {count} {word}  ")).dim());
        }
    }
    lines.push(Line::from(legend));
    frame.render_widget(Paragraph::new(lines), inside);
}

/// The letters of all ports in a number of cells. A cell for several ports shows their most important state.
fn strip(ports: &str, cells: usize) -> Vec<char> {
    let letters: Vec<char> = ports.chars().collect();
    let in_a_cell = letters.len().div_ceil(cells.max(1)).max(1);
    let loudest = |cell: &[char]| LOUDEST.chars().find(|it| cell.contains(it)).unwrap_or('?');
    letters.chunks(in_a_cell).map(loudest).collect()
}

fn colour(letter: char) -> Color {
    match letter {
        'r' => Color::Green,
        'w' => Color::Cyan,
        's' => Color::Blue,
        'l' => Color::Yellow,
        'e' => Color::Magenta,
        'b' => Color::Red,
        'q' => Color::Gray,
        _ => Color::DarkGray,
    }
}

fn draw_games(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for game in &view.games {
        *counts.entry(game.phase.word()).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let title = match counts.is_empty() {
        true => " no games running ".to_owned(),
        false => format!(" games: {} ", counts.join(", ")),
    };
    // Games with players first, the newest first.
    let mut games: Vec<&LivingGame> = view.games.iter().collect();
    games.sort_by_key(|game| (game.players.is_empty(), game.age_ms));
    let widths = [
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let table = Table::new(games.into_iter().map(|game| game_row(view, game)), widths)
        .header(Row::new(GAME_HEAD).dim())
        .block(rule(title));
    frame.render_widget(table, area);
}

fn game_row(view: &View, game: &LivingGame) -> Row<'static> {
    let (cpu, memory) = usage_of(view, game.pid);
    let letter = PortState::Leased(game.phase).letter();
    let phase = Span::from(game.phase.word()).fg(colour(letter));
    Row::new([
        Line::from(game.game.clone()),
        Line::from(game.mode.clone()),
        Line::from(phase),
        Line::from(game.port.to_string()),
        Line::from(short(game.age_ms / 1000 * 1000)),
        Line::from(cpu),
        Line::from(memory),
        Line::from(Visible(&game.players.join(", ")).to_string()),
    ])
}

/// A process's CPU and memory usage, for people.
fn usage_of(view: &View, pid: Option<i32>) -> (String, String) {
    let usage = pid.and_then(|pid| view.usage.get(&pid));
    let word = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
    let cpu = usage.and_then(|usage| usage.cpu).map(|cpu| format!("{cpu:.0}%"));
    (word(cpu), word(usage.map(|usage| bytesize::ByteSize(usage.memory).to_string())))
}

fn draw_events(watch: &Watch, frame: &mut Frame<'_>, area: Rect) {
    let newest = watch.events.iter().rev().take(usize::from(EVENT_LINES));
    let lines: Vec<Line<'_>> =
        newest.rev().map(|line| Line::from(Visible(line).to_string())).collect();
    frame.render_widget(Paragraph::new(lines).block(rule(" log ".into())), area);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use protocol::admin::{GamePhase, LoopStats, PortStatus, QueueStatus, ReportStatus, Status};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn view(ports: &str) -> View {
        let queue = |queue: &str, failing| QueueStatus {
            queue: queue.into(),
            waiting: 12,
            games: 3,
            away: 1,
            oldest_ms: Some(4_000),
            failing,
            reason: None,
            removed: false,
        };
        let game = |id: u64, phase, players: &[&str]| LivingGame {
            game: id.to_string(),
            mode: "duel".into(),
            match_id: (!players.is_empty()).then(|| id.to_string()),
            phase,
            pid: None,
            port: 20000,
            age_ms: id * 1_000,
            players: players.iter().map(|&it| it.to_owned()).collect(),
        };
        let status = Status {
            pid: 4711,
            uptime_ms: 3_723_000,
            serving: true,
            queues: vec![queue("duel", false), queue("arena", true)],
            ports: PortStatus { first: 20000, last: 20099, free: 97 },
            launcher: Some(4712),
            templates: Vec::new(),
            reports: ReportStatus { ended: 0, kept: 0, bytes: 0 },
            turns: LoopStats { count: 9, longest_us: 1_500 },
            matches_assigned: 7,
            watch: Some(Watch {
                ports: ports.into(),
                events: (1..=9).map(|number| format!("event {number}")).collect(),
            }),
        };
        let games = vec![
            game(1, GamePhase::Warm, &[]),
            game(2, GamePhase::Running, &["ada", "b\u{1b}[31mb"]),
            game(3, GamePhase::Launching, &[]),
        ];
        View { status, games, usage: BTreeMap::new(), asked: Instant::now(), rate: Some(1.5) }
    }

    /// The screen as text, by line.
    fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(view, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let symbols: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        symbols.chunks(usize::from(width)).map(|row| row.concat()).collect()
    }

    #[test]
    fn everything_fits_on_80_by_24() {
        let ports = format!("rlw{}", ".".repeat(97));
        let lines = screen(&view(&ports), 80, 24);
        let text = lines.join("\n");
        for part in [
            "muster 4711 serving up 1h 2m  24 waiting  3 games  1.5 matches/s  97 ports free",
            "arena                    12        1       4s           3       failing",
            " ports 20000-20099 ",
            "rlw....",
            ". 97 free  l 1 launching  w 1 warm  r 1 running",
            " games: 1 launching, 1 running, 1 warm ",
            "ada, b\\u{1b}[31mb",
            "event 9",
            "q: quit   daemon: cpu -  memory -  longest iteration 1.50ms",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        let first = lines.iter().position(|line| line.contains("ada,")).unwrap();
        assert!(lines[first - 1].contains("PLAYERS"), "games with players come first:\n{text}");
    }

    #[test]
    fn it_is_drawn_at_any_size() {
        let view = view(&"r".repeat(10_000));
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 60)] {
            assert_eq!(screen(&view, width, height).len(), usize::from(height));
        }
    }

    #[test]
    fn a_cell_for_several_ports_shows_the_most_important_state() {
        assert_eq!(strip("..r.qq.w", 4), ['.', 'r', 'q', 'w']);
        assert_eq!(strip("rw", 10), ['r', 'w']);
        assert_eq!(strip("", 0), []);
    }
}
