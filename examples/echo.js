// Echo, a game for Muster in Node: a socket, a control channel, one JSON object per line, and no package.
// In muster.toml:  command = ["node", "/path/to/echo.js"]
"use strict";
const { createSocket } = require("node:dgram");
const { Socket } = require("node:net");
const { createInterface } = require("node:readline");
const { timingSafeEqual } = require("node:crypto");

const SILENCE_MAX = 10_000; // milliseconds: a player who is silent for this long has left
const DROPPED_MAX = 4096; // datagrams: a flood must not keep a game from starting
const now = () => performance.now(); // a monotonic clock

const control = new Socket({ fd: Number(process.env.MUSTER_CONTROL_FD) });
const game = createSocket(process.env.MUSTER_PUBLIC_HOST.includes(":") ? "udp6" : "udp4");
let match = null; // its id, from "started" on
let dropped = 0;
const tokens = new Map(); // by slot
const slots = new Map(); // by address
const ends = new Map(); // by slot: the time when a silent player has left

const tell = (type, fields, done) => control.write(JSON.stringify({ type, ...fields }) + "\n", done);
control.on("error", () => {}); // if Muster is gone, the match continues
process.on("SIGTERM", end);
createInterface({ input: control }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.type === "start") start(message);
  if (message.type === "stop") end();
}).on("close", () => { if (tokens.size === 0) end(); }); // no players will be sent any more
tell("ready");

// The game's socket has not been read until now. Datagrams that arrived before belong to no player, and are dropped: the
// socket is read until none has arrived for two iterations of Node's loop.
function start(message) {
  for (const { slot, token } of message.players) tokens.set(slot, Buffer.from(token));
  game.on("message", (data, from) => (match === null ? dropped++ : serve(data, from)));
  game.bind({ fd: 3 }); // bound by Muster; Node only starts to read
  const listen = (calm, before) => {
    if (calm < 2 && dropped < DROPPED_MAX) {
      setImmediate(() => listen(dropped > before ? 0 : calm + 1, dropped));
      return;
    }
    match = message.match;
    tell("started");
    const started = now();
    setInterval(() => look(started + message.hello_ms, started + message.max_ms), 100);
  };
  listen(0, dropped);
}

function serve(data, from) {
  const text = data.toString().replace(/[\r\n]+$/, "");
  if (data.length > 1200) return; // no message of this game is longer
  const address = `${from.address} ${from.port}`;
  const verb = text.split(" ", 1)[0];
  let answer = data;
  if (verb === "HELLO") { // a token is valid for one address; anything wrong is not answered
    const slot = slotOf(text);
    if (slot === undefined || (slots.get(address) ?? slot) !== slot) return;
    if (![...slots.values()].includes(slot)) {
      slots.set(address, slot);
      ends.set(slot, now() + SILENCE_MAX);
      tell("joined", { slot });
    }
    const lineEnd = /[\r\n]*$/.exec(data.toString())[0]; // lines, as netcat sends them, are answered with lines
    answer = `WELCOME ${match} slot=${slot} players=${tokens.size}${lineEnd}`;
  } else if (verb === "PING") {
    answer = Buffer.concat([Buffer.from("PONG"), data.subarray(4)]);
  }
  const slot = slots.get(address); // undefined, if the token was used from another address
  if (slot === undefined || (!ends.has(slot) && verb !== "BYE")) return; // a stranger, or a player who has left
  game.send(answer, from.port, from.address, () => {}); // never longer than the request; it can be lost
  if (ends.has(slot) && verb === "BYE") leave(slot);
  else if (ends.has(slot)) ends.set(slot, now() + SILENCE_MAX);
}

function slotOf(hello) {
  const [, said, token = ""] = hello.split(" ");
  const given = Buffer.from(token);
  const isRight = (known) => known.length === given.length && timingSafeEqual(known, given);
  const found = [...tokens].find(([, known]) => isRight(known));
  return said === match && found ? found[0] : undefined;
}

function leave(slot) {
  ends.delete(slot);
  tell("left", { slot });
}

// Ends the match when no player is here, and none can join any more.
function look(helloEnd, matchEnd) {
  for (const [slot, end] of ends) if (now() >= end) leave(slot);
  const canCome = now() < helloEnd && slots.size < tokens.size;
  if (now() >= matchEnd || (ends.size === 0 && !canCome)) end();
}

function end() {
  if (tokens.size === 0) process.exit(0); // a warm game that was not needed
  tell("result", { joined: slots.size, dropped }, () => process.exit(0));
}
