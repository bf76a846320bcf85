"""Upgrades to another protocol (RFC 9110 section 7.8): what a visitor may ask for, and whether an origin's 101 answers it."""

import re

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import shown

_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_CARRIES_HTTP = re.compile(rb"(?:h2.*|h3.*|https?|tls|ssl)(?:/.*)?", re.IGNORECASE)
"""Protocols in which further HTTP requests could follow, which the edge would not see: it would not route them, or take out of
them what a visitor may not say (threats S4). `h2c` and its drafts, HTTP itself, and TLS with HTTP in it (RFC 2817)."""


def allowed_protocols(upgrade: bytes | None) -> bytes | None:
    """Return the protocols of an Upgrade field that may go on, in their order and spelling; None when there are none.

    `upgrade` is the field's value, several fields' values joined by LF. What is no protocol's name is left out, too.
    """
    if upgrade is None:
        return None
    found = [item for item in _items(upgrade) if _PROTOCOL.fullmatch(item) is not None and _CARRIES_HTTP.fullmatch(item) is None]
    return b", ".join(found) or None


def check_switch(asked: bytes | None, chosen: bytes | None, *, whole: bool) -> None:
    """Check that a 101 switches to what was asked for.

    `asked` is what `allowed_protocols` returned for the request, `chosen` the answer's Upgrade if its Connection lists it; `whole` says
    that all of the request was sent. Whether the rest of the answer is right, as Sec-WebSocket-Accept, is between visitor and origin.

    Raises:
        MessageError: nobody asked, or it switches to something else, or too early.
    """
    if asked is None:
        raise MessageError("101 Switching Protocols, which nobody asked for")
    if chosen is None:
        raise MessageError("101 without both Connection: Upgrade and an Upgrade that says to what")
    switched_to = _items(chosen.lower())
    if not switched_to or not set(switched_to) <= set(_items(asked.lower())):
        raise MessageError(f"101 with Upgrade {shown(chosen)}, asked for was {shown(asked)}")
    if not whole:
        raise MessageError("101 before it had the whole request")


def _items(value: bytes) -> list[bytes]:
    """Return the members of a list that are not empty."""
    return [item for part in value.replace(b"\n", b",").split(b",") if (item := part.strip(b" \t"))]
