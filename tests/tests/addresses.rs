//! Names that cannot be resolved yet, addresses that are not available yet, and the address that a game answers from.
//! Tests that need an unavailable namespace are skipped.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use client::{Assignment, GameSocket};
use protocol::netcode::token_from_text;
use tempfile::TempDir;
use testkit::{Muster, SOON, Setup, wait_for_reason, wait_until};

const ECHO: &str = "players = 1\nwarm = 0";
const NETCODE: &str = "players = 1\nwarm = 0\ntransport = \"netcode\"";

/// A mount namespace with an own /etc/hosts, and with name servers of which none is there.
struct Names {
    _directory: TempDir,
    hosts: PathBuf,
    steps: &'static str,
}

impl Names {
    /// `None` if such a namespace is not permitted.
    fn new(hosts: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let resolver = file("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        let order = file("nsswitch.conf", "hosts: files dns\n");
        let hosts = file("hosts", &format!("127.0.0.1 localhost\n{hosts}"));
        let bind = |from: &Path, to: &str| format!("mount --bind {} {to} && ", from.display());
        let mut mounts = bind(&hosts, "/etc/hosts") + &bind(&resolver, "/etc/resolv.conf");
        if Path::new("/etc/nsswitch.conf").exists() {
            mounts += &bind(&order, "/etc/nsswitch.conf");
        }
        if !can(&["--mount", "sh", "-c", &format!("{mounts}true")]) {
            return None;
        }
        let steps =
            format!("exec unshare --mount sh -c '{mounts}exec \"$0\" \"$@\"' \"$0\" \"$@\"");
        Some(Self { _directory: directory, hosts, steps: steps.leak() })
    }

    /// Changes /etc/hosts.
    fn say(&self, hosts: &str) {
        std::fs::write(&self.hosts, format!("127.0.0.1 localhost\n{hosts}")).unwrap();
    }
}

/// Whether a namespace is permitted; reports it if not.
fn can(unshare: &[&str]) -> bool {
    let output = Command::new("unshare").args(unshare).output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: not permitted here: unshare {}", unshare.join(" "));
    }
    can
}

fn named(names: &Names) -> Setup {
    Setup::default()
        .config("public_host = \"play.example.test\"")
        .through_shell("sh", names.steps)
        .mode("echo", &["muster-game", "echo"], ECHO)
        .mode("safe", &["muster-game", "echo"], NETCODE)
}

fn assigned(muster: &Muster, mode: &str) -> Assignment {
    muster.join(mode, "ada").assignment(SOON).unwrap()
}

