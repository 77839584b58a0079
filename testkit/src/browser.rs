//! A headless browser, controlled by the DevTools protocol over a pair of pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SOON;

/// The names of browsers that support it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page. Dropping it stops it.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    next: u64,
    page: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser. `None`, with a message on stderr: none is installed.
    pub fn start() -> Option<Self> {
        let is_there = |name: &&str| {
            let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
            version.is_ok_and(|it| it.status.success())
        };
        let Some(name) = NAMES.into_iter().find(|name| is_there(name)) else {
            eprintln!("skipped: no browser is installed; on Debian: sudo apt-get install chromium");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It reads commands from descriptor 3 and writes answers to 4; the shell moves its own input and output there.
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg("exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1")
            .arg(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"])
            .args(["--disable-dev-shm-usage", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut browser =
            Self { child, commands, answers, next: 0, page: String::new(), _profile: profile };
        let target = browser.command("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.command("Target.attachToTarget", &attach);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.page);
        Some(browser)
    }

    /// Sends a command, and gives the answer.
    ///
    /// # Panics
    /// When it fails.
    fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if !self.page.is_empty() {
            message["sessionId"] = self.page.clone().into();
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser ended at {method}");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a page.
    pub fn open(&mut self, url: &str) {
        self.command("Page.navigate", &json!({"url": url}));
    }

    /// The value of a JavaScript expression in the page.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, script: &str) -> Value {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.command("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Panics
    /// When it does not become true in time.
    pub fn wait_until(&mut self, script: &str) {
        let deadline = Instant::now() + SOON;
        while self.value(script) != true {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText");
                panic!("waited {SOON:?} without success for {script} in: {text}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // An orderly exit ends its helper processes, too, so that none of them still writes into the profile.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + SOON;
        while self.child.try_wait().is_ok_and(|it| it.is_none()) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
