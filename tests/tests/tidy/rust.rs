//! As much of Rust's syntax as the rules need. The sources are formatted by rustfmt, which keeps this simple.

/// The lines of a source without its tests: without everything from `#[cfg(test)] mod` on, which stands last.
pub(crate) fn production(text: &str) -> &str {
    let mut start = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or("");
        if line.starts_with("#[cfg(test)]")
            && next.starts_with("mod ")
            && next.trim_end().ends_with('{')
        {
            return &text[..start];
        }
        start += line.len();
    }
    text
}

/// The line without a comment at its end, and without the text of string literals.
pub(crate) fn code(line: &str) -> String {
    let mut code = String::new();
    let mut is_text = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_text => _ = chars.next(),
            '\'' if !is_text && chars.peek() == Some(&'"') => _ = chars.next(),
            '"' => is_text = !is_text,
            '/' if !is_text && chars.peek() == Some(&'/') => break,
            _ if is_text => {}
            _ => code.push(c),
        }
    }
    code
}

/// Every path that is used, with the number of its line: those of `use` one by one, and those inside code.
pub(crate) fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut statement = String::new();
    let mut start = 0;
    for (at, line) in text.lines().enumerate() {
        let code = code(line);
        let trimmed = code.trim();
        if statement.is_empty()
            && (trimmed.starts_with("use ")
                || trimmed.starts_with("pub") && trimmed.contains(" use "))
        {
            start = at + 1;
        } else if statement.is_empty() {
            let is_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
            let words = code.split(|c| !is_path(c)).map(|word| word.trim_matches(':'));
            found.extend(
                words.filter(|word| word.contains("::")).map(|word| (at + 1, word.to_owned())),
            );
            continue;
        }
        statement.push_str(trimmed);
        if trimmed.ends_with(';') {
            let tree =
                statement.split_once("use ").map_or("", |(_, tree)| tree).trim_end_matches(';');
            expand("", tree, &mut |path| found.push((start, path)));
            statement.clear();
        }
    }
    found
}

/// The paths of a tree such as `std::{fs, net::{IpAddr, TcpStream}}`.
fn expand(prefix: &str, tree: &str, found: &mut dyn FnMut(String)) {
    let mut depth = 0;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((head, rest)) => {
                expand(&format!("{prefix}{head}"), rest.strip_suffix('}').unwrap_or(rest), found);
            }
            None => found(format!("{prefix}{}", part.split(" as ").next().unwrap_or(part))),
        }
    }
}

/// The functions: line, name, and the number of lines of the body that are neither blank nor comment.
pub(crate) fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let Some(open) =
            lines[at..].iter().position(|it| it.ends_with('{') || it.ends_with([';', '}']))
        else {
            continue;
        };
        if !lines[at + open].ends_with('{') {
            continue;
        }
        let body = lines[at + open + 1..].iter().take_while(|it| **it != end);
        let is_code = |it: &&&str| !it.trim().is_empty() && !it.trim_start().starts_with("//");
        found.push((at + 1, name.to_owned(), body.filter(is_code).count()));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    loop {
        match words.next()? {
            "fn" => return words.next()?.split(['(', '<']).next(),
            word if word.starts_with("pub")
                || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"") => {}
            "crate)" | "super)" => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_at_the_end_are_cut_off() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(production(text), "fn a() {}\n\n");
        assert_eq!(
            production("#[cfg(test)]\nmod tests;\nfn a() {}\n"),
            "#[cfg(test)]\nmod tests;\nfn a() {}\n"
        );
    }

    #[test]
    fn comments_and_text_are_no_code() {
        assert_eq!(code("let a = \"std::fs // \\\" x\"; // std::net"), "let a = ; ");
        assert_eq!(code("if c == '\"' { std::fs }"), "if c == ' { std::fs }");
    }

    #[test]
    fn trees_of_imports_become_paths() {
        let text = "use std::{fs, net::{IpAddr, TcpStream as Stream}};\npub(crate) use a::{\n    b,\n    c::d,\n};\nx::y();\n";
        let expected = [
            (1, "std::fs"),
            (1, "std::net::IpAddr"),
            (1, "std::net::TcpStream"),
            (2, "a::b"),
            (2, "a::c::d"),
            (6, "x::y"),
        ];
        assert_eq!(paths(text), expected.map(|(line, path)| (line, path.to_owned())));
        assert_eq!(paths("// std::fs is not used\nlet a = \"std::fs\";\n"), []);
    }

    #[test]
    fn functions_are_measured() {
        let text = "impl A {\n    pub(crate) const fn a(&self) -> u8 {\n        // Why.\n\n        1\n    }\n\n    fn b(\n        c: u8,\n    ) {\n        d();\n        e();\n    }\n}\n\nfn f();\nfn g() {}\n";
        let found: Vec<(String, usize)> =
            functions(text).into_iter().map(|(_, name, lines)| (name, lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    }
}
