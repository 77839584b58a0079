//! A person with netcat is a full client: over TCP into a match, over UDP into its game.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use testkit::{Log, Setup, wait_for};

/// netcat, from the package `netcat-openbsd`, with its input and output.
struct Netcat {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Netcat {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("nc");
        // A netcat that is idle for this long has failed.
        command.args(["-w", "30"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run nc: {error}; `make tools` or `apt-get install netcat-openbsd` installs it")
        });
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn say(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads until there are `count` bytes: a datagram has no line end.
    fn bytes(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.stdout.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

impl Drop for Netcat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_players_with_netcat_play_a_match() {
    let muster = Setup::default().duel("warm = 1").start();
    let (host, port) = muster.address().split_once(':').unwrap();
    let mut players = ["ada", "bob"].map(|name| {
        let mut player = Netcat::start(&[host, port]);
        assert_eq!(player.line(), "MUSTER 1 line_max=512 queues=duel");
        player.say(&format!("READY queue=duel name={name}\n"));
        assert!(player.line().starts_with("QUEUED queue=duel position="));
        player
    });
    for (slot, player) in players.iter_mut().enumerate() {
        let assign = loop {
            let line = player.line();
            if line.starts_with("ASSIGN ") {
                break line;
            }
            assert!(line.starts_with("WAITING "), "{line}");
        };
        player.stdin = None;
        assert_eq!(player.line(), "", "something came after ASSIGN");
        let status = wait_for("the end of nc", || player.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        let field = |key| Log::field(&assign, key);
        let mut game = Netcat::start(&["-u", field("host"), field("port")]);
        game.say(&format!("HELLO {} {}\n", field("match"), field("token")));
        let welcome = format!("WELCOME {} slot={slot} players=2", field("match"));
        assert_eq!(game.bytes(welcome.len()), welcome);
    }
    let joined = muster.log().wait_for_count(2, &["player joined", "match=1"]);
    assert_eq!(joined.len(), 2);
}

#[test]
fn a_script_with_netcat_gets_all_its_answers() {
    let muster = Setup::default().duel("warm = 0").start();
    let (host, port) = muster.address().split_once(':').unwrap();
    let mut script = Netcat::start(&["-N", host, port]);
    script.say("PING a\nSTATUS\n");
    script.stdin = None;
    let mut answers = String::new();
    script.stdout.read_to_string(&mut answers).unwrap();
    let expected = "MUSTER 1 line_max=512 queues=duel\nPONG a\n\
                    STATUS queue=duel waiting=0 games=0 ports_free=8\n";
    assert_eq!(answers, expected);
}
