//! Who may use what: the pure crates do no I/O, brains do not know each other, nothing depends on the body, and unsafe
//! code stays in its two places.

use crate::Finding;
use crate::rust;
use crate::sources::Source;

/// Crates without I/O, clock, threads and randomness: the time and all secrets are arguments.
const PURE: [&str; 7] =
    ["protocol", "matchmaker", "hosting", "brain", "lobby", "cluster", "simulation"];

/// Brains that know the protocol and not each other.
const BRAINS: [&str; 3] = ["matchmaker", "hosting", "lobby"];

/// What the pure crates do not use, as the beginning of a path.
const IMPURE: [&str; 14] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "mio",
    "libc",
    "nix",
    "rustix",
    "rand",
    "getrandom",
    "log",
];

/// Addresses are values. Everything else of `std::net` is a socket.
const ADDRESSES: [&str; 8] = [
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "AddrParseError",
    "Ipv6MulticastScope",
];

/// Crates that may use tokio.
const ASYNC: [&str; 2] = ["gateway", "monitor"];

pub(crate) fn forbidden(source: &Source) -> Vec<Finding> {
    let found = if source.path.ends_with("Cargo.toml") {
        dependencies(&source.text)
    } else if source.is_rust() && !source.is_test() {
        rust::paths(rust::production(&source.text))
    } else {
        return Vec::new();
    };
    let problem = |(line, path): (usize, String)| {
        reason(source.part(), &path)
            .map(|reason| Finding::new(source, line, format!("{path}: {reason}")))
    };
    found.into_iter().filter_map(problem).collect()
}

/// The names in `[dependencies]`, without those that only tests use.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut is_list = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            is_list = line == "[dependencies]";
        } else if is_list && line.starts_with(|c: char| c.is_alphabetic()) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or(line);
            found.push((at + 1, name.replace('-', "_")));
        }
    }
    found
}

/// Why a part of the project may not use a path; `None` if it may.
fn reason(part: &str, path: &str) -> Option<&'static str> {
    let is = |prefix: &str| {
        path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"))
    };
    if PURE.contains(&part) {
        let is_socket = path.strip_prefix("std::net::").is_some_and(|rest| {
            let name = rest.split("::").next().unwrap_or(rest);
            !ADDRESSES.contains(&name)
        });
        if is_socket || IMPURE.iter().any(|it| is(it)) {
            return Some("a pure crate does no I/O and reads no clock");
        }
    }
    if BRAINS.contains(&part) && BRAINS.iter().any(|other| *other != part && is(other)) {
        return Some("a brain does not know another brain");
    }
    if part != "orchestrator" && (is("orchestrator") || is("muster_orchestrator")) {
        return Some("nothing depends on the body");
    }
    if !ASYNC.contains(&part) && is("tokio") {
        return Some("only the gateway and the monitor use tokio");
    }
    None
}

/// Unsafe code outside the crate `process` and the launch step. Tests have none either.
pub(crate) fn unsafe_code(source: &Source) -> Vec<Finding> {
    if !source.is_rust()
        || source.part() == "process"
        || source.path == "launcher/src/launch_step.rs"
    {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let code = rust::code(line);
        let is_unsafe =
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"];
        if is_unsafe.iter().any(|it| code.contains(it)) {
            findings.push(Finding::new(
                source,
                at + 1,
                "unsafe code belongs in the crate process".to_owned(),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        forbidden(&Source::new(path, text)).len()
    }

    #[test]
    fn pure_crates_do_no_io() {
        for text in [
            "use std::fs;\n",
            "use std::net::{IpAddr, TcpStream};\n",
            "use std::time::{Duration, Instant};\n",
            "fn a() { std::thread::sleep(b); }\n",
            "fn a() { log::info!(); }\n",
            "use mio::Poll;\n",
        ] {
            assert_eq!(count("matchmaker/src/a.rs", text), 1, "{text}");
            assert_eq!(count("client/src/a.rs", text), 0, "{text}");
            assert_eq!(count("matchmaker/src/a/tests.rs", text), 0, "{text}");
        }
        for text in [
            "use std::net::SocketAddr;\n",
            "use std::time::Duration;\n",
            "use crate::login::a;\n",
            "// std::fs::a\n",
        ] {
            assert_eq!(count("matchmaker/src/a.rs", text), 0, "{text}");
        }
        assert_eq!(
            count("protocol/Cargo.toml", "[dependencies]\nmio.workspace = true\nserde = \"1\"\n"),
            1
        );
        assert_eq!(count("protocol/Cargo.toml", "[dev-dependencies]\nlibc = \"0.2\"\n"), 0);
    }

    #[test]
    fn arrows_go_one_way() {
        assert_eq!(count("matchmaker/src/a.rs", "use hosting::Input;\n"), 1);
        assert_eq!(count("brain/src/a.rs", "use hosting::Input;\nuse matchmaker::Input;\n"), 0);
        assert_eq!(
            count("client/Cargo.toml", "[dependencies]\nmuster-orchestrator.workspace = true\n"),
            1
        );
        assert_eq!(count("orchestrator/Cargo.toml", "[dependencies]\ntokio = \"1\"\n"), 1);
        assert_eq!(count("gateway/Cargo.toml", "[dependencies]\ntokio = \"1\"\n"), 0);
    }

    #[test]
    fn unsafe_code_has_two_places() {
        let text = "fn a() {\n    unsafe { b() }\n}\n";
        assert_eq!(unsafe_code(&Source::new("orchestrator/src/a.rs", text)).len(), 1);
        assert_eq!(unsafe_code(&Source::new("process/src/a.rs", text)).len(), 0);
        assert_eq!(unsafe_code(&Source::new("launcher/src/launch_step.rs", text)).len(), 0);
        assert_eq!(
            unsafe_code(&Source::new(
                "client/src/a.rs",
                "#![forbid(unsafe_code)]\n// unsafe { }\n"
            ))
            .len(),
            0
        );
    }
}
