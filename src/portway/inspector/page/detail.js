// One request: overview, messages, frames; replay and copies.
import { html, useEffect, useState } from "./htm-preact.js";
import * as api from "./api.js";
import { bytesOf, clock, duration, hex, pairs, prettyJson, size, statusClass, statusText } from "./format.js";

const PHASES = ["link_ms", "edge_ms", "connect_ms", "send_ms", "first_byte_ms", "transfer_ms"];
const SWATCHES = ["--rule", "--soft", "--signal", "--signal-wash", "--wire", "--wire-wash"];

export function Detail({ one, tab, onTab, onClose, onReplay, onEdit, onSelect, busy }) {
  const messages = one.frames.length || one.kind === "websocket" || one.kind === "sse";
  const tabs = [["overview", "Overview"], ["request", "Request"], ["response", "Response"], ...(messages ? [["frames", one.kind === "sse" ? "Events" : "Frames"]] : [])];
  const current = tabs.some(([name]) => name === tab) ? tab : "overview";
  return html`<section class="detail" aria-label="Request">
    <button class="back" onClick=${onClose}>← List</button>
    <h2 class="mono">${one.method} ${one.target}</h2>
    <p><span class="status" data-class=${statusClass(one)}>${statusText(one)}</span> <span class="soft">${" "}${duration(one.duration_ms)}, ${clock(one.started_at)}, tunnel ${one.tunnel}</span></p>
    ${one.error && html`<p class="bad">${one.error}</p>`}
    <div class="actions">
      <button class="primary" disabled=${busy || !one.replayable?.possible} onClick=${() => onReplay(one)}>Replay</button>
      <button disabled=${!one.replayable?.possible} onClick=${() => onEdit(one)}>Edit and replay</button>
      ${Object.entries(one.copy).map(([name, text]) => html`<${Copy} name=${name} text=${text} />`)}
      <a class="button" href=${`/api/requests/${one.id}/har`} download>HAR</a>
    </div>
    ${one.replayable && !one.replayable.exact && html`<p class="soft">${one.replayable.possible ? "A replay needs values that were removed: " + one.replayable.missing.join(", ") : one.replayable.reason}</p>`}
    <div class="tabs" role="tablist">
      ${tabs.map(([name, label]) => html`<button role="tab" aria-selected=${String(name === current)} onClick=${() => onTab(name)}>${label}</button>`)}
    </div>
    ${current === "overview" && html`<${Overview} one=${one} onSelect=${onSelect} />`}
    ${current === "request" && html`<${Message} message=${one.request} id=${one.id} side="request" target=${one.target} />`}
    ${current === "response" && html`<${Message} message=${one.response} id=${one.id} side="response" />`}
    ${current === "frames" && html`<${Frames} one=${one} />`}
  </section>`;
}

