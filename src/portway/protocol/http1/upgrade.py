"""Protocol upgrades (RFC 9110 section 7.8): which ones may be requested, and whether a 101 matches the request."""

import re

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import quoted
from portway.protocol.http1.lists import members

_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_CARRIES_HTTP = re.compile(rb"(?:h2.*|h3.*|https?|tls|ssl)(?:/.*)?", re.IGNORECASE)
"""Protocols that carry HTTP requests, which would then bypass the edge's routing and field rules (threats S4): `h2c` and its
drafts, HTTP itself, and TLS (RFC 2817)."""


def allowed_protocols(upgrade: bytes | None) -> bytes | None:
    """Return the protocols of an Upgrade field that may be requested from an origin, in order and as spelled; None if there are none.

    Values of repeated fields are joined by LF. Invalid protocol names are left out.
    """
    if upgrade is None:
        return None
    found = [item for item in members(upgrade) if _PROTOCOL.fullmatch(item) is not None and _CARRIES_HTTP.fullmatch(item) is None]
    return b", ".join(found) or None


def check_switch(asked: bytes | None, chosen: bytes | None, *, whole: bool) -> None:
    """Check that a 101 response matches its request.

    `asked` is what `allowed_protocols` returned for the request, `chosen` the response's Upgrade if its Connection lists it; `whole` is
    true when the whole request was sent. Other handshake fields (Sec-WebSocket-Accept) are left to the two ends.

    Raises:
        MessageError: no upgrade was requested, another protocol was chosen, or the request is incomplete.
    """
    if asked is None:
        raise MessageError("101 Switching Protocols without a requested upgrade")
    if chosen is None:
        raise MessageError("101 without Connection: Upgrade or without an Upgrade field")
    switched_to = members(chosen.lower())
    if not switched_to or not set(switched_to) <= set(members(asked.lower())):
        raise MessageError(f"101 with Upgrade {quoted(chosen)}: requested was {quoted(asked)}")
    if not whole:
        raise MessageError("101 before the request was complete")
