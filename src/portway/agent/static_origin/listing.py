"""The page that lists a folder."""

import html
import os
import stat
import time
from urllib.parse import quote

from starlette.responses import HTMLResponse

from portway.protocol.units import format_size

ENTRIES_MAX = 5_000
"""Entries on one page; a folder with more shows the first ones, and says so."""

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td { padding: .3rem .5rem; border-top: 1px solid #8884; overflow-wrap: anywhere; }
td + td { text-align: right; white-space: nowrap; color: #888; font-variant-numeric: tabular-nums; }
a { text-decoration: none; } a:hover { text-decoration: underline; }
"""

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Content-Type-Options": "nosniff"}


def listing_page(directory: str, path: str, root: str) -> HTMLResponse:
    """Return a page with the entries of `directory`, which has the URL path `path`, without dotfiles and links out of `root`.

    Blocks while it reads the folder.
    """
    folders: list[tuple[str, os.stat_result]] = []
    files: list[tuple[str, os.stat_result]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(".") or (entry.is_symlink() and not _is_inside(entry.path, root)):
                continue
            try:
                info = entry.stat()
            except OSError:  # a link to nothing
                continue
            (folders if stat.S_ISDIR(info.st_mode) else files).append((entry.name, info))
    rows = ['<tr><td><a href="../">../</a></td><td></td><td></td></tr>'] if path != "/" else []
    shown = sorted(folders) + sorted(files)
    for name, info in shown[:ENTRIES_MAX]:
        is_folder = stat.S_ISDIR(info.st_mode)
        label, size = (f"{name}/", "") if is_folder else (name, format_size(info.st_size))
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.st_mtime))
        link = quote(name, errors="surrogateescape") + ("/" if is_folder else "")
        rows.append(f'<tr><td><a href="./{link}">{_text(label)}</a></td><td>{size}</td><td>{changed}</td></tr>')
    more = f"<p>{len(shown) - ENTRIES_MAX} more entries are not shown.</p>" if len(shown) > ENTRIES_MAX else ""
    title = _text(path)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1><table>{''.join(rows)}</table>{more}</html>\n"
    )
    return HTMLResponse(page, headers=HEADERS)


def _is_inside(link: str, root: str) -> bool:
    return os.path.commonpath([os.path.realpath(link), root]) == root


def _text(name: str) -> str:
    """Return a file name as HTML; bytes that are not UTF-8 become a replacement character."""
    return html.escape(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
