/* The WebSocket: an echo four times per second, and a chat with all open pages. */

import { $, make } from "./dom.js";
import { ms, quantile, whole } from "./format.js";
import { drawStrip } from "./strip.js";

const EVERY_MS = 250;
const SLOTS = 120; /* half a minute */
const SILENCE_MS = 5000;
const MESSAGES_MAX = 100;

export function startLive(onLink, tunnelled) {
  const socketUrl = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`;
  const echo = new EchoMeter();
  let socket = null;
  let name = "";
  let retryMs = 500;

  const connect = () => {
    socket = new WebSocket(socketUrl);
    socket.onopen = () => {
      retryMs = 500;
      lamp("live", tunnelled ? "live through the tunnel" : "live, without a tunnel");
      $("say").querySelector("button").disabled = false;
    };
    socket.onclose = () => {
      echo.lost();
      lamp("lost", "disconnected, retrying");
      $("people").textContent = "";
      $("say").querySelector("button").disabled = true;
      setTimeout(connect, retryMs);
      retryMs = Math.min(retryMs * 2, 10_000);
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.t === "echo") echo.received(message.n);
      else if (message.t === "hello") name = message.name;
      else if (message.t === "participants") $("people").textContent = message.count === 1 ? "1 page connected" : `${message.count} pages connected`;
      else if (message.t === "posted") showPosted(message.name, message.text, message.name === name);
      else if (message.t === "link") onLink(message);
    };
  };

  setInterval(() => {
    if (document.hidden || socket.readyState !== WebSocket.OPEN) return;
    if (echo.silentMs() > SILENCE_MS) socket.close();
    else echo.send((n) => socket.send(JSON.stringify({ t: "echo", n })));
  }, EVERY_MS);

  $("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = $("say-text");
    const text = input.value.trim();
    if (!text || socket.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ t: "post", text }));
    input.value = "";
  });

  $("said").append(make("li", "quiet", "Open this page in a second window: messages appear in both."));
  connect();
}

function lamp(state, text) {
  $("lamp").dataset.state = state;
  $("lamp-text").textContent = text;
}

function showPosted(sender, text, mine) {
  const list = $("said");
  list.querySelector(".quiet")?.remove();
  list.append(make("li", mine ? "mine" : "", make("b", "", mine ? "you" : sender), make("span", "", text)));
  while (list.children.length > MESSAGES_MAX) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

/** Sends numbered echoes, one at a time, and draws their round-trip times. */
class EchoMeter {
  constructor() {
    this.values = [];
    this.sent = 0;
    this.sentAt = 0;
    this.waiting = false;
    this.count = 0;
    this.draw();
    new ResizeObserver(() => this.draw()).observe($("spark"));
  }

  send(transmit) {
    if (this.waiting) return;
    this.waiting = true;
    this.sent += 1;
    this.sentAt = performance.now();
    transmit(this.sent);
  }

  silentMs() {
    return this.waiting ? performance.now() - this.sentAt : 0;
  }

  received(n) {
    if (!this.waiting || n !== this.sent) return;
    this.waiting = false;
    this.count += 1;
    this.record((performance.now() - this.sentAt) / 1000);
    this.show();
  }

  lost() {
    this.waiting = false;
    if (this.values.at(-1) !== null) this.record(null);
  }

  record(seconds) {
    this.values.push(seconds);
    if (this.values.length > SLOTS) this.values.shift();
    this.draw();
  }

  show() {
    const sorted = this.values.filter((value) => value !== null).sort((a, b) => a - b);
    $("echo").textContent = ms(this.values.at(-1));
    $("echo-median").textContent = `${ms(quantile(sorted, 0.5))} ms`;
    $("echo-fastest").textContent = `${ms(sorted[0])} ms`;
    $("echo-p99").textContent = `${ms(quantile(sorted, 0.99))} ms`;
    $("echo-count").textContent = whole(this.count);
    if (this.count % 20 === 1) $("spark").setAttribute("aria-label", `Echo times of the last half minute, median ${ms(quantile(sorted, 0.5))} milliseconds`);
  }

  draw() {
    const known = this.values.filter((value) => value !== null).sort((a, b) => a - b);
    /* One slow echo must not flatten all the others. */
    const top = known.length ? quantile(known, 0.95) * 1300 : 1;
    drawStrip($("spark"), this.values.map((value) => (value === null ? null : value * 1000)), { slots: SLOTS, top: Math.max(1, top), dot: true });
  }
}
