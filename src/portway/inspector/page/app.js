// The inspector: state, live updates, keyboard.
import { html, render, useCallback, useEffect, useRef, useState } from "./htm-preact.js";
import * as api from "./api.js";
import { Comparison, Editor } from "./editor.js";
import { Detail } from "./detail.js";
import { List } from "./list.js";

const CHIPS = [["method:GET", "GET"], ["method:POST", "POST"], ["status:2xx", "2xx"], ["status:4xx", "4xx"], ["status:5xx", "5xx"], ["error:yes", "errors"], ["kind:websocket", "WebSocket"]];
const KEYS = [["j k ↑ ↓", "next, previous request"], ["/", "search"], ["r", "replay"], ["e", "edit and replay"], ["x", "mark for a comparison"], ["c", "compare the two marked"], ["Esc", "back to the list"], ["?", "this help"]];
const ROWS_MAX = 20000;

function App() {
  const [agent, setAgent] = useState(null);
  const [live, setLive] = useState("");
  const [query, setQuery] = useState("");
  const [rows, setRows] = useState(null);
  const [next, setNext] = useState(null);
  const [selected, setSelected] = useState(null);
  const [detail, setDetail] = useState(null);
  const [tab, setTab] = useState("overview");
  const [mode, setMode] = useState("");
  const [marked, setMarked] = useState([]);
  const [compared, setCompared] = useState(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const search = useRef(null), help = useRef(null), loading = useRef(false);

  const attempt = useCallback(async (work) => {
    try { setProblem(""); return await work(); } catch (error) { setProblem(error.message); return undefined; }
  }, []);

  useEffect(() => {
    const ask = () => api.status().then(setAgent, () => setAgent((old) => old));
    ask();
    const timer = setInterval(ask, 5000);
    return () => clearInterval(timer);
  }, []);

  // The list for a query: its first page, then every change.
  useEffect(() => {
    let stop = () => {}, over = false;
    const start = setTimeout(() => attempt(async () => {
      const first = await api.page(query);
      if (over) return;
      setRows(first.requests);
      setNext(first.next);
      const after = Math.max(0, ...first.requests.map((one) => one.change));
      let waiting = [];
      const flush = () => { const batch = waiting; waiting = []; setRows((old) => merged(old ?? [], batch)); };
      stop = api.events(query, after, {
        request: (one) => { if (waiting.push(one) === 1) requestAnimationFrame(flush); },
        cleared: () => { setRows([]); setNext(null); setSelected(null); },
        state: setLive,
      });
    }).then((done) => { if (done === undefined && !over) setRows((old) => old ?? []); }), query ? 200 : 0);
    return () => { over = true; clearTimeout(start); stop(); };
  }, [query]);

  const row = rows?.find((one) => one.id === selected);
  useEffect(() => {
    if (selected === null) { setDetail(null); return undefined; }
    let over = false;
    attempt(() => api.detail(selected)).then((found) => { if (!over && found) setDetail(found); });
    return () => { over = true; };
  }, [selected, row?.change]);

  const more = useCallback(async () => {
    if (next === null || loading.current) return;
    loading.current = true;
    const found = await attempt(() => api.page(query, next));
    loading.current = false;
    if (found) { setRows((old) => merged(old, found.requests)); setNext(found.next); }
  }, [next, query]);

  const select = (id) => { setSelected(id); setMode(""); setCompared(null); };
  const mark = (id) => setMarked((old) => (old.includes(id) ? old.filter((one) => one !== id) : [...old, id].slice(-2)));
  const send = async (one, edits) => {
    setBusy(true);
    const sent = await attempt(() => api.replay(one.id, edits));
    setBusy(false);
    if (sent) { setMode(""); if (sent.id) setSelected(sent.id); if (sent.error) setProblem(`The replay failed: ${sent.error}`); }
  };
  const compare = async () => {
    const [one, other] = await Promise.all(marked.map((id) => attempt(() => api.detail(id))));
    if (one && other) setCompared(one.id < other.id ? [one, other] : [other, one]);
  };
  const move = (step) => {
    if (!rows?.length) return;
    const at = rows.findIndex((one) => one.id === selected);
    select(rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))].id);
  };

  useEffect(() => {
    const onKey = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox") {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const actions = {
        j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), "/": () => search.current.focus(),
        r: () => detail && send(detail, {}), e: () => detail && setMode("edit"), x: () => selected !== null && mark(selected),
        c: () => marked.length === 2 && compare(), "?": () => help.current.showModal(),
        Escape: () => { if (compared) setCompared(null); else if (mode) setMode(""); else setSelected(null); },
      };
      if (actions[event.key] && !help.current.open) { event.preventDefault(); actions[event.key](); }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const chip = (term) => setQuery((old) => (old.split(" ").includes(term) ? old.split(" ").filter((one) => one !== term).join(" ") : `${old} ${term}`.trim()));
  const clear = () => confirm("Remove all captured requests?") && attempt(api.clear);
  const shown = compared ? html`<${Comparison} one=${compared[0]} other=${compared[1]} onClose=${() => setCompared(null)} />`
    : detail && mode === "edit" ? html`<${Editor} key=${detail.id} one=${detail} busy=${busy} onSend=${send} onCancel=${() => setMode("")} />`
      : detail && html`<${Detail} one=${detail} tab=${tab} onTab=${setTab} onClose=${() => setSelected(null)} onReplay=${(one) => send(one, {})} onEdit=${() => setMode("edit")} onSelect=${select} busy=${busy} />`;
  return html`<div class="app">
    <${Header} agent=${agent} live=${live} />
    <div>
      ${live === "lost" && html`<p class="notice" role="status">The connection to the agent is lost. The list continues where it stopped once the agent is back.</p>`}
      ${agent?.capture?.problem && html`<p class="notice" role="status">Nothing is stored: ${agent.capture.problem}. Tunnels continue.</p>`}
      ${problem && html`<p class="notice" role="alert">${problem} <button onClick=${() => setProblem("")}>Close</button></p>`}
      <div class="tools" role="search">
        <input type="search" ref=${search} value=${query} onInput=${(event) => setQuery(event.target.value)} aria-label="Search" placeholder="Search: text, status:5xx, path:/api, duration:>1s" />
        <span class="chips">${CHIPS.map(([term, label]) => html`<button aria-pressed=${String(query.split(" ").includes(term))} onClick=${() => chip(term)}>${label}</button>`)}</span>
        <button disabled=${marked.length !== 2} onClick=${compare}>Compare</button>
        <a class="button" href=${api.harPath(query)} download>Export HAR</a>
        <button onClick=${clear}>Clear</button>
        <button aria-label="Keyboard help" onClick=${() => help.current.showModal()}>?</button>
      </div>
    </div>
    <main class=${shown ? "split" : ""}>
      ${rows === null ? html`<p class="loading">Loading requests …</p>`
        : rows.length ? html`<${List} rows=${rows} selected=${selected} marked=${marked} onSelect=${select} onMark=${mark} onEnd=${more} />`
          : html`<${Empty} agent=${agent} query=${query} onReset=${() => setQuery("")} />`}
      ${shown}
    </main>
    <dialog ref=${help} aria-label="Keyboard"><h2>Keyboard</h2><dl class="fields">${KEYS.map(([keys, text]) => html`<dt><kbd>${keys}</kbd></dt><dd>${text}</dd>`)}</dl>
      <form method="dialog"><p class="actions"><button class="primary">Close</button></p></form></dialog>
  </div>`;
}

