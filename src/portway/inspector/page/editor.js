// Replay with edits, and the comparison of two requests.
import { html, useState } from "./htm-preact.js";
import { diff, linesOf } from "./format.js";

export function Editor({ one, onSend, onCancel, busy }) {
  const body = one.request?.body;
  const [form, setForm] = useState({
    method: one.method, target: one.target, to: "",
    headers: (one.request?.headers ?? []).map(([name, value]) => `${name}: ${value}`).join("\n"),
    body: body?.text ?? "",
  });
  const before = { headers: form.headers };
  const [initial] = useState({ ...form, ...before });
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const send = (event) => {
    event.preventDefault();
    const edits = {};
    for (const name of ["method", "target", "to"]) if (form[name] !== initial[name]) edits[name] = form[name];
    if (form.headers !== initial.headers) edits.headers = changedFields(initial.headers, form.headers);
    if (form.body !== initial.body) edits.body = form.body;
    onSend(one, edits);
  };
  return html`<section class="detail" aria-label="Edit and replay"><h2>Edit and replay</h2>
    <form class="form" onSubmit=${send}>
      <div class="two">
        <label>Method<input value=${form.method} onInput=${set("method")} required /></label>
        <label>Target<input class="mono" value=${form.target} onInput=${set("target")} required /></label>
      </div>
      <label>Send to <span class="soft">another service, such as http://127.0.0.1:3001; empty: the same one</span><input value=${form.to} onInput=${set("to")} /></label>
      <label>Fields <span class="soft">lines you leave as they are keep their original values, also removed ones</span><textarea rows="9" value=${form.headers} onInput=${set("headers")}></textarea></label>
      ${body && body.text === null ? html`<p class="soft">The body is not text; it is sent as it was.</p>`
        : html`<label>Body<textarea rows="10" value=${form.body} onInput=${set("body")}></textarea></label>`}
      <p class="actions"><button class="primary" disabled=${busy}>Send</button><button type="button" onClick=${onCancel}>Cancel</button></p>
    </form></section>`;
}

/** Return the fields that differ, as the API takes them: null removes one. */
function changedFields(before, after) {
  const read = (text) => new Map(text.split("\n").map((line) => line.split(/:\s*(.*)/s)).filter(([name]) => name.trim()).map(([name, value = ""]) => [name.trim(), value.trim()]));
  const old = read(before), now = read(after), changes = {};
  for (const [name, value] of now) if (old.get(name) !== value) changes[name] = value;
  for (const name of old.keys()) if (!now.has(name)) changes[name] = null;
  return changes;
}

export function Comparison({ one, other, onClose }) {
  const part = (title, a, b) => html`<h3>${title}</h3><div class="body diff">${diff(linesOf(a), linesOf(b)).map(([kind, line]) =>
    kind === "same" ? html`<span>${line || " "}</span>` : kind === "ins" ? html`<ins>+ ${line}</ins>` : html`<del>- ${line}</del>`)}</div>`;
  return html`<section class="detail" aria-label="Comparison">
    <p class="actions"><button onClick=${onClose}>Close</button></p>
    <h2>${one.id} and ${other.id}</h2>
    ${part("Request", one.request, other.request)}${part("Response", one.response, other.response)}
  </section>`;
}