/// Sends a player's hello to a game at an address, over a connected socket; returns the answer.
fn welcome(assignment: &Assignment, address: &str) -> Option<String> {
    let to = SocketAddr::new(address.parse().unwrap(), assignment.port);
    let own: IpAddr = if to.is_ipv4() { [127, 0, 0, 1].into() } else { to.ip() };
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(to).unwrap();
    let hello = format!("HELLO {} {}", assignment.match_id, assignment.token);
    socket.send(hello.as_bytes()).unwrap();
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The daemon starts without name service. Modes that can do without the address are played; the others wait, and are
/// played as soon as the name can be resolved.
#[test]
fn an_unresolved_name_is_retried() {
    let Some(names) = Names::new("") else { return };
    let muster = named(&names).start();
    let reported =
        muster.log().wait_for(&["WARN", "cannot resolve ports.public_host play.example.test"]);
    assert!(reported.contains("trying again") && reported.contains("netcode"), "{reported}");
    assert_eq!(assigned(&muster, "echo").host, "play.example.test");
    let mut waiting = muster.join("safe", "bob");
    wait_for_reason(&mut waiting, protocol::WaitReason::GameFailing);
    assert!(
        muster.operate(&["reload"]).is_ok(),
        "what cannot be resolved keeps no reload from going on"
    );
    names.say("127.0.0.5 play.example.test\n");
    muster.log().wait_for(&["INFO", "resolved ports.public_host play.example.test: 127.0.0.5"]);
    let assignment = waiting.assignment(SOON).unwrap();
    assert_eq!(addresses(&assignment), [SocketAddr::from(([127, 0, 0, 5], assignment.port))]);
    assert_eq!(muster.log().lines_with(&["cannot resolve"]).len(), 1);
    assert!(muster.log().lines_with(&["WARN", "game failed"]).is_empty());
}

/// Without a name service, a recovering daemon keeps its games, its positions, and the previous addresses.
#[test]
fn recovery_does_not_need_name_service() {
    let Some(names) = Names::new("127.0.0.5 play.example.test\n") else { return };
    let pair = NETCODE.replace("players = 1", "players = 2");
    let muster = named(&names).mode("pair", &["muster-game", "echo"], &pair).keep("10s").start();
    let mut game = muster.join("echo", "ada");
    let game = game.assignment(SOON).unwrap();
    let mut waiting = muster.connect();
    let place = waiting.join(Some("pair"), Some("bob"), SOON).unwrap();
    names.say("");
    muster.crash();
    assert_eq!(welcome(&game, "127.0.0.1").as_deref().map(|it| &it[..8]), Some("WELCOME "));
    let kept = muster.connect().resume(&place.resume, SOON).unwrap();
    assert!(
        matches!(kept, protocol::Reply::Queued { position: 1, .. }),
        "the place is kept: {kept}"
    );
    muster.log().wait_for(&["cannot resolve", "going on with 127.0.0.5"]);
    let assignment = assigned(&muster, "safe");
    assert_eq!(addresses(&assignment)[0].ip(), IpAddr::from([127, 0, 0, 5]));
    // The same for an upgrade in place.
    muster.upgrade(None).unwrap();
    let assignment = assigned(&muster, "safe");
    assert_eq!(addresses(&assignment)[0].ip(), IpAddr::from([127, 0, 0, 5]));
}

/// The addresses in a connect token; netcode 1.02: after what is encrypted stand the time-out, the number of addresses,
/// and each with its kind.
fn addresses(assignment: &Assignment) -> Vec<SocketAddr> {
    const AT: usize = 13 + 8 + 8 + 8 + 24 + 1024 + 4;
    let token = token_from_text(&assignment.token).unwrap();
    let number = |at: usize| u32::from_le_bytes(token[at..at + 4].try_into().unwrap());
    let mut at = AT + 4;
    let mut found = Vec::new();
    for _ in 0..number(AT) {
        let bytes = if token[at] == 1 { 4 } else { 16 };
        let text = &token[at + 1..at + 1 + bytes];
        let ip = match bytes {
            4 => IpAddr::from(<[u8; 4]>::try_from(text).unwrap()),
            // Words, each with its low byte first.
            _ => {
                let words = text.chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
                IpAddr::from(<[u16; 8]>::try_from(words.collect::<Vec<_>>()).unwrap())
            }
        };
        at += 1 + bytes;
        let port = u16::from_le_bytes([token[at], token[at + 1]]);
        at += 2;
        found.push(SocketAddr::new(ip, port));
    }
    found
}

/// A name with addresses of both families, or of IPv6 alone: players get in by each of them.
#[test]
fn players_of_both_address_families_are_admitted() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("left out: this machine has no IPv6");
    }
    let both = "::1 play.example.test\n127.0.0.1 play.example.test\n";
    for (hosts, reached) in
        [(both, &["127.0.0.1", "::1"][..]), ("::1 play.example.test\n", &["::1"])]
    {
        let Some(names) = Names::new(hosts) else { return };
        let muster = named(&names).start();
        for address in reached {
            let assignment = assigned(&muster, "echo");
            let answer = welcome(&assignment, address).unwrap_or_default();
            assert!(answer.starts_with("WELCOME "), "{address}: {answer:?}");
        }
        let assignment = assigned(&muster, "safe");
        let in_token: Vec<String> =
            addresses(&assignment).iter().map(|it| it.ip().to_string()).collect();
        assert_eq!(in_token, reached);
        for address in reached {
            let host = (*address).to_owned();
            let assignment = Assignment { host, ..assigned(&muster, "safe") };
            GameSocket::enter(&assignment, SOON).unwrap();
        }
    }
}

/// Games on all addresses answer from the one that was asked, over both transports and both families.
#[test]
fn answers_have_the_address_that_was_asked() {
    let mut binds = vec!["0.0.0.0"];
    match UdpSocket::bind("[::1]:0") {
        Ok(_) => binds.push("::"),
        Err(_) => eprintln!("left out in part: this machine has no IPv6"),
    }
    for bind in binds {
        let ports = format!("public_host = \"127.0.0.7\"\nbind = \"{bind}\"");
        let muster = Setup::default()
            .config(&ports)
            .mode("echo", &["muster-game", "echo"], ECHO)
            .mode("safe", &["muster-game", "echo"], NETCODE)
            .start();
        for address in ["127.0.0.7", "127.0.0.1"] {
            let answer = welcome(&assigned(&muster, "echo"), address).unwrap_or_default();
            assert!(answer.starts_with("WELCOME "), "{bind} {address}: {answer:?}");
        }
        // The client's own socket is connected.
        GameSocket::enter(&assigned(&muster, "safe"), SOON).unwrap();
    }
}

