//! The files in examples/games: real servers and languages, confined as every game is by default. Each is tried with
//! its Debian package where that is installed, and skipped with a line where it is not.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Log, Muster, Setup, example, set_mode, wait_until};

/// How long a server may take that loads all it has, on a machine that does other things.
const LOADING: Duration = Duration::from_secs(60);

/// How a server shows that it is there.
enum Sign {
    /// It has said its ready_line.
    Ready,
    /// It takes connections on its port.
    Tcp,
    /// It answers a datagram with the same one.
    Echo,
}

/// Where the examples expect games that a test lays out.
const PROJECTS: &str = "/srv/";

/// Whether an example can be tried.
fn has(program: &str) -> bool {
    let is_there = Path::new(program).exists();
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    is_there
}

/// Starts a daemon with an example, its projects in `projects`, and one player to a match.
fn start(name: &str, projects: &Path) -> Muster {
    let file = fs::read_to_string(example(&format!("games/{name}.toml"))).unwrap();
    let file = file.replace("players = 2", "players = 1");
    // Whatever the load of the machine: the example's own time is for people.
    let file = file.replace("ready_timeout = \"20s\"", "ready_timeout = \"60s\"");
    let file = file.replace(PROJECTS, &format!("{}/", projects.display()));
    // As it is where nothing else is said.
    let setup = Setup::default().config(&file);
    match Path::new("/dev/shm").is_dir() {
        true => setup.env("TMPDIR", "/dev/shm").start(),
        false => setup.start(),
    }
}

fn plays(name: &str, projects: &Path, sign: &Sign) {
    let muster = start(name, projects);
    let assigned = muster.join(name, "ada").assignment(LOADING);
    let assigned = assigned.unwrap_or_else(|error| panic!("{error:?}\n{}", muster.log().text()));
    match sign {
        Sign::Ready => {}
        Sign::Tcp => wait_until("a connection", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, assigned.port)).is_ok()
        }),
        Sign::Echo => wait_until("an echo", || echoes(assigned.port)),
    }
    // It has not failed meanwhile, and ends when it is to.
    let line = muster.log().wait_for(&["match assigned"]);
    let pid: i32 = Log::field(&line, "pid").parse().unwrap();
    assert!(muster.games().contains(&pid), "{}", muster.log().text());
}

fn echoes(port: u16) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = socket.send_to(b"echo", (Ipv4Addr::LOCALHOST, port));
    let mut answer = [0; 16];
    matches!(socket.recv(&mut answer), Ok(4)) && answer.starts_with(b"echo")
}

/// A server of Debian's that needs nothing else.
fn server(name: &str, program: &str, sign: &Sign) {
    if has(program) {
        plays(name, Path::new(PROJECTS), sign);
    }
}

#[test]
fn teeworlds() {
    server("teeworlds", "/usr/games/teeworlds-server", &Sign::Ready);
}

#[test]
fn cube2() {
    server("cube2", "/usr/games/cube2-server", &Sign::Ready);
}

#[test]
fn minetest() {
    server("minetest", "/usr/lib/minetest/minetestserver", &Sign::Ready);
}

#[test]
fn armagetron() {
    server("armagetron", "/usr/games/armagetronad-dedicated.real", &Sign::Ready);
}

#[test]
fn openarena() {
    server("openarena", "/usr/lib/openarena-server", &Sign::Ready);
}

#[test]
fn bzflag() {
    server("bzflag", "/usr/games/bzfs", &Sign::Tcp);
}

#[test]
fn mumble() {
    server("mumble", "/usr/sbin/murmurd", &Sign::Tcp);
}

#[test]
fn freeciv() {
    server("freeciv", "/usr/games/freeciv-server", &Sign::Tcp);
}

#[test]
fn wesnoth() {
    server("wesnoth", "/usr/games/wesnothd-1.16", &Sign::Tcp);
}

/// A directory that everybody may read, outside of /tmp where there is such a place: games have a /tmp of their own.
fn projects() -> tempfile::TempDir {
    let place = ["/var/tmp", "/tmp"].into_iter().find(|place| Path::new(place).is_dir()).unwrap();
    let directory = tempfile::tempdir_in(place).unwrap();
    set_mode(directory.path(), 0o755);
    directory
}

/// Lays a project out, builds it if there is something to build, and has it play.
fn project(name: &str, file: &str, source: &str, build: Option<&[&str]>) {
    let projects = projects();
    let directory = projects.path().join(format!("{name}-game"));
    fs::create_dir(&directory).unwrap();
    set_mode(&directory, 0o755);
    fs::write(directory.join(file), source).unwrap();
    if let Some([program, arguments @ ..]) = build {
        let mut compiler = Command::new(program);
        compiler.args(arguments).current_dir(&directory);
        compiler.env("GOCACHE", projects.path()).env("GOFLAGS", "-mod=mod");
        match compiler.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("skipped: there is no {program}");
                return;
            }
            built => {
                let built = built.unwrap();
                let said = String::from_utf8_lossy(&built.stderr);
                assert!(built.status.success(), "{program}: {said}");
            }
        }
    }
    plays(name, projects.path(), &Sign::Echo);
}

const PYTHON: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', int(sys.argv[1])))
print('listening', flush=True)
while True: s.sendto(*s.recvfrom(1200))
";

