"""The page's files, loaded into memory at start, so that measurements do not include the disk."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""All file types of the page; any other type fails at start."""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One file of the page."""

    body: bytes
    media_type: str
    etag: str
    """Quoted, as in the header; changes with the body."""


def site_files() -> dict[str, SiteFile]:
    """Return every file of the page by its name."""
    root = files("portway.demo").joinpath("site")
    return {entry.name: _file(entry.name, entry.read_bytes()) for entry in root.iterdir() if entry.is_file()}


def _file(name: str, body: bytes) -> SiteFile:
    etag = hashlib.blake2b(body, digest_size=12).hexdigest()
    return SiteFile(body, MEDIA_TYPES[PurePath(name).suffix], f'"{etag}"')
