//! Matches over the transport `netcode`, with a real daemon: whole games of bots, and refused connections.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Assignment, GameSocket, Link, Machine as _};
use protocol::netcode::{CONNECT_TOKEN_BYTES, SEQUENCE_MAX, token_from_text};
use testkit::{Muster, SOON, Setup, binary, wait_for};

const NETCODE: &str = "transport = \"netcode\"\nwarm = 1";

/// A daemon with the reference echo for `players` players.
fn echo(players: usize, ports: u16, more: &str) -> Muster {
    let keys = format!("{NETCODE}\nplayers = {players}\n{more}");
    let setup = Setup::default().ports(ports).log("trace");
    setup.mode("echo", &["muster-game", "echo"], &keys).start()
}

fn assigned<const PLAYERS: usize>(muster: &Muster) -> [Assignment; PLAYERS] {
    let mut lobbies = [(); PLAYERS].map(|()| muster.join("echo", "ada"));
    lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())
}

fn enter(assignment: &Assignment) -> GameSocket {
    GameSocket::enter(assignment, SOON).unwrap()
}

/// Waits until the game has read everything that was sent before: datagrams come in order, and the answer to this
/// one is the last.
fn has_read_all(player: &mut GameSocket) {
    player.ping("all read", SOON).unwrap();
}

/// The request with which a player presents the token, as an attacker could capture it.
fn request(assignment: &Assignment) -> Vec<u8> {
    let mut link = Link::new(assignment);
    link.handle_timeout(Duration::ZERO);
    link.poll_transmit().unwrap()
}