#[test]
fn python() {
    if has("/usr/bin/python3") {
        project("python", "game.py", PYTHON, None);
    }
}

/// The script starts a game in Python.
#[test]
fn bash() {
    if !has("/usr/bin/python3") || !has("/bin/bash") {
        return;
    }
    let projects = projects();
    let directory = projects.path().join("python-game");
    fs::create_dir(&directory).unwrap();
    set_mode(&directory, 0o755);
    fs::write(directory.join("game.py"), PYTHON).unwrap();
    plays("bash", projects.path(), &Sign::Echo);
}

#[test]
fn node() {
    if has("/usr/bin/node") {
        let source = "
const s = require('dgram').createSocket('udp4');
s.on('message', (m, r) => s.send(m, r.port, r.address));
s.on('listening', () => console.log('listening'));
s.bind(+process.argv[2]);
";
        project("node", "game.js", source, None);
    }
}

#[test]
fn java() {
    if has("/usr/bin/java") {
        let source = "
import java.net.*;
public class Game {
    public static void main(String[] words) throws Exception {
        DatagramSocket s = new DatagramSocket(Integer.parseInt(words[0]));
        java.io.File.createTempFile(\"game\", \"tmp\");
        System.out.println(\"listening\");
        byte[] b = new byte[1200];
        while (true) { DatagramPacket p = new DatagramPacket(b, b.length); s.receive(p); s.send(p); }
    }
}
";
        project("java", "Game.java", source, Some(&["javac", "Game.java"]));
    }
}

#[test]
fn go() {
    let source = "
package main
import (\"fmt\"; \"net\"; \"os\")
func main() {
    c, err := net.ListenPacket(\"udp\", \":\"+os.Args[1])
    if err != nil { fmt.Println(err); os.Exit(1) }
    fmt.Println(\"listening\")
    b := make([]byte, 1200)
    for { n, a, err := c.ReadFrom(b); if err != nil { return }; c.WriteTo(b[:n], a) }
}
";
    project("go", "game.go", source, Some(&["go", "build", "-o", "game", "game.go"]));
}

#[test]
fn c() {
    let source = "
#include <poll.h>
#include <sys/socket.h>
int main(void) {
    char b[1200];
    struct sockaddr_storage from;
    for (;;) {
        struct pollfd ready = { 3, POLLIN, 0 };
        socklen_t length = sizeof from;
        poll(&ready, 1, -1);
        ssize_t n = recvfrom(3, b, sizeof b, 0, (struct sockaddr *)&from, &length);
        if (n >= 0) sendto(3, b, n, 0, (struct sockaddr *)&from, length);
    }
}
";
    let build = ["cc", "-static", "-O2", "-o", "game", "game.c"];
    project("c", "game.c", source, Some(&build));
}

#[test]
fn mono() {
    if has("/usr/bin/mono") {
        let source = "
using System; using System.Net; using System.Net.Sockets;
class Game {
    static void Main(string[] words) {
        var s = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        s.Bind(new IPEndPoint(IPAddress.Any, int.Parse(words[0])));
        Console.WriteLine(\"listening\");
        var b = new byte[1200];
        while (true) {
            EndPoint from = new IPEndPoint(IPAddress.Any, 0);
            int n = s.ReceiveFrom(b, ref from);
            s.SendTo(b, n, SocketFlags.None, from);
        }
    }
}
";
        project("mono", "Game.cs", source, Some(&["mcs", "-out:Game.exe", "Game.cs"]));
    }
}

#[test]
fn godot() {
    if !has("/usr/bin/godot3-server") {
        return;
    }
    let projects = projects();
    let directory = projects.path().join("godot-project");
    fs::create_dir(&directory).unwrap();
    set_mode(&directory, 0o755);
    let files = [
        (
            "project.godot",
            "config_version=4\n[application]\nconfig/name=\"game\"\nrun/main_scene=\"res://main.tscn\"\n",
        ),
        (
            "main.tscn",
            "[gd_scene load_steps=2 format=2]\n[ext_resource path=\"res://main.gd\" type=\"Script\" id=1]\n\
                       [node name=\"main\" type=\"Node\"]\nscript = ExtResource( 1 )\n",
        ),
        (
            "main.gd",
            "extends Node\nfunc _ready():\n\tvar peer = NetworkedMultiplayerENet.new()\n\
                     \tif peer.create_server(int(OS.get_environment(\"MUSTER_PORT\")), 8) == OK:\n\t\tprint(\"listening on its port\")\n",
        ),
    ];
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    plays("godot", projects.path(), &Sign::Ready);
}

/// Every file is a configuration that the check has nothing against, wherever its game is.
#[test]
fn every_example_is_a_valid_configuration() {
    let mut count = 0;
    for entry in fs::read_dir(example("games")).unwrap() {
        let path = entry.unwrap().path();
        let checked =
            Command::new(testkit::binary("muster")).arg("check-config").arg(&path).output();
        let checked = checked.unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        // Whether the program is here is another matter.
        let is_good = !["no such key", "must be", "expected"].iter().any(|it| said.contains(it));
        assert!(is_good, "{}: {said}", path.display());
        count += 1;
    }
    assert!(count >= 18, "{count}");
}
