"""A word in the clear that says which process of a server a link belongs to, so that it can be handed on unread. Pure.

Only a word: whoever lies gets his link to another process, which knows nothing of his ticket. A TLS link shows it as an ALPN
protocol behind `portway/1`, a plain one within its `Attach`; both stand whole in the first packet.
"""

import re

HINT_PREFIX = "portway-hint/"

FIRST_BYTES_MAX = 4096
"""How much of a link's first bytes is looked at. A ClientHello has 300 bytes, 1,700 with post-quantum key shares."""

_HINT = re.compile(rb"portway-hint/([0-9]{1,9})(?![0-9])")
_TLS_HANDSHAKE = 0x16
_TLS_RECORD_BYTES = 5
_YAMUX_HEADER_BYTES = 12


def hint_for(worker: int) -> str:
    """Return the hint to a worker; empty for a server of one process, which needs none."""
    return f"{HINT_PREFIX}{worker}" if worker else ""


def is_hint(text: str) -> bool:
    """Return whether a server's hint is one that may be shown."""
    return _HINT.fullmatch(text.encode("utf-8", "replace")) is not None


def worker_from(first: bytes) -> int:
    """Return the worker that a link's first bytes name, or 0."""
    found = _HINT.search(first, 0, FIRST_BYTES_MAX)
    return int(found[1]) if found else 0


def hint_complete(first: bytes) -> bool:
    """Return whether a link's first bytes hold all that a hint could stand in: one TLS record (RFC 8446 section 5.1), or one
    yamux frame. What is neither is whole too: there is nothing to wait for.
    """
    if len(first) >= FIRST_BYTES_MAX:
        return True
    if first[:1] == bytes((_TLS_HANDSHAKE,)):
        return len(first) >= _TLS_RECORD_BYTES and len(first) >= _TLS_RECORD_BYTES + int.from_bytes(first[3:5], "big")
    if first[:1] == b"\0":
        if len(first) < _YAMUX_HEADER_BYTES:
            return False
        return first[1] != 0 or len(first) >= _YAMUX_HEADER_BYTES + int.from_bytes(first[8:12], "big")
    return bool(first)
