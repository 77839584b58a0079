"""Echo, a game for Muster in Python: a socket, a control channel, one JSON object per line.
In muster.toml:  command = ["/usr/bin/python3", "/path/to/echo.py"]"""
import contextlib, hmac, json, os, select, signal, socket, sys, time
SILENCE_MAX = 10.0  # seconds: a player who says nothing for so long has left
game = socket.socket(fileno=3)  # UDP, bound by Muster; Python asks the kernel for the rest
control = socket.socket(fileno=int(os.environ["MUSTER_CONTROL_FD"]))
unread, slots, ends = b"", {}, {}  # slots of addresses; when those here will have been silent too long
def tell(kind, **fields):
    with contextlib.suppress(ConnectionError):  # where Muster is gone, the match goes on
        control.sendall(json.dumps({"type": kind, **fields}).encode() + b"\n")

def hear():  # the messages that have come, by type, or "end" when no more will
    global unread
    data = b""
    with contextlib.suppress(ConnectionError):
        data = control.recv(65536)
    *lines, unread = (unread + data).split(b"\n")
    return {message["type"]: message for message in map(json.loads, lines)} if data else {"end": None}

def datagrams(most):  # never more in one go, so that a flood keeps us from nothing else
    with contextlib.suppress(BlockingIOError):
        for _ in range(most):
            yield game.recvfrom(1201, socket.MSG_DONTWAIT)

def leave(slot):
    del ends[slot]
    tell("left", slot=slot)

def serve(data, address):
    verb, _, rest = data.decode(errors="replace").rstrip("\r\n").partition(" ")
    if verb == "HELLO":  # a token is good for one address; anything wrong gets no answer
        said, _, token = map(str.encode, rest.partition(" "))
        slot = next((s for s, t in tokens.items() if hmac.compare_digest(t.encode(), token)), None)
        if said != match.encode() or slot is None or slots.get(address, slot) != slot:
            return
        if slot not in slots.values():
            slots[address], ends[slot] = slot, now
            tell("joined", slot=slot)
        end = data[len(data.rstrip(b"\r\n")):]  # who asks in lines, as netcat does, is answered in lines
        data = f"WELCOME {match} slot={slot} players={len(tokens)}".encode() + end
    slot = slots.get(address)  # nobody's, if its token was used from elsewhere
    if slot not in ends and (slot is None or verb != "BYE"):  # a stranger, or somebody who has left
        return
    game.sendto(b"PONG" + data[4:] if verb == "PING" else data, address)  # never longer than the question
    if slot in ends and verb == "BYE":
        leave(slot)
    elif slot in ends:
        ends[slot] = now + SILENCE_MAX

wake, waker = os.pipe2(os.O_NONBLOCK)  # a signal between two polls must not be slept through
signal.set_wakeup_fd(waker)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
poll = select.poll()
for end in (control, wake):
    poll.register(end, select.POLLIN)
tell("ready")
while poll.poll() and "start" not in (messages := hear()):  # the game's socket has nothing for us yet
    if messages.keys() & {"stop", "end"}:
        sys.exit(0)
now, start, match = time.monotonic(), messages["start"], messages["start"]["match"]
tokens = {player["slot"]: player["token"] for player in start["players"]}
hello_end, match_end = now + start["hello_ms"] / 1000, now + start["max_ms"] / 1000
dropped = sum(1 for _ in datagrams(4096))  # what came before the start is nobody's
tell("started")
poll.register(game, select.POLLIN)
try:  # while somebody plays, or can still come
    while "stop" not in messages and now < match_end and (ends or now < hello_end and len(slots) < len(tokens)):
        pause = min(end - now for end in [*ends.values(), hello_end, match_end] if end > now)
        ready = dict(poll.poll(pause * 1000 + 1))
        now = time.monotonic()
        for data, address in datagrams(64) if game.fileno() in ready else ():
            serve(data, address)
        messages = hear() if control.fileno() in ready else {}
        if "end" in messages:  # Muster is gone: play on to the end
            poll.unregister(control)
        for slot in [slot for slot, end in ends.items() if now >= end]:
            leave(slot)
finally:  # also when SIGTERM ends it
    tell("result", joined=len(slots), dropped=dropped)
