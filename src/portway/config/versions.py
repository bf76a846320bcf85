"""Versions of files, by which a change is noticed without reading them."""

from pathlib import Path

Version = tuple[int, int, int] | None


def version_of(path: Path) -> Version:
    """Return a value that changes with the file's content; None while it does not exist."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino
