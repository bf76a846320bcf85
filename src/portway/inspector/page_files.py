"""The files of the inspector's page: its own, and those of the design kit that all pages share."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from portway import inspector, web

KIT = ("kit.css", "htm-preact.js")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class PageFile(NamedTuple):
    """One file."""

    body: bytes
    media_type: str


@cache
def page_files() -> dict[str, PageFile]:
    """Return all files by name. Blocks while it reads them."""
    page, kit = (Path(next(iter(package.__path__))) for package in (inspector, web))
    paths = [*sorted((page / "page").iterdir()), *(kit / "kit" / name for name in KIT)]
    return {path.name: PageFile(path.read_bytes(), TYPES[path.suffix]) for path in paths if path.suffix in TYPES}
