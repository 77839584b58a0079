//! Sizes: a function fits on a screen, a file can be read at once, and all limits of a crate are in one file.

use crate::Finding;
use crate::rust;
use crate::sources::Source;

/// As `too-many-lines-threshold` in clippy.toml.
const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 700;

pub(crate) fn too_long(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES {
        findings.push(Finding::new(
            source,
            1,
            format!("{lines} lines; a file has at most {FILE_LINES}"),
        ));
    }
    for (line, name, lines) in rust::functions(&source.text) {
        if lines > FUNCTION_LINES {
            let problem =
                format!("{name} has {lines} lines; a function has at most {FUNCTION_LINES}");
            findings.push(Finding::new(source, line, problem));
        }
    }
    findings
}

/// Constants that are a limit by their name, outside the crate's `limits.rs`.
pub(crate) fn limits_elsewhere(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_test() || source.path.ends_with("/limits.rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (at, line) in rust::production(&source.text).lines().enumerate() {
        let Some(name) = limit(&rust::code(line)) else { continue };
        findings.push(Finding::new(source, at + 1, format!("{name} belongs in limits.rs")));
    }
    findings
}

/// The name of the limit that the line defines.
fn limit(code: &str) -> Option<String> {
    let (before, after) = code.split_once("const ")?;
    let is_item = before.trim().is_empty() || before.trim().starts_with("pub");
    let name = after.split([':', ' ']).next()?;
    let is_limit = ["MAX", "MIN", "LIMIT"].contains(&name.rsplit('_').next()?);
    (is_item && is_limit).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_and_files_are_found() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines));
        assert_eq!(too_long(&Source::new("a/src/a.rs", &function(70))).len(), 0);
        assert_eq!(too_long(&Source::new("a/src/a.rs", &function(71))).len(), 1);
        assert_eq!(too_long(&Source::new("a/src/a.rs", &"// a\n".repeat(700))).len(), 0);
        assert_eq!(too_long(&Source::new("a/src/a.rs", &"// a\n".repeat(701))).len(), 1);
    }

    #[test]
    fn limits_have_one_file() {
        let count = |path: &str, text: &str| limits_elsewhere(&Source::new(path, text)).len();
        assert_eq!(count("a/src/b.rs", "pub(crate) const LINE_MAX: usize = 1;\n"), 1);
        assert_eq!(count("a/src/b.rs", "    const LIMIT: usize = 1;\n"), 1);
        assert_eq!(count("a/src/limits.rs", "pub const LINE_MAX: usize = 1;\n"), 0);
        assert_eq!(
            count("a/src/b.rs", "const MAXIMAL: usize = u32::MAX;\nlet a = usize::MAX;\n"),
            0
        );
        assert_eq!(
            count("a/src/b.rs", "#[cfg(test)]\nmod tests {\n    const A_MAX: u8 = 1;\n}\n"),
            0
        );
    }
}
