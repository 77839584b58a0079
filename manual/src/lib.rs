//! Manual pages in man(7): of programs, from their command line, and of the configuration, from the comments of
//! deploy/muster.toml. So they cannot differ from `--help` and from the shipped file.
//!
//! A program prints its page on `--manual` ([`wanted`]); scripts/man collects them.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;

/// The first argument of a program that asks for its manual page; the second is the date of the page.
const FLAG: &str = "--manual";

/// The date of the page, if this process was started to print its manual page.
pub fn wanted() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == FLAG).then(|| arguments.next().unwrap_or_default())
}

/// Prints the page of a program.
///
/// # Errors
/// When it cannot be written.
pub fn print(command: Command, date: &str) -> io::Result<()> {
    io::stdout().write_all(program(command, date)?.as_bytes())
}

/// The page of a program, with a section for each of its subcommands.
///
/// # Errors
/// Never: writing to a vector does not fail.
pub fn program(mut command: Command, date: &str) -> io::Result<String> {
    command.build();
    let version = command.get_version().unwrap_or_default();
    let source = format!("Muster {version}");
    let notes = command.get_after_help().map(ToString::to_string);
    let page = Man::new(command.clone()).date(date).source(source).manual("");
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    if command.get_arguments().any(|it| !it.is_hide_set()) {
        page.render_options_section(&mut out)?;
    }
    write_notes(&mut out, notes.as_deref())?;
    for subcommand in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_subcommand(&mut out, subcommand)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn write_subcommand(out: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    writeln!(out, ".SH {}", escaped(&name.to_uppercase()))?;
    let page = Man::new(command.clone());
    let mut sections = Vec::new();
    page.render_description_section(&mut sections)?;
    page.render_synopsis_section(&mut sections)?;
    page.render_options_section(&mut sections)?;
    for line in String::from_utf8_lossy(&sections).lines() {
        match line.strip_prefix(".SH ") {
            // The description is the beginning of the section.
            Some("DESCRIPTION") => {}
            Some(_) => writeln!(out, ".PP")?,
            None => writeln!(out, "{line}")?,
        }
    }
    let notes = command.get_after_help().map(ToString::to_string);
    write_notes(out, notes.as_deref())
}

/// The text after the options: indented lines and what follows "Example:" in a line are literal.
fn write_notes(out: &mut Vec<u8>, notes: Option<&str>) -> io::Result<()> {
    let mut is_literal = false;
    for line in notes.unwrap_or_default().lines() {
        let literal = line.strip_prefix("  ");
        if is_literal && literal.is_none() {
            writeln!(out, ".EE")?;
        }
        match literal {
            Some(text) => {
                if !is_literal {
                    writeln!(out, ".EX")?;
                }
                writeln!(out, "{}", escaped(text))?;
            }
            None if line.is_empty() => {}
            None => writeln!(out, ".PP\n{}", escaped(line))?,
        }
        is_literal = literal.is_some();
    }
    if is_literal { writeln!(out, ".EE") } else { Ok(()) }
}

/// The page of the configuration, from the text of the shipped file: its comments describe the key or section below them.
pub fn configuration(text: &str, version: &str, date: &str) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(page, ".TH MUSTER.TOML 5 {date} \"Muster {version}\"");
    page += ".SH NAME\nmuster.toml \\- configuration of Muster\n.SH DESCRIPTION\n";
    let mut comment = String::new();
    let mut paragraphs = 0;
    for line in text.lines() {
        let key = line.strip_prefix('#').filter(|it| !it.is_empty() && !it.starts_with(' '));
        if line.starts_with("# ----") {
            continue;
        } else if let Some(header) = key.or(Some(line)).filter(|it| it.starts_with('[')) {
            let _ = write!(page, ".SH {}\n{comment}", escaped(header));
            comment.clear();
        } else if let Some(key) = key {
            let _ = write!(page, ".TP\n.B {}\n{comment}", escaped(key));
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            let _ = writeln!(comment, "{}", escaped(text));
        } else if !comment.is_empty() {
            page += if paragraphs == 0 { "" } else { ".P\n" };
            page += &comment;
            comment.clear();
            paragraphs += 1;
        }
    }
    page
}

/// Text as man(7) shows it unchanged.
fn escaped(text: &str) -> String {
    // Macros remove quotation marks.
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_page_has_a_section_for_each_subcommand() {
        let sub = Command::new("go").about("Goes.").arg(Arg::new("fast").long("fast"));
        let sub = sub.after_help("Example:\n  x go --fast\n\nA note.");
        let command = Command::new("x").version("1").about("Does things.").subcommand(sub);
        let page = program(command, "2026-01-01").unwrap();
        for part in [".SH X GO\n", "\\-\\-fast", ".EX\nx go \\-\\-fast\n.EE\n", "A note.", "2026"] {
            assert!(page.contains(part), "{part:?} is not in\n{page}");
        }
    }

    #[test]
    fn comments_describe_the_key_below_them() {
        let text =
            "# A file.\n\n# Second.\n\n# ---- Part ----\n\n[a]\n# The \"key\".\n#key-x = 1\n";
        let page = configuration(text, "1", "2026-01-01");
        let body = page.split_once(".SH DESCRIPTION\n").unwrap().1;
        let expected = "A file.\n.P\nSecond.\n.SH [a]\n.TP\n.B key\\-x = 1\nThe \\(dqkey\\(dq.\n";
        assert_eq!(body, expected);
    }
}
