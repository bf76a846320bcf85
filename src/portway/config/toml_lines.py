"""Finds the line of a key in a TOML text, for error messages: `tomllib` does not keep positions."""

import re
from collections.abc import Sequence

_HEADER = re.compile(r"^\s*\[\[?\s*(?P<keys>[^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*(?P<keys>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the line, from 1, that defines `path`, or else the longest part of it that is found; 0 if none is.

    Understands tables, dotted and quoted keys. Keys inside multi-line strings and inline tables are not distinguished.
    """
    wanted = list(path)
    best, best_length = 0, 0
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = found = _parts(header["keys"])
        else:
            key = _KEY.match(line)
            if key is None:
                continue
            found = table + _parts(key["keys"])
        length = min(len(found), len(wanted))  # [a.b] defines a, too
        if best_length < length and found[:length] == wanted[:length] and (header is not None or len(found) <= len(wanted)):
            best, best_length = number, length
    return best


def _parts(keys: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(keys)]
