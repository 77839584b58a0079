//! The page that shows how the daemon is, in a real browser.

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

/// The page of a daemon, once it shows figures. `None`: no browser is here.
fn open(muster: &Muster, width: u32) -> Option<Browser> {
    let mut browser = Browser::start()?;
    browser.open(&format!("http://{}/", muster.http()), width, 900);
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
    let Some(mut browser) = open(&muster, 1280) else { return };
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
    // No name of a player is told to whoever looks.
    let page = text(&mut browser, "body");
    assert!(!page.contains("ada") && !page.contains("mallory"), "{page}");
}

#[test]
fn it_says_when_there_is_no_answer() {
    let muster = start();
    let Some(mut browser) = open(&muster, 1280) else { return };
    assert_eq!(browser.value("document.querySelector('#trouble').hidden"), true);
    drop(muster);
    browser.wait_until("document.querySelector('#trouble').innerText.includes('No figures since')");
    assert_eq!(browser.value("document.body.classList.contains('stale')"), true);
}

#[test]
fn it_fits_a_phone_and_both_schemes_have_contrast() {
    let muster = start();
    let Some(mut browser) = open(&muster, 320) else { return };
    for width in [320, 390, 768, 1280] {
        browser.resize(width, 900);
        let script = "document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(browser.value(script), true, "wider than {width} pixels");
    }
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let worst = browser.value(CONTRAST);
        // WCAG 2.2, 1.4.3: at least 4.5 to 1 for text.
        assert!(worst.as_f64().unwrap() >= 4.5, "{scheme}: {worst}");
    }
}

/// The lowest contrast of any text with what is behind it.
const CONTRAST: &str = r"(() => {
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((all, part, index) => all + part * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (numbers(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const contrasts = [...document.querySelectorAll('body *')]
        .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .filter((element) => element.offsetParent !== null)
        .map((element) => [light(getComputedStyle(element).color), light(ground(element))])
        .map(([one, other]) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05));
    return Math.min(...contrasts);
})()";

/// Tables have headers for their columns and rows, what is drawn has a name, and nothing comes from elsewhere.
#[test]
fn it_can_be_read_aloud_and_loads_nothing_from_elsewhere() {
    let muster = start();
    let Some(mut browser) = open(&muster, 1280) else { return };
    browser.wait_until("document.querySelectorAll('#games th[scope=row]').length > 0");
    let value = |browser: &mut Browser, script: &str| browser.value(script);
    let columns = "[...document.querySelectorAll('thead th')].every((it) => it.scope === 'col' && it.innerText)";
    assert_eq!(value(&mut browser, columns), true);
    let drawn = "[...document.querySelectorAll('[role=img]')].map((it) => it.getAttribute('aria-label')).join()";
    let drawn = value(&mut browser, drawn);
    assert!(drawn.as_str().unwrap().starts_with("matches per second: now "), "{drawn}");
    assert_eq!(value(&mut browser, "document.documentElement.lang"), "en");
    let origins = "[...new Set(performance.getEntriesByType('resource').map((it) => new URL(it.name).origin))].join()";
    let own = format!("http://{}", muster.http());
    assert_eq!(value(&mut browser, origins), own);
    let policy = http::get(&muster.http(), "/");
    let policy = policy.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

/// Names are text wherever they are shown, whatever they hold.
#[test]
fn names_on_the_page_are_never_markup() {
    let muster = start();
    let Some(mut browser) = open(&muster, 1280) else { return };
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
