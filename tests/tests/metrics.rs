//! The HTTP interface for scrapers and health checks, which does not disturb matches.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use protocol::{Reply, Request};
use testkit::http::{self, Response};
use testkit::{Dice, Muster, SOON, Scrape, Setup, binary, wait_for, wait_until};

/// The page that explains all metrics.
const PAGE: &str = include_str!("../../docs/metrics.md");

const DUEL: [(&str, &str); 1] = [("mode", "duel")];

/// Two modes: puppets that play until they are ended, and one whose games cannot start.
fn start() -> Muster {
    Setup::default()
        .metrics()
        .puppet("duel", &[], "players = 2\nwarm = 1")
        .mode("broken", &["/nonexistent/game"], "players = 1\nwarm = 0")
        .start()
}

fn play(muster: &Muster) {
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("duel", name));
    let port = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap().port)[0];
    muster.order(port, "exit 0");
}

// ---- Metrics ----

fn puppet(name: &str) -> String {
    let game = binary("puppet-game");
    format!("[[mode]]\nname = \"{name}\"\nplayers = 1\nwarm = 0\ncommand = [{game:?}]\n")
}

/// A new mode has all its metrics at once, and a removed one has none as soon as it is not played any more.
#[test]
fn modes_are_in_the_metrics_while_they_exist_or_are_played() {
    let muster = Setup::default().metrics().config(&puppet("old")).start();
    let port = muster.join("old", "ada").assignment(SOON).unwrap().port;
    muster.configure(&puppet("new"));
    muster.operate(&["reload"]).unwrap();
    let page = || http::get(&muster.http(), "/metrics").body;
    let shown = |mode: &str| page().contains(&format!("mode=\"{mode}\""));
    let queues = || {
        let page: serde_json::Value =
            serde_json::from_str(&http::get(&muster.http(), "/status.json").body).unwrap();
        let status = muster.operate(&["status", "--json"]).unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let names = |queues: &serde_json::Value, name: &str| -> Vec<String> {
            let queues = queues.as_array().unwrap().iter();
            queues.map(|queue| queue[name].as_str().unwrap().to_owned()).collect()
        };
        (names(&page["queues"], "name"), names(&status["queues"], "queue"))
    };
    // What is scraped may be a moment old.
    wait_until("the new mode in the figures", || shown("new"));
    let scrape = muster.scrape();
    for counter in ["muster_matches_formed_total", "muster_launches_total"] {
        assert_eq!(scrape.sum(counter, &[("mode", "new")]), 0.0);
    }
    assert_eq!(scrape.sum("muster_games", &[("mode", "old"), ("phase", "running")]), 1.0);
    let both = || ["new", "old"].map(str::to_owned).to_vec();
    assert_eq!(queues(), (both(), both()));
    let status = muster.operate(&["status"]).unwrap();
    assert!(status.lines().any(|it| it.starts_with("old") && it.ends_with("removed")), "{status}");
    muster.order(port, "exit 0");
    wait_until("the end of the old one", || !shown("old"));
    assert_eq!(queues(), (vec!["new".to_owned()], vec!["new".to_owned()]));
    // To a scraper that has forgotten it, it is a new mode; to the daemon it is the old one.
    muster.configure(&puppet("old"));
    muster.operate(&["reload"]).unwrap();
    wait_until("it is back", || shown("old"));
}

