"use strict";
// Looks once a second how the daemon is, and shows it. Whatever it shows is text, never markup.

const EVERY_MS = 1000;
const ANSWER_MS = 3000;
const SECONDS_SHOWN = 120;
// A group of port states, by one of its letters in the admin contract; a game's phase makes no difference here.
const PLACES = [
  ["l", "leased", "--leased"], ["q", "quarantined", "--resting"],
  ["b", "held by another program", "--busy"], [".", "free", "--free"],
];
const group = (letter) => "lwsre".includes(letter) ? "l" : letter;
const SVG = "http://www.w3.org/2000/svg";

const at = (id) => document.getElementById(id);
const rates = [];
let before = null;
let latest = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function span(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 120) return Math.floor(seconds) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return minutes + " min";
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? hours + " h " + (minutes % 60) + " min" : Math.floor(hours / 24) + " d";
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; unit++) count /= 1024;
  return count.toFixed(count < 10 && unit > 0 ? 1 : 0) + " " + units[unit];
}

function pairs(into, all) {
  into.replaceChildren(...all.map(([term, value]) => {
    const pair = element("div");
    pair.append(element("dt", term), element("dd", value));
    return pair;
  }));
}

function showDaemon(status) {
  const failing = status.queues.filter((queue) => queue.failing).length;
  const [word, mark] = !status.serving ? ["draining: nobody is taken in", "warn"]
    : !status.launcher ? ["no game can start: the launcher is gone", "bad"]
    : failing ? [failing + (failing === 1 ? " mode is failing" : " modes are failing"), "bad"]
    : ["taking players in", "good"];
  const state = at("state");
  // Told again only when it changes, for those who hear it.
  if (state.textContent !== word) state.textContent = word;
  state.className = "badge " + mark;
  pairs(at("facts"), [
    ["version", status.version], ["up", span(status.uptime_ms)],
    ["clients", status.clients + " of " + status.clients_limit],
    ["memory", bytes(status.memory_bytes)], ["pid", String(status.pid)],
  ]);
  const sum = (what) => status.queues.reduce((all, queue) => all + (queue[what] ?? 0), 0);
  const oldest = status.queues.map((queue) => queue.oldest_wait_ms).filter((ms) => ms !== null);
  pairs(at("tiles"), [
    ["players waiting", String(sum("waiting"))],
    ["oldest wait", oldest.length ? span(Math.max(...oldest)) : "–"],
    ["games running", String(sum("running"))],
    ["ports free", status.ports.free + " of " + status.ports.places.length],
  ]);
}

function showRate(status) {
  const now = { ms: status.uptime_ms, assigned: status.matches.assigned };
  if (before && now.ms > before.ms) {
    rates.push((now.assigned - before.assigned) * 1000 / (now.ms - before.ms));
    rates.splice(0, rates.length - SECONDS_SHOWN);
  } else if (before && now.ms < before.ms) {
    rates.length = 0;
  }
  before = now;
  const most = Math.max(1, ...rates);
  const width = 600 / SECONDS_SHOWN;
  at("rate").replaceChildren(...rates.map((rate, index) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = 90 * rate / most;
    bar.setAttribute("x", 600 - (rates.length - index) * width);
    bar.setAttribute("y", 90 - height);
    bar.setAttribute("width", width * 0.8);
    bar.setAttribute("height", height);
    return bar;
  }));
  const last = rates.length ? rates[rates.length - 1].toFixed(1) : "–";
  const peak = rates.length ? Math.max(...rates).toFixed(1) : "–";
  at("rate-most").textContent = "now " + last + ", most " + peak;
  at("rate").setAttribute("aria-label", "matches per second: now " + last + ", at most " + peak);
}

