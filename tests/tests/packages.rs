//! Installation: the manual pages, and a package from its installation to its purge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::{PortBlock, binary};

const PAGES: [&str; 5] =
    ["muster.1", "muster-game.1", "muster-play.1", "muster-load.1", "muster.toml.5"];

/// The exit status of a script that cannot run here.
const SKIPPED: i32 = 77;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

fn programs() -> PathBuf {
    binary("muster").parent().unwrap().to_owned()
}

fn pages() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let made = Command::new(script("man")).arg(programs()).arg(place.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    place
}

fn help(words: &[&str]) -> String {
    let output = Command::new(binary(words[0])).args(&words[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All flags that programs tell of, and all keys of the configuration, are in the pages.
#[test]
fn the_manual_pages_are_complete() {
    let place = pages();
    let page_of = |name: &str| {
        let page = fs::read_to_string(place.path().join(name)).unwrap();
        page.replace("\\-", "-").replace("\\(dq", "\"")
    };
    for words in [
        &["muster"][..],
        &["muster", "serve"],
        &["muster", "upgrade"],
        &["muster-game", "arena"],
        &["muster-play"],
        &["muster-load"],
    ] {
        let page = page_of(&format!("{}.1", words[0]));
        let help = help(words);
        let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
        // Without the values, whose form differs: --keep[=<SILENCE>].
        let is_flag = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let flags: Vec<_> = flags.map(|it| it.split(|c| !is_flag(c)).next().unwrap()).collect();
        assert!(!flags.is_empty());
        for flag in flags {
            assert!(page.contains(flag), "{words:?}: {flag} is not in the page");
        }
    }
    let page = page_of("muster.toml.5");
    let config = include_str!("../../deploy/muster.toml");
    for line in config.lines().filter_map(|line| line.strip_prefix('#')) {
        if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            assert!(page.contains(&format!(".B {line}\n")), "{line} is not in the page");
        }
    }
}

/// Checked by the usual viewers, as far as they are installed.
#[test]
fn the_manual_pages_are_well_formed() {
    let place = pages();
    for (tool, arguments) in
        [("mandoc", &["-Tlint", "-W", "warning"][..]), ("groff", &["-ww", "-man", "-Tutf8", "-z"])]
    {
        if Command::new(tool)
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("skipped: {tool} is not here");
            continue;
        }
        for page in PAGES {
            let mut reader = Command::new(tool);
            let read = reader.args(arguments).arg(page).current_dir(place.path()).output();
            said_nothing(page, &read.unwrap());
        }
    }
}

fn said_nothing(page: &str, output: &Output) {
    let is_good = output.status.success() && output.stdout.is_empty() && output.stderr.is_empty();
    assert!(is_good, "{page}: {output:?}");
}

/// All files and directories below one.
fn tree(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().map(Result::unwrap) {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// Nothing is written elsewhere, what was written is said, and all of it can be removed again.
#[test]
fn an_installation_stays_under_its_prefix() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    fs::create_dir(&home).unwrap();
    let install = |prefix: &Path, destination: &str, verb: Option<&str>| {
        let mut command = Command::new(script("install"));
        command.arg(programs()).args(verb).env("PREFIX", prefix).env("DESTDIR", destination);
        let output = command.env("HOME", &home).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let prefix = place.path().join("prefix");
    let said = install(&prefix, "", None);
    let files: Vec<PathBuf> = tree(&prefix).into_iter().filter(|path| path.is_file()).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in &files {
        assert!(said.contains(&format!("installed {}\n", file.display())), "{file:?}\n{said}");
    }
    for line in said.lines().filter(|line| line.starts_with("installed ")) {
        assert!(line.starts_with(&format!("installed {}", prefix.display())), "{line}");
    }
    let config = prefix.join("etc/muster/muster.toml");
    let unit = fs::read_to_string(prefix.join("lib/systemd/system/muster.service")).unwrap();
    assert!(unit.contains(&format!("--config {}", config.display())), "{unit}");
    install(&prefix, "", Some("--remove"));
    assert_eq!(tree(&prefix), Vec::<PathBuf>::new());
    assert_eq!(tree(&home), Vec::<PathBuf>::new());
    // What an operator has changed stays.
    install(&prefix, "", None);
    fs::write(&config, "[log]\nlevel = \"debug\"\n").unwrap();
    install(&prefix, "", Some("--remove"));
    let left: Vec<PathBuf> = tree(&prefix).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(left, [config]);
    // The system's own prefixes have the configuration in /etc; here beneath another root.
    let root = place.path().join("root");
    for prefix in ["/usr", "/usr/local"] {
        install(Path::new(prefix), root.to_str().unwrap(), None);
        assert!(root.join("etc/muster/muster.toml").is_file(), "{prefix}");
        install(Path::new(prefix), root.to_str().unwrap(), Some("--remove"));
        let left: Vec<PathBuf> = tree(&root).into_iter().filter(|path| path.is_file()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{prefix}");
    }
}

#[test]
fn a_package_is_installed_upgraded_removed_and_purged() {
    let ports = PortBlock::take(8);
    let range = format!("{}-{}", ports.range().start(), ports.range().end());
    let mut tested = Command::new("timeout");
    tested.args(["--kill-after=10", "240"]).arg(script("test-deb")).arg(programs()).arg(range);
    let output = tested.output().unwrap();
    if output.status.code() == Some(SKIPPED) {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("--- passed"), "{out}\n{err}");
}
