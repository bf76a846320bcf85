"""An unencrypted routing hint that names the worker of a link, so that links can be assigned without decrypting them. Pure.

Not authenticated: a wrong hint only routes the link to a worker without its ticket. A TLS link sends it as an ALPN
protocol after `portway/1`, a plain one in its `Attach`; both are complete within the first packet.
"""

import re

HINT_PREFIX = "portway-hint/"

FIRST_BYTES_MAX = 4096
"""How much of a link's first bytes is searched. A ClientHello has 300 bytes, 1,700 with post-quantum key shares."""

_HINT = re.compile(rb"portway-hint/([0-9]{1,9})(?![0-9])")
_TLS_HANDSHAKE = 0x16
_TLS_RECORD_BYTES = 5
_YAMUX_HEADER_BYTES = 12


def hint_for(worker: int) -> str:
    """Return the hint for a worker; empty for worker 0, the only process of its server."""
    return f"{HINT_PREFIX}{worker}" if worker else ""


def is_hint(text: str) -> bool:
    """Return whether a hint from the server is valid."""
    return _HINT.fullmatch(text.encode("utf-8", "replace")) is not None


def worker_from(first: bytes) -> int:
    """Return the worker named in a link's first bytes, or 0."""
    found = _HINT.search(first, 0, FIRST_BYTES_MAX)
    return int(found[1]) if found else 0


def hint_complete(first: bytes) -> bool:
    """Return whether a link's first bytes are enough to find a hint: one TLS record (RFC 8446 section 5.1), or one yamux frame.
    Anything else is complete, too, because waiting is useless.
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
