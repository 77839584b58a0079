//! What a terminal would show of what a game prints. A program's ready line is looked for in this, and it is what an
//! operator is told of a game that failed.
//!
//! Escape sequences (ECMA-48: CSI, OSC and the other strings) are left out, a carriage return and the sequences that
//! erase a line begin the line anew, a backspace takes a character back, and other control characters are ignored. A
//! line that is not finished, such as a prompt, is looked at after a pause. No limit of the log counts here: a program
//! may print as much as it likes before it is ready. Each byte is looked at once, and a line is held up to
//! [`LINE_MAX`].

use std::collections::VecDeque;
use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::handoff::text::Text;

/// Bytes of a line that are looked at. What is beyond is not seen.
const LINE_MAX: usize = 32 * 1024;

/// How long nothing has to be printed before a line that is not finished is looked at.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// The lines that are remembered to be told when the game fails, and how many characters of each.
const LAST_LINES_MAX: usize = 5;
const LAST_LINE_CHARS_MAX: usize = 160;

/// The longest parameter of an escape sequence that is remembered.
const PARAMETERS_MAX: usize = 16;

/// Blanks that one escape sequence may stand for.
const BLANKS_MAX: usize = 256;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const DELETE: u8 = 0x7f;

/// The line that is being printed, and the last ones.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Screen {
    line: Text,
    state: State,
    /// Whether a carriage return came: what follows begins the line anew, unless it is the end of the line.
    is_returned: bool,
    /// How much of the line was there when the program last paused. What comes after a prompt is also looked at by
    /// itself.
    shown: usize,
    last: VecDeque<String>,
}

/// Where the next byte stands.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// In the text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In an escape sequence of several bytes that shows nothing, such as the choice of a character set.
    Intermediate,
    /// In a control sequence, with its parameters so far.
    Sequence(String),
    /// In a string for the terminal, such as a title.
    String,
    /// In such a string, after ESC.
    StringEscape,
}

impl Screen {
    /// Takes in what was printed. Whether a line of it is the one that is looked for; what follows it is not looked at.
    pub(crate) fn print(&mut self, printed: &[u8], wanted: Option<&Regex>) -> bool {
        printed.iter().any(|byte| self.take(*byte) && self.end_line(wanted))
    }

    /// The program has printed nothing for a while, or never will again: looks at a line that is not finished.
    pub(crate) fn pause(&mut self, wanted: Option<&Regex>) -> bool {
        let is_found = self.is_wanted(wanted);
        self.shown = self.line.0.len();
        is_found
    }

