// The list of requests: only the rows in view exist, so that 10,000 of them scroll without a stutter.
import { html, useEffect, useRef, useState } from "./htm-preact.js";
import { clock, duration, size, statusClass, statusText } from "./format.js";

const ROW = 36, SPARE = 8;

export function List({ rows, selected, marked, onSelect, onMark, onEnd }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  useEffect(() => {
    const element = box.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => { observer.disconnect(); element.removeEventListener("scroll", measure); };
  }, []);
  useEffect(() => {
    const at = rows.findIndex((one) => one.id === selected);
    const element = box.current;
    if (at < 0) return;
    if (at * ROW < element.scrollTop) element.scrollTop = at * ROW;
    else if ((at + 1) * ROW > element.scrollTop + element.clientHeight) element.scrollTop = (at + 1) * ROW - element.clientHeight;
  }, [selected]);
  const first = Math.max(0, Math.floor(view.top / ROW) - SPARE);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + SPARE);
  useEffect(() => { if (last >= rows.length - SPARE) onEnd(); }, [last, rows.length]);
  return html`<div class="list" ref=${box} role="listbox" aria-label="Requests, newest first" tabindex="0">
    <div style=${{ height: `${rows.length * ROW}px` }}>
      ${rows.slice(first, last).map((one, at) => html`<${Row} key=${one.id} one=${one} top=${(first + at) * ROW} isSelected=${one.id === selected}
        isMarked=${marked.includes(one.id)} onSelect=${onSelect} onMark=${onMark} />`)}
    </div>
  </div>`;
}

function Row({ one, top, isSelected, isMarked, onSelect, onMark }) {
  const mark = (event) => { event.stopPropagation(); onMark(one.id); };
  return html`<div class="row" role="option" aria-selected=${String(isSelected)} style=${{ top: `${top}px` }} data-id=${one.id} onClick=${() => onSelect(one.id)}>
    <input type="checkbox" tabindex="-1" aria-label=${`mark request ${one.id}`} checked=${isMarked} onClick=${mark} />
    <span class="mono">${one.method || one.kind}</span>
    <span class="status" data-class=${statusClass(one)}>${statusText(one)}</span>
    <span class="mono" title=${one.target}>${one.replay_of ? "↻ " : ""}${one.target || one.host || one.tunnel}</span>
    <span class="number">${duration(one.duration_ms)}</span>
    <span class="number wide">${size(one.response_bytes)}</span>
    <span class="soft wide">${clock(one.started_at)}</span>
  </div>`;
}