/// The socket of a stranger.
fn stranger(host: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn has_no_answer(socket: &UdpSocket) {
    let answer = socket.recv(&mut [0; 1500]);
    assert!(
        answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "{answer:?}"
    );
}

fn bot(muster: &Muster, queue: &str, name: &str) -> Child {
    Command::new(binary("muster-play"))
        .args([muster.address(), "--queue", queue, "--name", name, "--bot"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// No line of the log, the games' output and the client's lines in it included, holds one of these, however it is
/// written.
fn assert_never_logged(muster: &Muster, secrets: &[&str]) {
    let text = muster.log().text();
    for secret in secrets {
        let token = token_from_text(secret).unwrap();
        let hex: String = token[..CONNECT_TOKEN_BYTES].iter().map(|b| format!("{b:02x}")).collect();
        // The first part is the same in all tokens, and no secret.
        for (at, length) in [(100, 24), (1500, 24), (64, 40)] {
            assert!(!text.contains(&secret[at..at + length]), "a token is in the log");
        }
        assert!(!text.contains(&hex[200..240]), "a token is in the log");
    }
    for word in ["\"key\"", "Key([", "protocol_id"] {
        assert!(!text.contains(word), "{word} is in the log");
    }
}

#[test]
fn bots_play_matches_with_netcode() {
    let muster = Setup::default()
        .duel(NETCODE)
        .mode("arena", &["muster-game", "arena", "--duration", "2s"], NETCODE)
        .mode("echo", &["muster-game", "echo"], NETCODE)
        .start();
    for (queue, shown) in [("duel", "\"moves\":["), ("arena", "\"ticks\":"), ("echo", "[3,3]")] {
        for mut bot in [bot(&muster, queue, "ada"), bot(&muster, queue, "bob")] {
            let status = wait_for("the end of a bot", || bot.try_wait().unwrap());
            assert!(status.success(), "{queue}: {status}");
        }
        let result = muster.log().wait_for(&["match result", &format!("mode={queue}")]);
        assert!(result.contains(shown), "{result}");
        let ended = muster.log().wait_for(&["match finished", &format!("mode={queue}")]);
        assert!(ended.contains("exit status 0"), "{ended}");
    }
    muster.log().wait_for_count(3, &["port free port="]);
}

/// Faults row 31: a request that was seen on its way, from another address, before its player has come in and after;
/// and the whole assignment, which no stranger has, once it has let its player in.
#[test]
fn a_token_replayed_from_another_address_is_ignored() {
    let muster = echo(2, 2, "");
    let [ada, bob] = assigned(&muster);
    assert_eq!((ada.transport.as_str(), ada.token.len()), ("netcode", 2732));
    assert_ne!(ada.token, bob.token);
    let mut games = [enter(&ada), enter(&bob)];
    let strangers = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
    let strangers = strangers.map(|host| stranger(host, ada.port));
    for _ in 0..300 {
        for (assignment, stranger) in [(&ada, &strangers[0]), (&bob, &strangers[1])] {
            stranger.send(&request(assignment)).unwrap();
        }
        has_read_all(&mut games[0]);
    }
    strangers.iter().for_each(has_no_answer);
    games[0].bye(SOON).unwrap();
    muster.log().wait_for(&["player left match=1 slot=0"]);
    strangers[0].send(&request(&ada)).unwrap();
    games[0].socket().send(&request(&ada)).unwrap();
    has_read_all(&mut games[1]);
    strangers.iter().for_each(has_no_answer);
    games[1].bye(SOON).unwrap();
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    assert_never_logged(&muster, &[&ada.token, &bob.token]);
}

/// Faults rows 31 to 33: a token of another match, requests that were changed on their way, garbage, and sequence
/// numbers near the end of their range, from strangers and from the player's own address: no answer, and the match goes
/// on.
#[test]
fn forged_packets_change_nothing() {
    let muster = echo(1, 2, "");
    let [ada, bob] = [assigned::<1>(&muster), assigned::<1>(&muster)].map(|[it]| it);
    let mut games = [enter(&ada), enter(&bob)];
    let stranger = stranger(Ipv4Addr::LOCALHOST, ada.port);
    let own = games[0].socket().try_clone().unwrap();
    let mut requests = vec![request(&bob), request(&ada)];
    for at in [1, 14, 22, 30, 60, 1070] {
        let mut changed = request(&ada);
        changed[at] ^= 1;
        requests.push(changed);
    }
    for request in &requests {
        own.send(request).unwrap();
    }
    for request in &requests[2..] {
        stranger.send(request).unwrap();
    }
    stranger.send(&requests[0]).unwrap();
    for sequence in [SEQUENCE_MAX + 1, u64::MAX - 256, u64::MAX - 255, u64::MAX] {
        for prefix in 0..=255u8 {
            let mut packet = vec![prefix];
            packet.extend_from_slice(&sequence.to_le_bytes());
            for length in [25, 33, 60, 333] {
                packet.resize(length, 0xa5);
                own.send(&packet).unwrap();
                stranger.send(&packet).unwrap();
            }
            if prefix % 16 == 15 {
                // No more than the socket's buffer holds.
                has_read_all(&mut games[0]);
            }
        }
    }
    has_no_answer(&stranger);
    games[0].say("still here");
    assert_eq!(games[0].next_words(SOON).unwrap(), "still here");
    for game in &mut games {
        game.bye(SOON).unwrap();
    }
    muster.log().wait_for(&["match result match=1 ", "\"echoed\":[1]"]);
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    assert_never_logged(&muster, &[&ada.token, &bob.token]);
}

/// Faults row 31: a token that is shown for the first time too late, by the game's clock; the match is still played.
#[test]
fn an_expired_token_is_ignored() {
    let muster = echo(2, 1, "hello_timeout = \"1s\"");
    let [ada, bob] = assigned(&muster);
    let mut game = enter(&ada);
    // Five seconds more than hello_timeout, counted from before the assignment: a time that must pass, with
    // keep-alives. An earlier attempt would bind the token to its address.
    let sent_at = Instant::now();
    wait_for("the token's end", || {
        has_read_all(&mut game);
        (sent_at.elapsed() > Duration::from_secs(6)).then_some(())
    });
    let late = stranger(Ipv4Addr::LOCALHOST, ada.port);
    late.send(&request(&bob)).unwrap();
    has_read_all(&mut game);
    has_no_answer(&late);
    game.bye(SOON).unwrap();
}

/// Faults row 32: a request is answered with less than itself, and only when its token is genuine.
#[test]
fn answers_are_shorter_than_requests() {
    let muster = echo(1, 1, "");
    let [ada] = assigned(&muster);
    let asker = stranger(Ipv4Addr::LOCALHOST, ada.port);
    asker.set_nonblocking(false).unwrap();
    asker.set_read_timeout(Some(SOON)).unwrap();
    let request = request(&ada);
    asker.send(&request).unwrap();
    let mut answer = [0; 1500];
    let length = asker.recv(&mut answer).unwrap();
    assert!(length < request.len() / 3, "{length} for {}", request.len());
}

/// The client's handling of an invalid token.
#[test]
fn an_invalid_connect_token_is_rejected() {
    let muster = echo(1, 1, "");
    let [mut ada] = assigned(&muster);
    ada.token.truncate(100);
    let error = GameSocket::enter(&ada, SOON).map(drop).unwrap_err().to_string();
    assert!(error.contains("the connect token is invalid"), "{error}");
}
