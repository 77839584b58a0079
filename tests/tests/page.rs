//! The status page, in a real browser.

use serde_json::Value;
use testkit::http;
use testkit::{Browser, Muster, SOON, Setup};

fn start() -> Muster {
    Setup::default()
        .metrics()
        .puppet("duel", &[], "players = 2\nwarm = 1")
        .mode("broken", &["/nonexistent/game"], "players = 1\nwarm = 0")
        .start()
}

/// The page of a daemon with its first data. `None`: there is no browser.
fn open(muster: &Muster) -> Option<Browser> {
    let mut browser = Browser::start()?;
    browser.open(&format!("http://{}/", muster.http()));
    browser.wait_until("document.querySelectorAll('#queues tr').length === 4");
    Some(browser)
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let script = format!("document.querySelector({selector:?}).innerText");
    browser.value(&script).as_str().unwrap().to_owned()
}

#[test]
fn the_page_shows_queues_games_and_ports() {
    let muster = start();
    let Some(mut browser) = open(&muster) else { return };
    assert_eq!(text(&mut browser, "#state"), "taking players in");
    browser.wait_until("document.querySelector('#games').innerText.includes('warm')");
    let mut ada = muster.join("duel", "ada");
    browser.wait_until(
        "document.querySelector('#queues').innerText.includes('more players are needed')",
    );
    let mut bob = muster.join("duel", "bob");
    let port = ada.assignment(SOON).unwrap().port;
    bob.assignment(SOON).unwrap();
    browser.wait_until("document.querySelector('#games').innerText.includes('running')");
    let games = text(&mut browser, "#games");
    assert!(games.contains(&port.to_string()), "{games}");
    browser.wait_until("document.querySelectorAll('#rate rect').length > 1");
    let ports = browser.value("document.querySelector('#ports').getAttribute('aria-label')");
    assert!(ports.as_str().unwrap().contains("2 leased"), "{ports}");
    let _mallory = muster.join("broken", "mallory");
    browser.wait_until("document.querySelector('#state').innerText === '1 mode is failing'");
    let queues = text(&mut browser, "#queues");
    assert!(queues.contains("▲ its games keep failing"), "{queues}");
    muster.order(port, "exit 0");
    browser.wait_until("!document.querySelector('#games').innerText.includes('running')");
    // Names of players are not public.
    let page = text(&mut browser, "body");
    assert!(!page.contains("ada") && !page.contains("mallory"), "{page}");
}

/// Names are shown as text, whatever they contain.
#[test]
fn names_on_the_page_are_never_markup() {
    let muster = start();
    let Some(mut browser) = open(&muster) else { return };
    let name = "<img src=x onerror=alert(1)><b>bold</b>";
    let script = format!(
        "(() => {{ const status = structuredClone(latest);\
         status.queues[0].name = status.queues[0].why = {name:?};\
         status.games = [{{game: {name:?}, mode: {name:?}, phase: {name:?}, players: 1, port: 1, age_ms: 1}}];\
         status.version = {name:?}; show(status);\
         return [document.querySelectorAll('main img, main b, header img').length, document.body.innerText]; }})()"
    );
    let shown = browser.value(&script);
    assert_eq!(shown[0], 0);
    let text = shown[1].as_str().unwrap();
    assert!(text.matches(name).count() >= 4, "{text}");
}

#[test]
fn the_page_is_available_as_json() {
    let muster = start();
    let _eve = muster.join("duel", "eve");
    let status = testkit::wait_for("the player in the figures", || {
        let answer = http::get(&muster.http(), "/status.json");
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        let status: Value = serde_json::from_str(&answer.body).unwrap();
        (status["queues"][0]["waiting"] == 1).then_some(status)
    });
    assert_eq!(status["queues"][0]["why"], "more players are needed");
    assert_eq!(status["queues"][1]["why"], "no players waiting");
    assert_eq!(status["ports"]["places"].as_str().unwrap().len(), muster.ports().len());
    assert_eq!((&status["serving"], &status["launcher"]), (&true.into(), &true.into()));
    assert!(!status.to_string().contains("eve"), "{status}");
}

#[test]
fn the_page_may_not_load_anything_from_elsewhere() {
    let muster = start();
    let page = http::get(&muster.http(), "/");
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}
