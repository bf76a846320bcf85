"""The HTML page of an error response: small and self-contained, without scripts or external resources."""

import base64
import hashlib
from html import escape

_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--soft:#5a6878;--paper:#f6f7f9;--card:#fff;--line:#e2e6eb;--mark:#2563eb}
@media (prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--paper:#0e141b;--card:#161e28;--line:#27323f;--mark:#7aa7ff}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--paper);color:var(--ink);
font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{width:100%;max-width:560px;background:var(--card);border:1px solid var(--line);border-radius:16px;padding:40px}
.path{display:flex;align-items:center;margin:0 0 32px;padding:0;list-style:none;font-size:13px;color:var(--soft)}
.path li{display:flex;align-items:center;flex:none;gap:8px}
.path li+li{flex:1}
.path li+li::before{content:"";flex:1;min-width:16px;height:2px;background:var(--mark);margin:0 12px}
.path i{width:10px;height:10px;border-radius:50%;background:var(--mark)}
.path .bad i{background:transparent;border:2px solid var(--soft)}
.path .bad::before{background:repeating-linear-gradient(90deg,var(--soft) 0 6px,transparent 6px 12px)!important;opacity:.45}
h1{font-size:28px;line-height:1.2;letter-spacing:-.02em;margin:0 0 12px;text-wrap:balance}
p{margin:0 0 16px;overflow-wrap:anywhere}
.next{border-left:3px solid var(--mark);padding-left:16px;margin:24px 0 0}
footer{margin-top:32px;padding-top:16px;border-top:1px solid var(--line);color:var(--soft);font-size:13px;
display:flex;justify-content:space-between;gap:16px}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (max-width:480px){body{grid-template-columns:minmax(0,1fr);padding:16px}main{padding:28px 20px}h1{font-size:24px}
.path{font-size:12px}.path li{gap:4px}.path li+li::before{min-width:4px;margin:0 3px}}
"""

STYLE_HASH = b"sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode("utf-8")).digest())
"""Hash of the page's only style sheet for Content-Security-Policy, which blocks all others."""

_STATIONS = ("you", "server", "agent", "service")
_AGENT, _SERVICE = 2, 3
_NOT_REACHED = dict.fromkeys(
    ("origin_unreachable", "origin_timeout", "origin_closed", "origin_invalid", "origin_head_too_large", "loop_detected"), _SERVICE
)
"""The first station that the request did not reach, or that failed; the agent for all other codes."""


def render_page(status: int, title: str, text: str, next_step: str, code: str) -> bytes:
    """Return the page; all texts are escaped here."""
    reached = _NOT_REACHED.get(code, _AGENT)
    path = "".join(
        f'<li class="bad"><i></i>{name}</li>' if at >= reached else f"<li><i></i>{name}</li>" for at, name in enumerate(_STATIONS)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<ol class="path" aria-label="how far the request got">{path}</ol>\n'
        f'<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n<p class="next">{escape(next_step)}</p>\n'
        f"<footer><span>Portway</span><code>{status} {escape(code)}</code></footer>\n</main>\n</body>\n</html>\n"
    ).encode()
