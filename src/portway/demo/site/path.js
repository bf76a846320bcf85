/* The path of a request: its hops, the scale of its times, and the history of requests. */

import { $, calm, make } from "./dom.js";
import { axis, ms, quantile, roundUp } from "./format.js";

const HISTORY_MAX = 60;
const history = [];

/** The browser's measurement of the request for this page: seconds to the first byte of the response. */
export function navigationTimes() {
  const entry = performance.getEntriesByType("navigation")[0];
  return entry && entry.responseStart ? timesOf(entry) : null;
}

/** Send one more request and return its trace and times. */
export async function sendAnother(number) {
  const url = `/trace?n=${number}`;
  const began = performance.now();
  const response = await fetch(url, { cache: "no-store" });
  const headArrived = performance.now();
  if (!response.ok) throw new Error(`status ${response.status}`);
  const trace = await response.json();
  const entry = performance.getEntriesByName(new URL(url, location.href).href)[0];
  return { trace, times: entry && entry.responseStart ? timesOf(entry) : { firstByte: (headArrived - began) / 1000, protocol: "" } };
}

function timesOf(entry) {
  return { firstByte: (entry.responseStart - entry.requestStart) / 1000, protocol: entry.nextHopProtocol };
}

/** Show the hops of one trace. */
export function showHops({ request, link, site }, protocol) {
  const tunnelled = request.forwarded_host !== null;
  $("path").dataset.tunnelled = tunnelled ? "yes" : "no";
  $("leg-public").textContent = protocolText(protocol, (request.forwarded_proto ?? location.protocol) === "https");
  $("fact-browser").textContent = request.forwarded_for ?? "on this machine";
  $("fact-edge").textContent = `HTTP edge for ${request.forwarded_host}`;
  $("fact-agent").textContent = "connected to the server";
  $("leg-origin").textContent = `HTTP/${request.http}`;
  $("leg-link").textContent = { true: "yamux stream in TLS", false: "yamux stream, not encrypted" }[link?.encrypted] ?? "yamux stream";
  showLink(link);
  $("fact-site").textContent = site.address;
  if (!calm()) runPulse();
}

/** Show the newest round trip of the link's own pings. */
export function showLink(link) {
  if (typeof link?.rtt_s === "number") $("leg-link-time").textContent = `${ms(link.rtt_s)} ms round trip${link.fresh ? "" : " at login"}`;
}

function protocolText(protocol, secure) {
  const name = { "http/1.1": "HTTP/1.1", h2: "HTTP/2", h3: "HTTP/3" }[protocol] ?? "HTTP";
  return secure ? `${name} in TLS` : name;
}

/** Animate a dot from browser to site and back; vertically on narrow screens. */
function runPulse() {
  const path = $("path");
  path.querySelector(".pulse")?.remove();
  const box = path.getBoundingClientRect();
  const wires = [...path.querySelectorAll(".wire")].filter((wire) => wire.offsetParent);
  const first = wires[0].getBoundingClientRect();
  const last = wires.at(-1).getBoundingClientRect();
  const down = last.top - first.top > 40;
  const pulse = make("span", "pulse");
  const from = down ? [first.left + first.width / 2, first.top + 10.5] : [first.left + 8.5, first.top + first.height / 2];
  const to = down ? [from[0], last.top + 10.5] : [last.left + 8.5, from[1]];
  const at = ([x, y]) => `translate(${x - box.left - 4.5}px, ${y - box.top - 4.5}px)`;
  pulse.style.left = pulse.style.top = "0";
  path.append(pulse);
  pulse.animate(
    [{ transform: at(from), opacity: 1 }, { transform: at(to), opacity: 1, offset: 0.5 }, { transform: at(from), opacity: 1, offset: 0.98 }, { transform: at(from), opacity: 0 }],
    { duration: 1600, easing: "cubic-bezier(.45,.05,.35,1)" },
  ).finished.then(() => pulse.remove(), () => {});
}

/** Show where the time of one request went. */
export function showTimes(trace, times) {
  const total = times.firstByte;
  $("total").textContent = ms(total);
  const parts = partsOf(trace, total);
  const step = roundUp(Math.max(total, 1e-4) / 8);
  const span = Math.ceil((total / step) * 0.9999) * step;
  const scale = [];
  let at = 0;
  for (const { part, seconds } of parts) {
    const block = make("span", "part");
    block.dataset.part = part;
    block.style.left = `${(at / span) * 100}%`;
    block.style.width = `${(seconds / span) * 100}%`;
    scale.push(block);
    at += seconds;
  }
  for (let tick = 0; tick * step <= span * 1.0001; tick++) {
    const mark = make("span", "tick", make("span", "", `${axis(tick * step * 1000)}${tick ? "" : " ms"}`));
    mark.style.left = `${((tick * step) / span) * 100}%`;
    scale.push(mark);
  }
  $("scale").replaceChildren(...scale);
  $("legend").replaceChildren(
    ...parts.map(({ part, label, seconds }) => {
      const row = make("div", "", make("dt", "", label), make("dd", "", `${ms(seconds)} ms`));
      row.dataset.part = part;
      return row;
    }),
  );
}

/**
 * The parts of the total that are known, and the rest.
 * Uses the edge's own timestamp; without it, the link's ping stands for the link, and the label says so.
 */
function partsOf({ request, link, site }, total) {
  const inside = Math.min(site.took_s, total);
  const itself = { part: "site", label: "site", seconds: inside };
  const rest = (label, known) => ({ part: "rest", label, seconds: total - known - inside });
  if (request.forwarded_host === null) return [rest("browser to site and back", 0), itself];
  const edgeToSite = request.edge_to_site_s;
  if (edgeToSite !== null && edgeToSite + inside <= total) {
    return [{ part: "link", label: "edge to site: link, agent, site’s socket", seconds: edgeToSite }, itself, rest("browser to edge, and the response path", edgeToSite)];
  }
  const ping = link?.fresh ? link.rtt_s : null;
  if (ping && ping + inside <= total) {
    return [{ part: "link", label: "link round trip, from its ping", seconds: ping }, itself, rest("browser, edge and agent, both directions", ping)];
  }
  return [rest("all hops, both directions", 0), itself];
}

/** Add one request to the bar chart. */
export function noteRequest(seconds) {
  history.push(seconds);
  if (history.length > HISTORY_MAX) history.shift();
  const sorted = [...history].sort((a, b) => a - b);
  const top = sorted.at(-1);
  $("bars").replaceChildren(
    ...history.map((value) => {
      const bar = make("span");
      bar.style.height = `${(value / top) * 100}%`;
      return bar;
    }),
  );
  $("history").textContent =
    history.length === 1
      ? `1 request, the one for this page: ${ms(seconds)} ms`
      : `${history.length} requests, median ${ms(quantile(sorted, 0.5))} ms, fastest ${ms(sorted[0])} ms`;
}

/** Show the X-Forwarded-* headers. */
export function showTold(request) {
  const rows = [
    ["X-Forwarded-For", request.forwarded_for],
    ["X-Forwarded-Proto", request.forwarded_proto],
    ["X-Forwarded-Host", request.forwarded_host],
    ["Host", request.host],
  ];
  $("told").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value ?? "not sent")]));
  $("told-note").textContent = request.forwarded_host
    ? "The edge sets the X-Forwarded headers and drops those that a visitor sends, so a site can trust them."
    : "This request passed no edge, so these headers are not set.";
}
