//! Placeholders in the words of a command: `{port}` becomes the game's port.
//!
//! A name in braces is a placeholder: a letter or `_`, then letters, digits, `_`, `.`, `+` and `-`. `{{port}}`
//! stands for the literal `{port}`. All other braces are literal, so that JSON, `{}` and a shell's `${NAME}` need
//! no escapes. A word of several lines is a script in a language with its own braces: known placeholders are filled
//! in, and the rest of it is neither changed nor refused.

use crate::Contract;

/// The game's port, for a program without Muster's contract.
const PORT: &str = "port";

/// The placeholders in the words of a command, by the mode's contract.
pub fn known(contract: Contract) -> &'static [&'static str] {
    match contract {
        Contract::Muster => &[],
        Contract::Plain { .. } => &[PORT],
    }
}

/// Placeholders as they are written, for people.
pub fn list(known: &[&str]) -> String {
    known.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}

/// The unknown placeholders of a word.
pub fn unknown<'w>(word: &'w str, known: &[&str]) -> impl Iterator<Item = &'w str> {
    pieces(word).filter_map(move |piece| match piece {
        Piece::Placeholder(name) if !is_script(word) && !known.contains(&name) => Some(name),
        Piece::Placeholder(_) | Piece::Text(_) | Piece::Name(_) => None,
    })
}

/// A word with its placeholders filled in; one without a value stays.
pub(crate) fn fill(word: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let fill = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Name(name) if is_script(word) => format!("{{{{{name}}}}}"),
        Piece::Name(name) => format!("{{{name}}}"),
        Piece::Placeholder(name) => value(name).unwrap_or_else(|| format!("{{{name}}}")),
    };
    pieces(word).map(fill).collect()
}

/// The value of a placeholder for a game on a port.
pub(crate) fn value(name: &str, contract: Contract, port: u16) -> Option<String> {
    (name == PORT && known(contract).contains(&PORT)).then(|| port.to_string())
}

fn is_script(word: &str) -> bool {
    word.contains('\n')
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'w> {
    Text(&'w str),
    /// `{name}`
    Placeholder(&'w str),
    /// `{{name}}`
    Name(&'w str),
}

fn pieces(word: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let begins = |at: &usize| piece_at(rest, *at).is_some();
        let at = rest.match_indices('{').map(|(at, _)| at).find(begins).unwrap_or(rest.len());
        if at > 0 {
            let (text, after) = rest.split_at(at);
            rest = after;
            return Some(Piece::Text(text));
        }
        let (piece, length) = piece_at(rest, 0)?;
        rest = &rest[length..];
        Some(piece)
    })
}

/// The placeholder or the name that begins at a brace, and its length.
fn piece_at(text: &str, at: usize) -> Option<(Piece<'_>, usize)> {
    if text[..at].ends_with('$') {
        return None;
    }
    let from = &text[at..];
    if let Some((name, end)) = from.strip_prefix("{{").and_then(name_of)
        && end.starts_with("}}")
    {
        return Some((Piece::Name(name), name.len() + 4));
    }
    let (name, end) = name_of(from.strip_prefix('{')?)?;
    end.starts_with('}').then_some((Piece::Placeholder(name), name.len() + 2))
}

/// A name at the beginning of a text, and the rest of the text.
fn name_of(text: &str) -> Option<(&str, &str)> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
    let length = text.bytes().take_while(|byte| fits(byte)).count();
    let first = text.bytes().next()?;
    (length > 0 && (first.is_ascii_alphabetic() || first == b'_')).then(|| text.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_placeholders_and_other_braces_are_literal() {
        let plain = Contract::Plain { binds: false };
        for (word, filled, unknowns) in [
            ("{port}", "7", vec![]),
            ("-p={port},{port}", "-p=7,7", vec![]),
            ("{{port}}", "{port}", vec![]),
            ("{{{port}}}", "{{port}}", vec![]),
            ("a{match}b{port+1}", "a{match}b{port+1}", vec!["match", "port+1"]),
            ("{PORT}", "{PORT}", vec!["PORT"]),
            ("{public_host}:{players}", "{public_host}:{players}", vec!["public_host", "players"]),
            (r#"{"a":1}"#, r#"{"a":1}"#, vec![]),
            (r#"{"a":{"port":{}},"b":[{}]}"#, r#"{"a":{"port":{}},"b":[{}]}"#, vec![]),
            (r#"{"port":{port}}"#, r#"{"port":7}"#, vec![]),
            ("${port} ${HOME}", "${port} ${HOME}", vec![]),
            ("x{2}{,3}{ port }{}", "x{2}{,3}{ port }{}", vec![]),
            ("{port", "{port", vec![]),
            ("{é}{", "{é}{", vec![]),
            ("n=1\nprint(f'{n} {{n}} {port}')", "n=1\nprint(f'{n} {{n}} 7')", vec![]),
            ("", "", vec![]),
        ] {
            assert_eq!(fill(word, |name| value(name, plain, 7)), filled);
            assert_eq!(unknown(word, known(plain)).collect::<Vec<_>>(), unknowns, "{word}");
        }
        assert_eq!(unknown("{port}", known(Contract::Muster)).collect::<Vec<_>>(), ["port"]);
    }
}