function Copy({ name, text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button onClick=${copy}>${done ? "Copied" : `Copy as ${name}`}</button>`;
}

function Overview({ one, onSelect }) {
  const phases = PHASES.map((name, at) => [name, one.timings[name], at]).filter(([, ms]) => ms !== undefined);
  const total = phases.reduce((sum, [, ms]) => sum + Math.max(ms, 0), 0) || 1;
  const facts = [
    ["URL", one.url], ["Service", one.origin], ["Host", one.host], ["Visitor", one.client], ["Request body", size(one.request_bytes)], ["Response body", size(one.response_bytes)],
    ["Content type", one.content_type], ["Removed", one.redacted_names.join(", ")],
  ].filter(([, value]) => value);
  const links = (ids) => ids.map((id) => html`<button onClick=${() => onSelect(id)}>${id}</button> `);
  return html`<div>
    ${phases.length > 0 && html`<h3>Time</h3>
      <div class="timing" aria-hidden="true">${phases.map(([, ms, at]) => html`<span class=${`phase-${at}`} style=${{ width: `${(100 * Math.max(ms, 0)) / total}%` }}></span>`)}</div>
      <p class="legend">${phases.map(([name, ms, at]) => html`<span style=${{ "--swatch": `var(${SWATCHES[at]})` }}>${name.replace("_ms", "").replace("_", " ")} ${duration(ms)}</span>`)}</p>`}
    <h3>Facts</h3>
    <dl class="fields">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    ${one.replay_of && html`<p>Replay of ${links([one.replay_of])}</p>`}
    ${one.replays.length > 0 && html`<p>Replayed as ${links(one.replays)}</p>`}
  </div>`;
}

function Message({ message, id, side, target = "" }) {
  if (!message) return html`<p class="soft">${side === "response" ? "No response was captured." : "No request was captured."}</p>`;
  const parameters = target.includes("?") ? pairs(target.slice(target.indexOf("?") + 1)) : [];
  return html`<div>
    <p class="mono">${message.start_line}</p>
    <h3>Fields</h3>
    <dl class="fields">${message.headers.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    ${parameters.length > 0 && html`<h3>Query</h3><dl class="fields">${parameters.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`}
    ${message.body && html`<${Body} body=${message.body} path=${`/api/requests/${id}/body/${side}`} />`}
  </div>`;
}

function Body({ body, path }) {
  const forms = ["pretty", "raw", "hex"];
  const [form, setForm] = useState("pretty");
  const notes = [size(body.size), body.state !== "complete" && body.state, body.shown !== "complete" && body.shown].filter(Boolean).join(", ");
  return html`<div>
    <h3>Body <span class="soft">${notes}</span></h3>
    ${body.stored > 0 && html`<div class="actions">
      ${forms.map((name) => html`<button aria-pressed=${String(form === name)} onClick=${() => setForm(name)}>${name}</button>`)}
      <a class="button" href=${path} download>Download</a></div>
      ${form === "hex" ? html`<pre class="body hex" tabindex="0">${hex(bytesOf(body))}</pre>` : html`<${Shown} body=${body} pretty=${form === "pretty"} />`}`}
  </div>`;
}

function Shown({ body, pretty }) {
  const kind = body.content_type.split(";")[0].trim().toLowerCase();
  if (pretty && /^image\/(png|jpeg|gif|webp|avif|bmp|x-icon)$/.test(kind) && body.base64 !== null)
    return html`<div class="body"><img alt="captured body" src=${`data:${kind};base64,${body.base64}`} /></div>`;
  if (body.text === null) return html`<pre class="body hex" tabindex="0">${hex(bytesOf(body))}</pre>`;
  if (pretty && kind.includes("json")) {
    const { text, error } = prettyJson(body.text);
    return html`${error && html`<p class="bad">${error}</p>`}<pre class="body" tabindex="0">${text}</pre>`;
  }
  if (pretty && kind === "application/x-www-form-urlencoded")
    return html`<dl class="fields body">${pairs(body.text).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
  return html`<pre class="body" tabindex="0">${body.text}</pre>`;
}

function Frames({ one }) {
  const [more, setMore] = useState([]);
  const [next, setNext] = useState(null);
  useEffect(() => { setMore([]); setNext(one.frames.length ? one.frames.at(-1).id : null); }, [one.id, one.frames.length]);
  const load = async () => {
    const found = await api.messages(one.id, next);
    setMore([...more, ...found.frames]);
    setNext(found.next);
  };
  const frames = [...one.frames, ...more];
  return html`<div>
    ${frames.map((frame) => html`<div class="frame">
      <span title=${frame.direction === "in" ? "from the visitor" : "from the service"}>${frame.direction === "in" ? "→" : "←"}</span>
      <span class="soft">${clock(frame.at)}</span><span>${frame.kind}${frame.name && ` ${frame.name}`}</span><span class="soft">${size(frame.size)}</span>
      <pre>${frame.text ?? hex(bytesOf(frame), 256)}</pre></div>`)}
    ${!frames.length && html`<p class="soft">None yet.</p>`}
    ${one.messages > frames.length && next !== null && html`<p class="actions"><button onClick=${load}>Show more of ${one.messages}</button></p>`}
    ${one.frames_missed > 0 && html`<p class="soft">${one.frames_missed} were not captured.</p>`}
  </div>`;
}