function Header({ agent, live }) {
  const tunnels = agent?.agent?.tunnels ?? [];
  const state = agent?.agent?.state ?? "";
  return html`<header>
    <h1>Portway inspector</h1>
    <span class="urls">${tunnels.map((one) => html`<a href=${one.url.startsWith("http") ? one.url : null} target="_blank" rel="noreferrer">${one.url}</a>`)}</span>
    <span class="space"></span>
    <span class="lamp" data-state=${live === "lost" ? "lost" : state === "online" ? "live" : ""} role="status">${live === "lost" ? "agent not reachable" : state || "connecting"}</span>
  </header>`;
}

function Empty({ agent, query, onReset }) {
  const url = agent?.agent?.tunnels?.find((one) => one.url.startsWith("http"))?.url;
  if (query) return html`<div class="empty"><h2>Nothing matches</h2><p class="soft">No captured request matches <code>${query}</code>.</p><p class="actions"><button onClick=${onReset}>Show all</button></p></div>`;
  return html`<div class="empty"><h2>No requests yet</h2><p class="soft">Requests appear here while they arrive. Send the first one:</p><pre>curl ${url ?? "the tunnel's URL"}</pre></div>`;
}

/** Return rows with those of `batch` added or replaced, newest first. */
function merged(rows, batch) {
  const byId = new Map(rows.map((one) => [one.id, one]));
  for (const one of batch) byId.set(one.id, one);
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, ROWS_MAX);
}

const root = document.getElementById("app");
root.textContent = "";
render(html`<${App} />`, root);
