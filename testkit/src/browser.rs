//! A real headless browser, controlled by the DevTools protocol over a pair of pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SOON;

/// The names under which it may be installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page. Dropped, it is gone.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    next: u64,
    page: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one. `None`, with a word on stderr: there is none on this machine.
    pub fn start() -> Option<Self> {
        let is_there = |name: &&str| {
            let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
            version.is_ok_and(|it| it.status.success())
        };
        let Some(name) = NAMES.into_iter().find(|name| is_there(name)) else {
            eprintln!("skipped: no browser is here; on Debian: sudo apt-get install chromium");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It takes orders on descriptor 3 and answers on 4; the shell puts its own input and output there.
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
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut browser =
            Self { child, orders, answers, next: 0, page: String::new(), _profile: profile };
        let target = browser.order("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.order("Target.attachToTarget", &attach);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.page);
        Some(browser)
    }

    /// Has it do something, and gives the answer.
    ///
    /// # Panics
    /// When it cannot.
    pub fn order(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let mut order = json!({"id": self.next, "method": method, "params": parameters});
        if !self.page.is_empty() {
            order["sessionId"] = self.page.clone().into();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser is gone at {method}");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a page of this many pixels.
    pub fn open(&mut self, url: &str, width: u32, height: u32) {
        self.resize(width, height);
        self.order("Page.navigate", &json!({"url": url}));
    }

    /// Makes the page as large as this.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.order("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Has the page be dark or light, as its reader prefers.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.order("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// The value of a JavaScript expression.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, script: &str) -> Value {
        let order = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.order("Runtime.evaluate", &order);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a piece of JavaScript gives true.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_until(&mut self, script: &str) {
        let deadline = Instant::now() + SOON;
        while self.value(script) != true {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText");
                panic!("timed out after {SOON:?} waiting for {script} in: {text}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers go with it, and none of them writes into its profile any more.
        let _ = self.orders.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + SOON;
        while self.child.try_wait().is_ok_and(|it| it.is_none()) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
