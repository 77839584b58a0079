"""The steps of try-systemd, inside the namespaces: each step is printed, and the first failure ends the script."""

import socket
import subprocess
import threading
import time


def run(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def wait_for(what, holds):
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, f"timed out waiting for {what}"
        time.sleep(0.02)


def main_pid():
    return run("systemctl show -P MainPID muster")


def next_daemon(before):
    wait_for("another daemon", lambda: main_pid() not in (before, "0"))
    return main_pid()


class Player:
    """A player's connection."""

    def __init__(self, words):
        self.socket = socket.create_connection(("127.0.0.1", 7000), timeout=30)
        self.lines = self.socket.makefile("r", newline="\n")
        assert self.lines.readline().startswith("MUSTER 1 ")
        self.say(words)

    def say(self, words):
        self.socket.sendall(f"{words}\n".encode())

    def hear(self, verb):
        while True:
            line = self.lines.readline().strip()
            assert line, f"the connection ended before {verb}"
            if line.startswith(verb):
                return dict(it.split("=", 1) for it in line.split()[1:] if "=" in it)


run("systemctl start muster.socket muster.service")
assert run("systemctl is-active muster.service") == "active"
print("started:", run("systemctl show -P StatusText muster"))

seat = Player("READY queue=echo name=eve").hear("ASSIGN")
game = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
game.connect((seat["host"], int(seat["port"])))
game.settimeout(5)
game.send(f"HELLO {seat['match']} {seat['token']}".encode())
assert game.recv(999).startswith(b"WELCOME")
plays = True


def play():
    while plays:
        game.send(b"PING on")
        assert game.recv(999) == b"PONG on"
        time.sleep(0.05)


player = threading.Thread(target=play)
player.start()
ada = Player("READY queue=duel name=ada")
key = ada.hear("QUEUED")["resume"]


def returns():
    back = Player(f"READY resume={key}")
    assert back.hear("QUEUED")["position"] == "1"
    assert player.is_alive(), "the game has ended"
    return back


pid = main_pid()
run("systemctl reload muster")
ada.say("PING reloaded")
ada.hear("PONG")
print("reloaded")

run("systemctl kill --kill-whom=main -s USR2 muster")
wait_for("the upgrade", lambda: "upgraded from=" in open("/run/muster.log").read())
assert main_pid() == pid
ada.say("PING upgraded")
ada.hear("PONG")
print("upgraded in place")

since = time.monotonic()
run(f"kill -KILL {pid}")
pid = next_daemon(pid)
ada = returns()
print(f"killed; recovered after {time.monotonic() - since:.1f} s")

since = time.monotonic()
run(f"kill -STOP {pid}")
pid = next_daemon(pid)
ada = returns()
print(f"frozen; replaced after {time.monotonic() - since:.1f} s")

since = time.monotonic()
run("systemctl restart muster")
assert main_pid() != pid
ada = returns()
print(f"restarted, with its game and its players, in {time.monotonic() - since:.1f} s")

stop = subprocess.Popen(["systemctl", "stop", "muster.socket", "muster.service"])
ada.hear("ERR")
assert player.is_alive(), "the stop did not wait for the game"
plays = False
player.join()
game.send(b"BYE")
assert stop.wait(30) == 0
assert run("systemctl show -P Result muster") == "success"
left = run("ps -e -o args=")
assert "muster" not in left.replace("try-systemd", ""), left
print("stopped after the game had ended")