#[test]
fn counters_agree_with_the_matches() {
    let muster = start();
    for _ in 0..3 {
        play(&muster);
    }
    let mut left = muster.join("duel", "eve");
    left.send(&Request::Leave).unwrap();
    wait_until("three matches in the figures", || {
        let scrape = muster.scrape();
        scrape.sum("muster_matches_ended_total", &DUEL) == 3.0
            && scrape.sum("muster_players_total", &[("event", "left")]) == 1.0
    });
    let scrape = muster.scrape();
    let of_duel = |name| scrape.sum(name, &DUEL);
    assert_eq!(of_duel("muster_matches_formed_total"), 3.0);
    assert_eq!(of_duel("muster_matches_assigned_total"), 3.0);
    assert_eq!(of_duel("muster_matches_dissolved_total"), 0.0);
    assert_eq!(of_duel("muster_player_wait_seconds_count"), 6.0);
    assert_eq!(of_duel("muster_match_game_wait_seconds_count"), 3.0);
    let exits = [("mode", "duel"), ("cause", "success")];
    assert_eq!(scrape.sum("muster_game_exits_total", &exits), 3.0);
    let players = |event| scrape.sum("muster_players_total", &[("event", event)]);
    assert_eq!((players("joined"), players("assigned")), (7.0, 6.0));
    let ports: f64 = scrape.sum("muster_ports", &[]);
    assert_eq!(ports, muster.ports().len() as f64);
    assert_eq!(of_duel("muster_queue_players"), 0.0);
    assert_eq!(scrape.sum("muster_connections_total", &[("outcome", "taken_in")]), 7.0);
    assert!(scrape.sum("muster_client_received_bytes_total", &[]) > 100.0);
    assert!(scrape.sum("muster_client_sent_bytes_total", &[]) > 600.0);
    assert!(scrape.sum("muster_loop_turn_seconds_count", &[]) > 10.0);
    assert!(scrape.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert_eq!(scrape.sum("muster_serving", &[]), 1.0);
    // Each game was launched once, came to be once, and could be played with once, but for one on its way.
    let launches = of_duel("muster_launches_total");
    assert!((3.0..=5.0).contains(&launches), "{launches}");
    assert!(of_duel("muster_launch_seconds_count") >= 3.0);
    assert!(of_duel("muster_game_ready_seconds_count") >= 3.0);
}

#[test]
fn waiting_players_and_failing_modes_are_shown() {
    let muster = start();
    let _eve = muster.join("duel", "eve");
    let _mallory = muster.join("broken", "mallory");
    let mut stranger = muster.connect();
    stranger.join(Some("nowhere"), None, SOON).unwrap_err();
    let broken = [("mode", "broken")];
    wait_until("a failing mode", || muster.scrape().sum("muster_mode_failing", &broken) == 1.0);
    wait_until("a wait", || muster.scrape().sum("muster_queue_oldest_wait_seconds", &DUEL) > 0.2);
    let scrape = muster.scrape();
    assert_eq!(scrape.sum("muster_queue_players", &DUEL), 1.0);
    assert_eq!(scrape.sum("muster_mode_match_players", &DUEL), 2.0);
    assert_eq!(scrape.sum("muster_matches_waiting", &broken), 1.0);
    assert_eq!(scrape.sum("muster_mode_failing", &DUEL), 0.0);
    let failed = [("mode", "broken"), ("fault", "not_launched")];
    assert!(scrape.sum("muster_game_failures_total", &failed) >= 2.0);
    let other = [("mode", "broken"), ("reason", "other")];
    assert!(scrape.sum("muster_launch_failures_total", &other) >= 2.0);
    assert_eq!(scrape.sum("muster_errors_total", &[("code", "504")]), 1.0);
    let warm = [("mode", "duel"), ("phase", "warm")];
    wait_until("a warm game", || muster.scrape().sum("muster_games", &warm) == 1.0);
    assert_eq!(muster.scrape().sum("muster_clients", &[]), 3.0);
}

#[test]
fn disconnects_returns_and_evictions_are_counted() {
    let muster = Setup::default()
        .metrics()
        .puppet("duel", &[], "players = 2\nwarm = 1\naccept_timeout = \"20s\"")
        .start();
    let of_duel = |name| muster.scrape().sum(name, &DUEL);
    let mut ada = muster.connect();
    let key = ada.join(Some("duel"), Some("ada"), SOON).unwrap().resume;
    drop(ada);
    wait_until("ada to be away", || of_duel("muster_queue_away_players") == 1.0);
    assert_eq!(
        (of_duel("muster_player_losses_total"), of_duel("muster_queue_players")),
        (1.0, 0.0)
    );
    let mut ada = muster.connect();
    ada.resume(&key, SOON).unwrap();
    wait_until("ada to be back", || of_duel("muster_player_returns_total") == 1.0);
    let mut bob = muster.join("duel", "bob");
    while !matches!(bob.next_reply(SOON).unwrap(), Reply::Found { .. }) {}
    bob.send(&Request::Decline).unwrap();
    let declined = [("mode", "duel"), ("reason", "declined")];
    wait_until("bob to be out", || muster.scrape().sum("muster_evictions_total", &declined) == 1.0);
    assert_eq!(muster.scrape().sum("muster_players_total", &[("event", "evicted")]), 1.0);
}

#[test]
fn launcher_restarts_are_counted() {
    let muster = start();
    let launcher = Pid::from_raw(muster.launcher());
    nix::sys::signal::kill(launcher, Signal::SIGKILL).unwrap();
    wait_until("the next launcher", || {
        let scrape = muster.scrape();
        scrape.sum("muster_launcher_restarts_total", &[]) == 1.0
            && scrape.sum("muster_launcher_up", &[]) == 1.0
    });
}

/// The page for people lists what there is, each with its type, and nothing else.
#[test]
fn every_metric_is_explained() {
    let muster = start();
    play(&muster);
    let scrape = muster.scrape();
    let row = |line: &'static str| {
        let mut cells =
            line.strip_prefix("| `").filter(|it| !it.starts_with('/'))?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?;
        Some((name, cells.next()?))
    };
    let explained: BTreeMap<&str, &str> = PAGE.lines().filter_map(row).collect();
    assert_eq!(scrape.families(), explained);
}