function showQueues(status) {
  at("queues").replaceChildren(...status.queues.flatMap((queue) => {
    const row = element("tr");
    const name = element("th", queue.name);
    name.scope = "row";
    const stuck = queue.matches_waiting > 0 && status.ports.free === 0;
    const mark = queue.failing ? "bad" : stuck ? "warn" : "";
    const oldest = queue.oldest_wait_ms === null ? "–" : span(queue.oldest_wait_ms);
    const cells = [queue.waiting, oldest, queue.running, queue.warm];
    row.append(name, ...cells.map((cell) => element("td", String(cell))));
    const reason = element("tr", undefined, "reason " + mark);
    const away = queue.away ? "; " + queue.away + " more are away" : "";
    const why = element("td", (mark ? "▲ " : "") + queue.why + away);
    why.colSpan = 5;
    reason.append(why);
    return [row, reason];
  }));
}

// By shape and by colour: full, half, crossed, a line.
function drawPort(draw, place, colour, x, y, size) {
  draw.fillStyle = draw.strokeStyle = colour;
  if (place === "l") {
    draw.fillRect(x, y, size, size);
  } else if (place === "q") {
    draw.fillRect(x, y + size / 2, size, size / 2);
  } else if (place === "b") {
    draw.lineWidth = Math.max(1, size / 6);
    draw.beginPath();
    draw.moveTo(x, y);
    draw.lineTo(x + size, y + size);
    draw.moveTo(x + size, y);
    draw.lineTo(x, y + size);
    draw.stroke();
  } else {
    draw.fillRect(x, y + size - Math.max(1, size / 6), size, Math.max(1, size / 6));
  }
}

function prepare(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  return draw;
}

function showPorts(status) {
  const { places, first } = status.ports;
  const colours = getComputedStyle(document.documentElement);
  const colour = Object.fromEntries(PLACES.map(([place, , name]) => [place, colours.getPropertyValue(name).trim()]));
  const canvas = at("ports");
  const width = canvas.clientWidth;
  const size = places.length <= 400 ? 12 : places.length <= 4000 ? 6 : 3;
  const step = size + (size > 3 ? 2 : 1);
  const columns = Math.max(1, Math.floor((width + step - size) / step));
  const height = Math.ceil(places.length / columns) * step;
  canvas.style.height = height + "px";
  const draw = prepare(canvas, width, height);
  for (let index = 0; index < places.length; index++) {
    const x = (index % columns) * step;
    drawPort(draw, group(places[index]), colour[group(places[index])], x, Math.floor(index / columns) * step, size);
  }
  const counts = { l: status.ports.leased, q: status.ports.quarantined, b: status.ports.busy, ".": status.ports.free };
  const words = PLACES.map(([place, word]) => counts[place] + " " + word);
  canvas.setAttribute("aria-label", "ports: " + words.join(", "));
  at("ring").textContent = first + " to " + (first + places.length - 1);
  at("legend").replaceChildren(...PLACES.map(([place], index) => {
    const item = element("li");
    const sample = element("canvas");
    drawPort(prepare(sample, 14, 14), place, colour[place], 1, 1, 12);
    item.append(sample, words[index]);
    return item;
  }));
}

function showGames(status) {
  const shown = status.games.length < status.games_total ? "the newest " + status.games.length + " of " : "";
  at("games-count").textContent = shown + status.games_total;
  at("games").replaceChildren(...status.games.map((game) => {
    const row = element("tr");
    const name = element("th", game.mode + " ");
    name.scope = "row";
    name.append(element("small", "#" + game.game));
    row.append(name, element("td", game.phase, "phase"));
    const players = game.players ? String(game.players) : "–";
    row.append(...[players, String(game.port), span(game.age_ms)].map((cell) => element("td", cell)));
    return row;
  }));
}

function show(status) {
  latest = status;
  showDaemon(status);
  showRate(status);
  showQueues(status);
  showPorts(status);
  showGames(status);
}

async function look() {
  const trouble = at("trouble");
  try {
    const answer = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) throw new Error("it answered " + answer.status);
    show(await answer.json());
    document.body.classList.remove("stale");
    trouble.hidden = true;
  } catch (error) {
    document.body.classList.add("stale");
    if (trouble.hidden) {
      const since = new Date().toLocaleTimeString();
      trouble.textContent = "No figures since " + since + " (" + error.message + "). What is shown is old; trying again.";
      trouble.hidden = false;
    }
  }
  setTimeout(look, EVERY_MS);
}

const redraw = () => latest && showPorts(latest);
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
look();
