// Values as text.

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes, unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "…";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function clock(seconds) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export const statusText = (one) => (one.state === "open" && !one.status ? "…" : one.status || (one.state === "broken" ? "✕" : "–"));
export const statusClass = (one) => (one.state === "broken" ? "broken" : String(one.status)[0]);

/** Return JSON indented, or the text and where it is invalid. */
export function prettyJson(text) {
  try {
    return { text: JSON.stringify(JSON.parse(text), null, 2), error: "" };
  } catch {
    const at = firstJsonError(text);
    const before = text.slice(0, at).split("\n");
    const found = at < text.length ? `unexpected ${JSON.stringify(text[at])}` : "unexpected end";
    return { text, error: `Invalid JSON: ${found} in line ${before.length}, column ${before.at(-1).length + 1}` };
  }
}

const TOKEN = /[ \t\n\r]*(?:([[\]{}:,])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null))/y;

/** Return the position of the first character that no JSON text can have there: browsers do not always name it. */
function firstJsonError(text) {
  const open = [];
  let wanted = "value", at = 0;
  const ended = () => { wanted = open.length ? "more" : "end"; };
  for (;;) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    const start = at + /^[ \t\n\r]*/.exec(text.slice(at))[0].length;
    if (!found) return start;
    const [, mark, string, word] = found;
    const inObject = open.at(-1) === "{";
    if (wanted === "end") return start;
    if (wanted === "colon") { if (mark !== ":") return start; wanted = "value"; }
    else if (wanted === "more") {
      if (mark === ",") wanted = inObject ? "key" : "value";
      else if (mark === (inObject ? "}" : "]")) { open.pop(); ended(); }
      else return start;
    } else if (wanted === "key" || wanted === "first key") {
      if (string) wanted = "colon";
      else if (mark === "}" && wanted === "first key") { open.pop(); ended(); }
      else return start;
    } else if (mark === "{" || mark === "[") { open.push(mark); wanted = mark === "{" ? "first key" : "first value"; }
    else if (mark === "]" && wanted === "first value") { open.pop(); ended(); }
    else if (string || word) ended();
    else return start;
    at = TOKEN.lastIndex;
  }
}

export function bytesOf(body) {
  if (body.base64 !== null) return Uint8Array.from(atob(body.base64), (char) => char.charCodeAt(0));
  return new TextEncoder().encode(body.text ?? "");
}

/** Return rows of 16 bytes: offset, hexadecimal, printable characters. */
export function hex(bytes, most = 16384) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const row = [...bytes.slice(at, at + 16)];
    const codes = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const chars = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${codes}  ${chars}`);
  }
  return lines.join("\n") + (bytes.length > most ? `\n… ${bytes.length - most} more bytes` : "");
}

/** Return the parameters of a query or a form as pairs. */
export const pairs = (text) => [...new URLSearchParams(text)];

/** Return what changes lines `a` into lines `b`: [kind, line] with kind "same", "del" or "ins". Longer texts are compared line by line. */
export function diff(a, b) {
  if (a.length * b.length > 4_000_000) return [...a.map((line) => ["del", line]), ...b.map((line) => ["ins", line])];
  const table = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1) table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const found = [];
  let i = 0, j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) { found.push(["same", a[i]]); i += 1; j += 1; }
    else if (table[i + 1][j] >= table[i][j + 1]) { found.push(["del", a[i]]); i += 1; }
    else { found.push(["ins", b[j]]); j += 1; }
  }
  return [...found, ...a.slice(i).map((line) => ["del", line]), ...b.slice(j).map((line) => ["ins", line])];
}

/** Return a message as lines, for a comparison. */
export function linesOf(message) {
  if (!message) return [];
  const body = message.body?.text ?? (message.body ? `(${message.body.size} bytes)` : "");
  const shown = message.body?.content_type.includes("json") ? prettyJson(body).text : body;
  return [message.start_line, ...message.headers.map(([name, value]) => `${name}: ${value}`), "", ...shown.split("\n")];
}