#[test]
fn promtool_reports_no_problem() {
    let muster = start();
    play(&muster);
    let text = http::get(&muster.http(), "/metrics").body;
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: promtool is not here; Debian's package prometheus has it");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Each scraper gets the format that it asks for, and one that does not care the older one, which all of them read. The
/// figures are the same.
#[test]
fn a_scraper_gets_the_requested_format() {
    let muster = start();
    play(&muster);
    let http = muster.http();
    let telegraf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                    q=0.7,text/plain;version=0.0.4;q=0.3";
    let classic = [telegraf, "text/plain;version=0.0.4", "*/*", "text/plain", "application/json"];
    let asked = classic.map(|accept| (accept, http::get_as(&http, "/metrics", accept)));
    let unasked = ("nothing", http::get(&http, "/metrics"));
    for (accept, answer) in asked.iter().chain([&unasked]) {
        let kind = answer.header("Content-Type");
        assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"), "{accept}");
        assert_eq!((answer.status, answer.header("Vary")), (200, Some("Accept")));
        Scrape::of_classic(&answer.body);
    }
    let mut pages = Vec::new();
    for accept in [Scrape::ACCEPT, "application/openmetrics-text; version=1.0.0"] {
        let answer = http::get_as(&http, "/metrics", accept);
        let kind = answer.header("Content-Type");
        assert_eq!(kind, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert_eq!(answer.header("Vary"), Some("Accept"));
        pages.push(Scrape::of(&answer.body));
    }
    let older = Scrape::of_classic(&unasked.1.body);
    assert_eq!(older.names(), pages[0].names());
    let older_families: BTreeMap<String, &str> = pages[0]
        .families()
        .into_iter()
        .map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind),
            "info" => (format!("{name}_info"), "gauge"),
            kind => (name.to_owned(), kind),
        })
        .collect();
    let families = older.families().into_iter().map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(families.collect::<BTreeMap<_, _>>(), older_families);
    assert!(http::get(&http, "/healthz").header("Vary").is_none());
}