    /// Whether there is a line that is not finished.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.line.0.len() > self.shown
    }

    /// The last lines, the newest last.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let unfinished = Some(&self.line.0).filter(|line| !line.is_empty());
        let unfinished = unfinished.map(|line| shorten(line));
        let mut lines: Vec<String> = self.last.iter().cloned().chain(unfinished).collect();
        lines.drain(..lines.len().saturating_sub(LAST_LINES_MAX));
        lines
    }

    /// Takes a byte. Whether it ends a line.
    fn take(&mut self, byte: u8) -> bool {
        match std::mem::take(&mut self.state) {
            State::Text => return self.take_text(byte),
            State::Escape => return self.take_escape(byte),
            State::Intermediate => match byte {
                0x20..=0x2f => self.state = State::Intermediate,
                0x30..=0x7e => {}
                _ => return self.take_text(byte),
            },
            State::Sequence(mut parameters) => match byte {
                0x20..=0x3f => {
                    if parameters.len() < PARAMETERS_MAX {
                        parameters.push(byte.into());
                    }
                    self.state = State::Sequence(parameters);
                }
                0x40..=0x7e => return self.obey(byte, &parameters),
                // It is broken off, as a terminal has it.
                _ => return self.take_text(byte),
            },
            State::String => match byte {
                BELL | CANCEL | SUBSTITUTE => {}
                ESCAPE => self.state = State::StringEscape,
                // No title has a second line; this one was never finished.
                b'\n' => return self.take_text(byte),
                _ => self.state = State::String,
            },
            State::StringEscape if byte == b'\\' => {}
            State::StringEscape => return self.take_escape(byte),
        }
        false
    }

    fn take_text(&mut self, byte: u8) -> bool {
        match byte {
            // Vertical tab and form feed go to the next line, too.
            b'\n' | 0x0b | 0x0c => return true,
            b'\r' => self.is_returned = true,
            ESCAPE => self.state = State::Escape,
            BACKSPACE => self.take_back(),
            0..=0x1f | DELETE if byte != b'\t' => {}
            _ => self.put(byte),
        }
        false
    }

    fn take_escape(&mut self, byte: u8) -> bool {
        match byte {
            b'[' => self.state = State::Sequence(String::new()),
            // OSC, DCS, SOS, PM and APC.
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::String,
            0x20..=0x2f => self.state = State::Intermediate,
            // IND and NEL.
            b'D' | b'E' => return true,
            0x30..=0x7e => {}
            _ => return self.take_text(byte),
        }
        false
    }

    /// Does what a control sequence says to the line. Whether it leaves the line.
    fn obey(&mut self, last: u8, parameters: &str) -> bool {
        match (last, parameters) {
            // To the right, instead of blanks.
            (b'C', count) => {
                let count = count.parse().unwrap_or(1).clamp(1, BLANKS_MAX);
                (0..count).for_each(|_| self.put(b' '));
            }
            // The line is erased, or what is before the cursor, which is all of it.
            (b'K', "1" | "2") => self.clear(),
            // To the first column.
            (b'G' | b'`', "" | "0" | "1") => self.is_returned = true,
            // To another line, or all lines are erased.
            (b'A' | b'B' | b'E' | b'F' | b'H' | b'f' | b'd', _) | (b'J', "1" | "2" | "3") => {
                return true;
            }
            _ => {}
        }
        false
    }

    fn put(&mut self, byte: u8) {
        if std::mem::take(&mut self.is_returned) {
            self.clear();
        }
        if self.line.0.len() < LINE_MAX {
            self.line.0.push(byte);
        }
    }

    fn take_back(&mut self) {
        let is_continued = |byte: &u8| byte & 0xc0 == 0x80;
        while self.line.0.pop().as_ref().is_some_and(is_continued) {}
        self.shown = self.shown.min(self.line.0.len());
    }

    fn clear(&mut self) {
        self.line.0.clear();
        self.shown = 0;
    }

    fn end_line(&mut self, wanted: Option<&Regex>) -> bool {
        let is_found = self.is_wanted(wanted);
        if !self.line.0.is_empty() {
            self.last.push_back(shorten(&self.line.0));
            if self.last.len() > LAST_LINES_MAX {
                self.last.pop_front();
            }
        }
        self.clear();
        self.is_returned = false;
        is_found
    }

    fn is_wanted(&self, wanted: Option<&Regex>) -> bool {
        let Some(wanted) = wanted.filter(|_| !self.line.0.is_empty()) else { return false };
        let line = &self.line.0;
        let is_match = |text: &str| {
            wanted.is_match(text) || after_prompt(text).is_some_and(|rest| wanted.is_match(rest))
        };
        let is_shown = |part: &[u8]| is_match(&String::from_utf8_lossy(part));
        let since_pause = line.get(self.shown..).filter(|_| self.shown > 0);
        is_shown(line)
            || since_pause.is_some_and(is_shown)
            // What is not UTF-8 is Latin-1, more often than not.
            || (std::str::from_utf8(line).is_err()
                && is_match(&line.iter().copied().map(char::from).collect::<String>()))
    }
}

/// What stands after the prompt of a console, where a line has one.
fn after_prompt(line: &str) -> Option<&str> {
    line.starts_with('>').then(|| line.trim_start_matches(['>', ' ']))
}

