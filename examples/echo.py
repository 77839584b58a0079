#!/usr/bin/env python3
"""Echo, a game for Muster in Python: a socket, a control channel, one JSON object per line.
In muster.toml:  command = ["/usr/bin/python3", "/path/to/echo.py"]"""
import contextlib, hmac, json, os, select, signal, socket, sys, time

SILENCE_MAX = 10.0  # seconds: a player who says nothing for so long has left
game = socket.socket(fileno=3)  # UDP, bound by Muster; Python asks the kernel for the rest
control = socket.socket(fileno=int(os.environ["MUSTER_CONTROL_FD"]))
unread = b""

def tell(kind, **fields):
    control.sendall(json.dumps({"type": kind, **fields}).encode() + b"\n")

def hear():  # the messages that have come, by type, or "end" when no more will
    global unread
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
        holder = next((a for a, s in slots.items() if s == slot), address)
        if (said, holder, slots.get(address, slot)) != (match.encode(), address, slot) or slot is None:
            return
        if address not in slots:
            slots[address], ends[slot] = slot, now
            tell("joined", slot=slot)
        data = f"WELCOME {match} slot={slot} players={len(tokens)}".encode()
    slot = slots.get(address)
    if slot not in ends and (slot is None or verb != "BYE"):  # a stranger, or somebody who has left
        return
    game.sendto(b"PONG" + data[4:] if verb == "PING" else data, address)  # never longer than the question
    if slot in ends and verb == "BYE":
        leave(slot)
    elif slot in ends:
        ends[slot] = now + SILENCE_MAX

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
tell("ready")
while "start" not in (messages := hear()):  # warm: the game's socket has nothing for us yet
    if messages.keys() & {"stop", "end"}:
        sys.exit(0)
start, now = messages["start"], time.monotonic()
match, tokens = start["match"], {player["slot"]: player["token"] for player in start["players"]}
hello_end, match_end = now + start["hello_ms"] / 1000, now + start["max_ms"] / 1000
slots, ends = {}, {}  # slots of addresses; when a player who is here will have been silent for too long
dropped = sum(1 for _ in datagrams(4096))  # what came before the start is nobody's
tell("started")
poll = select.poll()
for end in (game, control):
    poll.register(end, select.POLLIN)
try:  # while somebody plays, or can still come
    while now < match_end and (ends or now < hello_end and len(slots) < len(tokens)):
        due = min(end for end in [*ends.values(), hello_end, match_end] if end > now)
        ready = dict(poll.poll((due - now) * 1000 + 1))
        now = time.monotonic()
        for data, address in datagrams(64) if game.fileno() in ready else ():
            serve(data, address)
        messages = hear() if control.fileno() in ready else {}
        if "stop" in messages:
            break
        if "end" in messages:  # Muster is gone: play on to the end
            poll.unregister(control)
        for slot in [slot for slot, end in ends.items() if now >= end]:
            leave(slot)
finally:  # also when SIGTERM ends it
    tell("result", joined=len(slots), dropped=dropped)