/// The client library of Prometheus for Python has a parser of each format.
#[test]
fn the_parsers_of_prometheus_read_both_formats() {
    const PARSE: &str = "
import sys
try:
    from prometheus_client import parser as classic
    from prometheus_client.openmetrics import parser as openmetrics
except ImportError:
    print('skipped'); sys.exit()
text = sys.stdin.read()
families = list((classic if sys.argv[1] == 'classic' else openmetrics).text_string_to_metric_families(text))
untyped = [family.name for family in families if family.type in ('unknown', 'untyped')]
assert len(families) > 30 and not untyped, (len(families), untyped)
print('read')
";
    let muster = start();
    play(&muster);
    for (format, accept) in [("classic", "text/plain"), ("openmetrics", Scrape::ACCEPT)] {
        let text = http::get_as(&muster.http(), "/metrics", accept).body;
        let child = Command::new("python3")
            .args(["-c", PARSE, format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { return eprintln!("skipped: python3 is not here") };
        // It may end before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said == "skipped\n" {
            return eprintln!("skipped: Debian's package python3-prometheus-client is not here");
        }
        assert!(output.status.success() && said == "read\n", "{format}: {output:?}");
    }
}

// ---- Health ----

#[test]
fn the_daemon_is_healthy_while_its_loop_runs() {
    let muster = start();
    let http = muster.http();
    assert_eq!(
        (http::get(&http, "/healthz").status, http::get(&http, "/readyz").status),
        (200, 200)
    );
    // Only the loop's thread is stopped; the HTTP thread continues.
    let main = Pid::from_raw(muster.pid());
    ptrace::seize(main, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(main).unwrap();
    waitpid(main, Some(WaitPidFlag::__WALL)).unwrap();
    // Recent figures are reused for a moment.
    wait_until("the loop's silence", || http::get(&http, "/healthz").status == 503);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = http::get(&http, path);
        assert_eq!((answer.status, answer.body.contains("within a second")), (503, true));
    }
    assert_eq!(http::get(&http, "/").status, 200);
    ptrace::detach(main, None).unwrap();
    wait_until("health", || http::get(&http, "/healthz").status == 200);
}

#[test]
fn a_draining_daemon_is_healthy_and_not_ready() {
    let muster = start();
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("duel", name));
    lobbies.each_mut().iter_mut().for_each(|lobby| drop(lobby.assignment(SOON).unwrap()));
    muster.signal(Signal::SIGTERM);
    muster.log().wait_for(&["draining games=1"]);
    let http = muster.http();
    let ready =
        wait_for("not ready", || Some(http::get(&http, "/readyz")).filter(|it| it.status == 503));
    assert_eq!(ready.body, "draining\n");
    assert_eq!(http::get(&http, "/healthz").status, 200);
    assert_eq!(muster.scrape().sum("muster_serving", &[]), 0.0);
}

// ---- HTTP ----

