"""The hostile requests and answers of the two data files beside this one, for this package's tests and the edge's."""

import codecs
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
"""The example key of RFC 6455."""


class HostileRequest(NamedTuple):
    """One line of hostile_requests.txt."""

    outcome: str
    name: str
    wire: bytes


class HostileResponse(NamedTuple):
    """One line of hostile_responses.txt."""

    outcome: str
    name: str
    method: bytes
    wire: bytes


def hostile_requests() -> list[HostileRequest]:
    """Return all requests."""
    found = []
    for outcome, name, text in _lines("hostile_requests.txt", 3):
        wire = _unescaped(text).replace(b"{H}", b"Host: a.localhost\r\n").replace(b"{K}", b"Sec-WebSocket-Key: " + KEY + b"\r\n")
        found.append(HostileRequest(outcome, name, wire))
    return found


def hostile_responses() -> list[HostileResponse]:
    """Return all answers."""
    return [
        HostileResponse(outcome, name, method.encode(), _unescaped(text))
        for outcome, name, method, text in _lines("hostile_responses.txt", 4)
    ]


def _lines(file: str, columns: int) -> list[list[str]]:
    text = (_HERE / file).read_text(encoding="ascii")
    return [line.split(" | ", columns - 1) for line in text.splitlines() if line and not line.startswith("#")]


def _unescaped(text: str) -> bytes:
    return codecs.escape_decode(text.encode("ascii"))[0]
