//! Untrusted text, made safe to show.

use std::fmt;

/// Shows untrusted text in a terminal or a log: every control character, and every character that is invisible, blank
/// or changes the writing direction, is escaped; all other text is unchanged.
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
            // Nearly all text is plain, and is written in one piece.
            let (plain, strange) = rest.split_at(rest.bytes().take_while(is_plain).count());
            f.write_str(plain)?;
            let mut characters = strange.chars();
            let Some(character) = characters.next() else { return Ok(()) };
            match is_unseen(character) {
                true => write!(f, "{}", character.escape_unicode())?,
                false => write!(f, "{}", character.escape_debug())?,
            }
            rest = characters.as_str();
        }
    }
}

/// Whether a byte is a character that needs no escape. `escape_debug` would also escape quotes, which are harmless
/// here.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && *byte != b'\\'
}

/// Whether a character is invisible or blank although its category is printable. `escape_debug` covers the others:
/// controls, formats, separators, marks, and unassigned characters.
fn is_unseen(character: char) -> bool {
    let is_in = |range: &(char, char)| range.0 <= character && character <= range.1;
    IGNORABLE.iter().any(is_in) || BLANK.contains(&character)
}

/// `Default_Ignorable_Code_Point` of the Unicode Character Database 16.0, `DerivedCoreProperties.txt`: characters that
/// are not shown if they are not supported, such as Hangul fillers, tags and variation selectors. The property is
/// stable for assigned characters, and its last range is reserved for future ones.
const IGNORABLE: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
    ('\u{e0080}', '\u{e0fff}'),
];

/// Symbols and letters whose glyph is empty: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL NOTEHEAD, and EGYPTIAN
/// HIEROGLYPH FULL and HALF BLANK of the same database.
const BLANK: [char; 4] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}'];

#[cfg(test)]
mod tests {
    use super::{BLANK, IGNORABLE, Visible};

    #[test]
    fn invisible_characters_are_escaped() {
        let ignorable = IGNORABLE.into_iter().flat_map(|(first, last)| first..=last);
        // Spaces other than U+0020, and line and paragraph separators: Zs, Zl and Zp.
        let separators = "\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\
                          \u{200a}\u{202f}\u{205f}\u{3000}\u{2028}\u{2029}";
        // Formats, private use, noncharacters.
        let others = "\u{fff9}\u{110bd}\u{13430}\u{e000}\u{f0000}\u{ffff}\u{7f}\u{85}";
        for unseen in ignorable.chain(BLANK).chain(separators.chars()).chain(others.chars()) {
            let shown = Visible(&format!("a{unseen}b")).to_string();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(unseen)));
        }
        for kept in ["한국어", "⠁", "日本", "עברית", "é", "𓀀"] {
            assert_eq!(Visible(kept).to_string(), kept);
        }
    }

    #[test]
    fn control_sequences_are_escaped() {
        let hostile = "a\u{1b}]0;x\u{7}b\r\n\u{202e}c\u{200b}\u{0}\u{9b}31m";
        let shown = Visible(hostile).to_string();
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{200b}']), "{shown}");
        assert_eq!(Visible("").to_string(), "");
        assert_eq!(Visible(r"a\b").to_string(), r"a\\b");
        assert_eq!(Visible("Zoë 'the \"cat\"' 猫 ✓").to_string(), "Zoë 'the \"cat\"' 猫 ✓");
    }
}