#[test]
fn requests_are_answered_as_the_standard_requires() {
    let muster = start();
    let http = muster.http();
    let status = |request: &str| http::send(&http, request.as_bytes()).status;
    assert_eq!(status("GET /metrics HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(status("GET /metrics?x=y HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    assert_eq!(status("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
    assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status("garbage\r\n\r\n"), 400);
    let long =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "x".repeat(10_000));
    assert_eq!(status(&long), 431);
    let post = http::send(
        &http,
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!((post.status, post.header("Allow")), (405, Some("GET, HEAD")));
    let metrics = http::get(&http, "/metrics");
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(metrics.header("Content-Type"), Some(kind));
    let length = |it: &Response| it.header("Content-Length").unwrap().parse::<usize>().unwrap();
    assert_eq!(length(&metrics), metrics.body.len());
    let head = http::send(&http, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(length(&head) > 1000);
    wait_until("all of it in the figures", || {
        let scrape = muster.scrape();
        let counted = |status| scrape.sum("muster_http_responses_total", &[("status", status)]);
        counted("404") == 1.0
            && counted("405") == 1.0
            && counted("400") == 2.0
            && counted("431") == 1.0
    });
}

/// A web page that reaches this machine by a DNS name of its own receives nothing.
#[test]
fn a_foreign_host_name_is_refused_on_loopback() {
    let muster = start();
    let http = muster.http();
    let (_, port) = http.rsplit_once(':').unwrap();
    let status = |path: &str, host: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        http::send(&http, request.as_bytes()).status
    };
    for path in ["/metrics", "/status.json", "/healthz", "/readyz", "/"] {
        for host in ["127.0.0.1", "localhost", "muster.localhost", "[::1]", "127.1.2.3"] {
            assert_eq!(status(path, &format!("{host}:{port}")), 200, "{path} {host}");
            assert_eq!(status(path, host), 200, "{path} {host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "192.0.2.7", "localhost.example"] {
            assert_eq!(status(path, &format!("{host}:{port}")), 403, "{path} {host}");
        }
        let old = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(http::send(&http, old.as_bytes()).status, 200, "{path} without a name");
    }
}

#[test]
fn garbage_requests_do_not_disturb_others() {
    let muster = start();
    let http = muster.http();
    let mut dice = Dice::new(7);
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&http).unwrap();
        let length = dice.below(600) + 1;
        let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        // It may have been refused and closed before all of it was sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.write_all(b"\r\n\r\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{bytes:?}: {answer:?}");
    }
    play(&muster);
    assert_eq!(http::get(&http, "/healthz").status, 200);
}

/// Clients that send one byte and stop, or never read: they delay neither a match nor a scrape, and are closed.
#[test]
fn slow_requests_are_closed_without_effect_on_others() {
    let muster = start();
    let http = muster.http();
    let slow: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut stream = TcpStream::connect(&http).unwrap();
            stream.write_all(b"GET /metr").unwrap();
            stream
        })
        .collect();
    let before = Instant::now();
    for _ in 0..5 {
        assert_eq!(http::get(&http, "/metrics").status, 200);
        play(&muster);
    }
    let took = before.elapsed();
    for mut stream in slow {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    assert!(took < SOON / 3, "five matches and scrapes took {took:?} beside slow ones");
}

/// More connections than are served at a time: the oldest of those that say nothing make room.
#[test]
fn silent_connections_do_not_block_others() {
    let muster = start();
    let http = muster.http();
    let _crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&http).unwrap()).collect();
    assert_eq!(http::get(&http, "/healthz").status, 200);
    play(&muster);
}

#[test]
fn many_scrapes_do_not_disturb_matches() {
    let muster = start();
    let http = muster.http();
    let done = std::sync::atomic::AtomicBool::new(false);
    let scrapes: usize = std::thread::scope(|scope| {
        let scraper = || {
            let mut scrapes = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                Scrape::of(&http::get_as(&http, "/metrics", Scrape::ACCEPT).body);
                scrapes += 1;
            }
            scrapes
        };
        let scrapers: Vec<_> = (0..4).map(|_| scope.spawn(scraper)).collect();
        for _ in 0..20 {
            play(&muster);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        scrapers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!(scrapes >= 4, "{scrapes}");
    wait_until("twenty matches in the figures", || {
        muster.scrape().sum("muster_matches_ended_total", &DUEL) == 20.0
    });
}

#[test]
fn no_http_is_served_when_it_is_off() {
    let muster = Setup::default().duel("warm = 0").start();
    assert!(muster.log().lines_with(&["serving HTTP"]).is_empty());
}

/// Figures are no reason to serve no players: they come when their address does.
#[test]
fn an_address_in_use_is_bound_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let muster = Setup::default().listen(&format!("metrics = \"{address}\"")).duel("").start();
    let reported = muster.log().wait_for(&["WARN", &format!("cannot serve HTTP on {address}")]);
    assert!(reported.contains("listen.metrics") && reported.contains("retrying"), "{reported}");
    muster.join("duel", "ada");
    drop(taken);
    assert_eq!(muster.http(), address);
    assert_eq!(muster.log().lines_with(&["WARN", "cannot serve HTTP"]).len(), 1);
}

#[test]
fn a_bad_line_is_counted() {
    let muster = start();
    let mut lobby = muster.connect();
    lobby.send_raw(b"NONSENSE\n").unwrap();
    let reply = lobby.next_reply(SOON).unwrap();
    assert!(matches!(reply, Reply::Error { .. }), "{reply}");
    let unknown = [("name", "UNKNOWN_VERB")];
    wait_until("the error", || muster.scrape().sum("muster_errors_total", &unknown) == 1.0);
}
