//! Foreign text, made safe to show.

use std::fmt;

/// Text from outside as a terminal or a log may show it: every control character, and every character that is
/// invisible or turns the direction of writing, stands there as its escape; all other text is as it was.
///
/// ```
/// assert_eq!(protocol::Visible("ada's \u{1b}[31m\n").to_string(), "ada's \\u{1b}[31m\\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        loop {
            // Nearly all text is plain, and goes in one piece.
            let (plain, strange) = rest.split_at(rest.bytes().take_while(is_plain).count());
            f.write_str(plain)?;
            let mut characters = strange.chars();
            let Some(character) = characters.next() else { return Ok(()) };
            write!(f, "{}", character.escape_debug())?;
            rest = characters.as_str();
        }
    }
}

/// Whether a byte is a character that shows as itself. `escape_debug` would escape quotes, which harm nobody here.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && *byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::Visible;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let hostile = "a\u{1b}]0;x\u{7}b\r\n\u{202e}c\u{200b}\u{0}\u{9b}31m";
        let shown = Visible(hostile).to_string();
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{200b}']), "{shown}");
        assert_eq!(Visible("").to_string(), "");
        assert_eq!(Visible(r"a\b").to_string(), r"a\\b");
        assert_eq!(Visible("Zoë 'the \"cat\"' 猫 ✓").to_string(), "Zoë 'the \"cat\"' 猫 ✓");
    }
}