/// By default games listen on the address that players receive, if this machine has it, so that every game answers from
/// there; otherwise on all addresses.
#[test]
fn games_listen_on_the_assigned_address() {
    if !can(&["--net", "ip", "link", "set", "lo", "up"]) {
        return;
    }
    // 192.0.2.0/24 is for documentation; here, two of it are addresses of a machine for a moment.
    let steps = "exec unshare --net sh -c 'ip link set lo up; ip addr add 192.0.2.7/32 dev lo; \
                 exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    for (host, listens_on) in [("192.0.2.7", "070200C0"), ("192.0.2.9", "00000000")] {
        let muster = Setup::default()
            .config(&format!("public_host = \"{host}\""))
            .through_shell("sh", steps)
            .mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 1")
            .start();
        let table = || std::fs::read_to_string(format!("/proc/{}/net/udp", muster.pid())).unwrap();
        let wanted =
            muster.ports().map(|port| format!(" {listens_on}:{port:04X} ")).collect::<Vec<_>>();
        wait_until("a game on that address", || wanted.iter().any(|it| table().contains(it)));
    }
}

/// The address of a crashed daemon is used by another program, and the directory of its admin socket is gone: games and
/// positions are kept, and players are admitted as soon as possible.
#[test]
fn recovery_does_not_need_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("there/admin.sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let muster = Setup::default()
        .admin(&path)
        .mode("echo", &["muster-game", "echo"], ECHO)
        .mode("pair", &["muster-game", "echo"], "players = 2\nwarm = 0")
        .keep("10s")
        .start();
    let game = assigned(&muster, "echo");
    let place = muster.connect().join(Some("pair"), Some("bob"), SOON).unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    // The socket that is kept is at another address than the configuration has now.
    let file = muster.directory().join("muster.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replacen("127.0.0.1:0", &address, 1)).unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    muster.signal(nix::sys::signal::Signal::SIGKILL);
    muster.log().wait_for(&["back after a crash games=1"]);
    muster.log().wait_for(&["ERROR", &format!("cannot listen on {address}")]);
    muster.log().wait_for(&["WARN", "no admin socket"]);
    assert_eq!(welcome(&game, "127.0.0.1").as_deref().map(|it| &it[..8]), Some("WELCOME "));
    drop(other);
    muster.log().wait_for(&[&format!("INFO  listening tcp={address}")]);
    let mut lobby = client::Lobby::connect(&address, SOON).unwrap();
    let kept = lobby.resume(&place.resume, SOON).unwrap();
    assert!(
        matches!(kept, protocol::Reply::Queued { position: 1, .. }),
        "the place is kept: {kept}"
    );
}

/// The admin socket's directory is made later, and the address for figures is another's: players are served meanwhile.
#[test]
fn missing_addresses_are_bound_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later/admin.sock");
    let muster = Setup::default()
        .admin(&path)
        .listen("metrics = \"192.0.2.1:0\"")
        .mode("echo", &["muster-game", "echo"], ECHO)
        .start();
    let reported = muster.log().wait_for(&["WARN", "no admin socket"]);
    assert!(
        reported.contains("later for listen.admin") && reported.contains("retrying"),
        "{reported}"
    );
    muster.log().wait_for(&["WARN", "no HTTP: cannot serve HTTP on 192.0.2.1:0"]);
    assigned(&muster, "echo");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    muster.log().wait_for(&["the admin socket is open now"]);
    assert!(muster.operate(&["status"]).is_ok());
    assert_eq!(muster.log().lines_with(&["no admin socket:"]).len(), 1);
}

/// A daemon that listens on all addresses and sends players to loopback warns about it, also with a passed socket, and
/// so does `check-config`. A name that cannot be resolved is a note.
#[test]
fn a_loopback_public_host_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = directory.path().join("muster.toml");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(testkit::binary("muster"))
            .arg("check-config")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let warning = "players may connect from other machines";
    for world in ["0.0.0.0", "[::]", "192.0.2.1"] {
        let said = check(&format!("[listen]\ntcp = \"{world}:7000\"\n"));
        assert!(said.contains(":2:7: warning: ") && said.contains(warning), "{world}: {said}");
    }
    for (tcp, host) in
        [("127.0.0.1", "127.0.0.1"), ("[::1]", "localhost"), ("0.0.0.0", "192.0.2.1")]
    {
        let said =
            check(&format!("[listen]\ntcp = \"{tcp}:7000\"\n[ports]\npublic_host = \"{host}\"\n"));
        assert!(!said.contains(warning), "{tcp} {host}: {said}");
    }
    let said = check("[ports]\npublic_host = \"no-such-host.invalid\"\n");
    assert!(
        said.contains("note: ports.public_host: no-such-host.invalid cannot be resolved"),
        "{said}"
    );
    let given = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let muster = Setup::default().listen_fd(given.into(), "players").duel("warm = 0").start();
    muster.log().wait_for(&["WARN", warning, "0.0.0.0"]);
}