fn shorten(line: &[u8]) -> String {
    // A character has four bytes at most.
    let line = &line[..line.len().min(4 * LAST_LINE_CHARS_MAX)];
    String::from_utf8_lossy(line).chars().take(LAST_LINE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a ready line is found in what is printed, however it is cut into writes.
    fn finds(wanted: &str, printed: &[u8]) -> bool {
        let wanted = Regex::new(wanted).unwrap();
        let whole = Screen::default().print(printed, Some(&wanted));
        let mut screen = Screen::default();
        let bytewise = printed.chunks(1).any(|byte| screen.print(byte, Some(&wanted)));
        assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(printed));
        whole
    }

    #[test]
    fn a_line_is_found_as_a_terminal_shows_it() {
        let ready: [(&str, &[u8]); 28] = [
            (r"^\[Server\] Ready$", b"[Server] Ready\n"),
            (r"^\[Server\] Ready", b"\x1b[32m[Server]\x1b[0m Ready\n"),
            (r"^Ready$", b"\x1b[1;38;2;0;255;0mRe\x1b[Kady\x1b[0m\r\n"),
            ("Ready$", b"[Server] Ready\r\n"),
            ("^Ready$", b"Ready\r\r\n"),
            ("^Ready", b"loading 10%\rloading 90%\rReady\n"),
            ("^Ready$", b"loading 100%\x1b[2K\x1b[1GReady\n"),
            ("^Ready$", b"loading\x1b[1K\rReady\n"),
            ("^Ready$", b"\x1b]0;a title\x07Ready\n"),
            ("^Ready$", b"\x1b]0;a title\x1b\\Ready\n"),
            ("^Ready$", b"\x1b]8;;http://a/\x1b\\Ready\x1b]8;;\x1b\\\n"),
            ("^Ready$", b"\x1bPq#0;2\x1b\\Ready\n"),
            ("^Ready$", b"\x1b(B\x1b[m\x1b=Ready\n"),
            ("^Ready$", b"\x1b[2J\x1b[HReady\n"),
            ("^Ready to play$", b"Ready\x1b[1Cto\x1b[Cplay\n"),
            ("^Ready$", b"|\x08/\x08-\x08\\\x08Ready\n"),
            ("^Ready$", b"R\xc3\xa9\x08eady\n"),
            ("^Ready$", b"\0R\0eady\0\n"),
            ("^Ready$", b"\xff\x08\x07Ready\n"),
            ("^Ready", b"> Ready\n"),
            ("^Ready", b">Ready\n"),
            ("^> Ready", b"> Ready\n"),
            ("Serveur démarré", b"Serveur d\xe9marr\xe9\n"),
            ("Serveur démarré", "Serveur démarré\n".as_bytes()),
            ("^Serveur d.marr.$", b"Serveur d\xe9marr\xe9\n"),
            ("^Ready$", b"\x1b]an unfinished title\nReady\n"),
            ("^Ready$", b"\x1b[12\nReady\n"),
            ("a\tb", b"a\tb\n"),
        ];
        for (wanted, printed) in ready {
            assert!(finds(wanted, printed), "{wanted} {:?}", String::from_utf8_lossy(printed));
        }
        let not_ready: [(&str, &[u8]); 5] = [
            ("^Ready", b"not Ready\n"),
            ("Ready", b"Ready\x08\x08\x08\x08\x08Broken\n"),
            ("Ready", b"Ready\rBroken\n"),
            ("Ready", b"\x1b]0;Ready\x07Broken\n"),
            ("Ready", b"Ready"),
        ];
        for (wanted, printed) in not_ready {
            assert!(!finds(wanted, printed), "{wanted} {:?}", String::from_utf8_lossy(printed));
        }
    }

    #[test]
    fn a_line_that_is_not_finished_is_found_after_a_pause() {
        let wanted = Regex::new("^(Ready|> )$").unwrap();
        for printed in [&b"Ready"[..], b"Ready\r", b"loading\rReady", b"a line\n> "] {
            let mut screen = Screen::default();
            assert!(!screen.print(printed, Some(&wanted)));
            assert!(screen.is_unfinished());
            assert!(screen.pause(Some(&wanted)), "{:?}", String::from_utf8_lossy(printed));
            assert!(!screen.is_unfinished(), "once");
        }
        // What comes after a pause may be the rest of a line, or an answer at a prompt.
        let mut screen = Screen::default();
        assert!(!screen.print(b"Rea", Some(&wanted)) && !screen.pause(Some(&wanted)));
        assert!(screen.print(b"dy\n", Some(&wanted)));
        let mut screen = Screen::default();
        assert!(!screen.print(b"console# ", Some(&wanted)) && !screen.pause(Some(&wanted)));
        assert!(screen.print(b"Ready\n", Some(&wanted)));
    }

    #[test]
    fn no_line_is_held_beyond_its_bound() {
        let wanted = Regex::new("Ready$").unwrap();
        let long = [vec![b'x'; LINE_MAX - 6], b" Ready\n".to_vec()].concat();
        assert!(finds("Ready$", &long));
        let mut screen = Screen::default();
        for printed in [&b"x"[..], b"\x1b]x", b"\x1b[1", b"\x1b[999C"] {
            for _ in 0..LINE_MAX {
                assert!(!screen.print(printed, Some(&wanted)));
            }
            assert!(screen.line.0.len() <= LINE_MAX);
            assert!(serde_json::to_string(&screen).unwrap().len() < 2 * LINE_MAX);
        }
        assert!(screen.print(b"\n\rReady\n", Some(&wanted)));
    }

    #[test]
    fn the_last_lines_are_kept_short() {
        let mut screen = Screen::default();
        for line in 0..10 {
            screen.print(format!("\x1b[1mline {line}\n\n").as_bytes(), None);
        }
        screen.print("é".repeat(LINE_MAX).as_bytes(), None);
        let last = screen.last_lines();
        assert_eq!(last[..4], ["line 6", "line 7", "line 8", "line 9"]);
        assert_eq!(last[4], "é".repeat(LAST_LINE_CHARS_MAX));
    }

    /// A game that loads goes on loading under the program that takes over.
    #[test]
    fn it_goes_on_where_it_was_written_down() {
        let wanted = Regex::new("^Ready$").unwrap();
        let printed = b"\xff\x1b]0;t\x1b\\\x1b[2K\rRe\x1b[31mady\r\n";
        for cut in 0..printed.len() {
            let mut screen = Screen::default();
            assert!(!screen.print(&printed[..cut], Some(&wanted)));
            let saved = serde_json::to_string(&screen).unwrap();
            let mut screen: Screen = serde_json::from_str(&saved).unwrap();
            assert!(screen.print(&printed[cut..], Some(&wanted)), "at {cut}");
        }
    }
}
