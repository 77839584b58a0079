//! The text that a terminal would show of a game's output. A program's ready line is searched in it, and it is shown to
//! operators when a game fails.
//!
//! Escape sequences (ECMA-48: CSI, OSC and the other strings) are removed, a carriage return and the sequences that
//! erase a line restart the line, a backspace removes a character, and other control characters are ignored. An
//! unterminated line, such as a prompt, is checked after a pause. Limits of the log do not apply: a program may print
//! any amount before it is ready. Each byte is processed once, and at most [`LINE_MAX`] bytes of a line are kept.

use std::collections::VecDeque;
use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::handoff::text::Text;

/// The largest number of bytes of a line that are kept; the rest is ignored.
const LINE_MAX: usize = 32 * 1024;

/// How long nothing must be printed before an unterminated line is checked.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// The number of recent lines that are kept for the case that the game fails, and of characters in each.
const LAST_LINES_MAX: usize = 5;
const LAST_LINE_CHARS_MAX: usize = 160;

/// The longest parameters of an escape sequence that are kept.
const PARAMETERS_MAX: usize = 16;

/// The largest number of blanks for one escape sequence.
const BLANKS_MAX: usize = 256;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const DELETE: u8 = 0x7f;

/// The current line, and the recent ones.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Screen {
    line: Text,
    state: State,
    /// Whether a carriage return was printed: the next character restarts the line, unless it ends the line.
    is_returned: bool,
    /// The length of the line at the last pause. Text after a prompt is also checked by itself.
    shown: usize,
    last: VecDeque<String>,
}

/// The state of the decoder.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// In text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In an escape sequence of several bytes without visible effect, such as the choice of a character set.
    Intermediate,
    /// In a control sequence, with its parameters so far.
    Sequence(String),
    /// In a string for the terminal, such as a title.
    String,
    /// In such a string, after ESC.
    StringEscape,
}

impl Screen {
    /// Processes output. Returns whether a line matches `wanted`; the output after that line is not processed.
    pub(crate) fn print(&mut self, printed: &[u8], wanted: Option<&Regex>) -> bool {
        printed.iter().any(|byte| self.take(*byte) && self.end_line(wanted))
    }

    /// Checks an unterminated line, after a pause or at the end of the output.
    pub(crate) fn pause(&mut self, wanted: Option<&Regex>) -> bool {
        let is_found = self.is_wanted(wanted);
        self.shown = self.line.0.len();
        is_found
    }

    /// Whether there is an unterminated line.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.line.0.len() > self.shown
    }

    /// The recent lines, the newest last.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let unfinished = Some(&self.line.0).filter(|line| !line.is_empty());
        let unfinished = unfinished.map(|line| shorten(line));
        let mut lines: Vec<String> = self.last.iter().cloned().chain(unfinished).collect();
        lines.drain(..lines.len().saturating_sub(LAST_LINES_MAX));
        lines
    }

    /// Processes a byte. Returns whether it ends a line.
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
                // The sequence is cancelled, as in a terminal.
                _ => return self.take_text(byte),
            },
            State::String => match byte {
                BELL | CANCEL | SUBSTITUTE => {}
                ESCAPE => self.state = State::StringEscape,
                // No title has a second line; this one was never terminated.
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
            // Vertical tab and form feed move to the next line, too.
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

    /// Applies a control sequence to the line. Returns whether it leaves the line.
    fn obey(&mut self, last: u8, parameters: &str) -> bool {
        match (last, parameters) {
            // Cursor right, used for blanks.
            (b'C', count) => {
                let count = count.parse().unwrap_or(1).clamp(1, BLANKS_MAX);
                (0..count).for_each(|_| self.put(b' '));
            }
            // The line is erased, or the part before the cursor, which is all of it.
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
            // Text that is not UTF-8 is usually Latin-1.
            || (std::str::from_utf8(line).is_err()
                && is_match(&line.iter().copied().map(char::from).collect::<String>()))
    }
}

/// The text after a console's prompt, if the line has one.
fn after_prompt(line: &str) -> Option<&str> {
    line.starts_with('>').then(|| line.trim_start_matches(['>', ' ']))
}

fn shorten(line: &[u8]) -> String {
    // A character has at most four bytes.
    let line = &line[..line.len().min(4 * LAST_LINE_CHARS_MAX)];
    String::from_utf8_lossy(line).chars().take(LAST_LINE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a ready line is found in the output, however it is split into writes.
    fn finds(wanted: &str, printed: &[u8]) -> bool {
        let wanted = Regex::new(wanted).unwrap();
        let whole = Screen::default().print(printed, Some(&wanted));
        let mut screen = Screen::default();
        let bytewise = printed.chunks(1).any(|byte| screen.print(byte, Some(&wanted)));
        assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(printed));
        whole
    }

    #[test]
    fn a_line_is_matched_as_a_terminal_shows_it() {
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
    fn an_unterminated_line_is_matched_after_a_pause() {
        let wanted = Regex::new("^(Ready|> )$").unwrap();
        for printed in [&b"Ready"[..], b"Ready\r", b"loading\rReady", b"a line\n> "] {
            let mut screen = Screen::default();
            assert!(!screen.print(printed, Some(&wanted)));
            assert!(screen.is_unfinished());
            assert!(screen.pause(Some(&wanted)), "{:?}", String::from_utf8_lossy(printed));
            assert!(!screen.is_unfinished(), "once");
        }
        // Text after a pause can be the rest of a line, or an answer at a prompt.
        let mut screen = Screen::default();
        assert!(!screen.print(b"Rea", Some(&wanted)) && !screen.pause(Some(&wanted)));
        assert!(screen.print(b"dy\n", Some(&wanted)));
        let mut screen = Screen::default();
        assert!(!screen.print(b"console# ", Some(&wanted)) && !screen.pause(Some(&wanted)));
        assert!(screen.print(b"Ready\n", Some(&wanted)));
    }

    #[test]
    fn no_line_exceeds_its_limit() {
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

    /// A loading game continues to load under the program after an upgrade.
    #[test]
    fn a_restored_screen_continues_where_it_was_saved() {
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
