"""Echo, a game for Muster in Python: a socket, a control channel, one JSON object per line.
In muster.toml:  command = ["/usr/bin/python3", "/path/to/echo.py"]"""
import contextlib, hmac, json, os, select, signal, socket, sys, time
SILENCE_MAX = 10.0  # seconds: a player who is silent for this long has left
game = socket.socket(fileno=3)  # UDP, bound by Muster; Python asks the kernel for the rest
control = socket.socket(fileno=int(os.environ["MUSTER_CONTROL_FD"]))
unread, slots, ends = b"", {}, {}  # slots by address; by slot, the time when a silent player has left
def tell(kind, **fields):
    with contextlib.suppress(ConnectionError):  # if Muster is gone, the match continues
        control.sendall(json.dumps({"type": kind, **fields}).encode() + b"\n")

def receive():  # the messages that have arrived, by type; "end" at the end of the channel
    global unread
    data = b""
    with contextlib.suppress(ConnectionError):
        data = control.recv(65536)
    *lines, unread = (unread + data).split(b"\n")
    return {message["type"]: message for message in map(json.loads, lines)} if data else {"end": None}

def datagrams(most):  # at most this many at once, so that a flood does not delay other work
    with contextlib.suppress(BlockingIOError):
        for _ in range(most):
            yield game.recvfrom(1201, socket.MSG_DONTWAIT)

def leave(slot):
    del ends[slot]
    tell("left", slot=slot)

def serve(data, address):
    verb, _, rest = data.decode(errors="replace").rstrip("\r\n").partition(" ")
    if verb == "HELLO":  # a token is valid for one address; anything wrong is not answered
        said, _, token = map(str.encode, rest.partition(" "))
        slot = next((s for s, t in tokens.items() if hmac.compare_digest(t.encode(), token)), None)
        if said != match.encode() or slot is None or slots.get(address, slot) != slot:
            return
        if slot not in slots.values():
            slots[address], ends[slot] = slot, now
            tell("joined", slot=slot)
        end = data[len(data.rstrip(b"\r\n")):]  # lines, as netcat sends them, are answered with lines
        data = f"WELCOME {match} slot={slot} players={len(tokens)}".encode() + end
    slot = slots.get(address)  # None, if the token was used from another address
    if slot not in ends and (slot is None or verb != "BYE"):  # a stranger, or a player who has left
        return
    game.sendto(b"PONG" + data[4:] if verb == "PING" else data, address)  # never longer than the request
    if slot in ends and verb == "BYE":
        leave(slot)
    elif slot in ends:
        ends[slot] = now + SILENCE_MAX

wake, waker = os.pipe2(os.O_NONBLOCK)  # so that a signal between two polls is not missed
signal.set_wakeup_fd(waker)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
poll = select.poll()
for end in (control, wake):
    poll.register(end, select.POLLIN)
tell("ready")
while poll.poll() and "start" not in (messages := receive()):  # the game's socket is not read yet
    if messages.keys() & {"stop", "end"}:
        sys.exit(0)
now, start, match = time.monotonic(), messages["start"], messages["start"]["match"]
tokens = {player["slot"]: player["token"] for player in start["players"]}
hello_end, match_end = now + start["hello_ms"] / 1000, now + start["max_ms"] / 1000
dropped = sum(1 for _ in datagrams(4096))  # datagrams from before the start belong to no player
tell("started")
poll.register(game, select.POLLIN)
try:  # while players are here, or can still join
    while "stop" not in messages and now < match_end and (ends or now < hello_end and len(slots) < len(tokens)):
        pause = min(end - now for end in [*ends.values(), hello_end, match_end] if end > now)
        ready = dict(poll.poll(pause * 1000 + 1))
        now = time.monotonic()
        for data, address in datagrams(64) if game.fileno() in ready else ():
            serve(data, address)
        messages = receive() if control.fileno() in ready else {}
        if "end" in messages:  # Muster is gone: play the match to its end
            poll.unregister(control)
        for slot in [slot for slot, end in ends.items() if now >= end]:
            leave(slot)
finally:  # also when SIGTERM ends it
    tell("result", joined=len(slots), dropped=dropped)
