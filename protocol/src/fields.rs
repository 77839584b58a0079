//! The grammar that client lines and the reference games' datagrams share: a verb, then `key=value` fields.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::LineError;
use crate::limits::QUOTE_MAX;

/// The characters that are percent-encoded in a value: white space, control characters, and `%` itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A line, split into its verb and the text after it.
pub struct Line<'a> {
    /// The first word.
    pub verb: &'a str,
    /// The text after the verb.
    pub rest: &'a str,
}

impl<'a> Line<'a> {
    /// Splits a line without its line end.
    ///
    /// # Errors
    /// When the line is not UTF-8 or has a control character.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LineError> {
        let text = std::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8)?;
        if text.chars().any(char::is_control) {
            return Err(LineError::ControlCharacter);
        }
        let text = text.trim_matches(' ');
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self { verb, rest: rest.trim_start_matches(' ') })
    }

    /// The first word after the verb, and the line without it.
    pub(crate) fn first_word(&self) -> (&'a str, Self) {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        (word, Self { verb: self.verb, rest: rest.trim_start_matches(' ') })
    }

    /// The fields after the verb, decoded, in order.
    pub fn fields(&self) -> impl Iterator<Item = Result<(&'a str, Cow<'a, str>), LineError>> {
        self.rest.split(' ').filter(|word| !word.is_empty()).map(field)
    }
}

fn field(word: &str) -> Result<(&str, Cow<'_, str>), LineError> {
    let not_a_field = || LineError::NotAField(quote(word));
    let (key, value) = word.split_once('=').ok_or_else(not_a_field)?;
    if key.is_empty() || !escapes_are_whole(value) {
        return Err(not_a_field());
    }
    let value = percent_decode_str(value).decode_utf8().map_err(|_| LineError::NotUtf8)?;
    Ok((key, value))
}

/// Whether every `%` begins an escape. `percent_decode_str` accepts a stray `%`; here it is an error, so that a value
/// has only one encoding.
fn escapes_are_whole(value: &str) -> bool {
    value
        .split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
}

/// A received word for an error text: truncated, and with every character visible.
pub(crate) fn quote(word: &str) -> String {
    let mut quoted: String = word.chars().take(QUOTE_MAX).flat_map(char::escape_debug).collect();
    if word.chars().nth(QUOTE_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}

/// The encoding of a value in a line.
pub fn encode(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, ESCAPED)
}

/// Sets a field that may be given only once.
pub(crate) fn set_once<T>(
    slot: &mut Option<T>,
    key: &'static str,
    value: T,
) -> Result<(), LineError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(LineError::GivenTwice(key)),
    }
}
