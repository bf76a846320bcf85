"""The websocket handshake, as far as an edge must understand it (RFC 6455 section 4): the only upgrade there is."""

import base64
import hashlib
import re

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import Field
from portway.protocol.http1.framing import NO_BODY, Body

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""Base64 of exactly 16 bytes: the last digit before the padding carries two bits."""


def wanted_key(method: bytes, upgrade: bytes | None, body: Body, fields: list[Field]) -> bytes | None:
    """Return Sec-WebSocket-Key if a request asks for websocket; None if it asks for anything else, which is not passed on.

    Raises:
        MessageError: it asks for websocket in a way whose answer could not be checked.
    """
    if upgrade is None or b"websocket" not in [item.strip(b" \t") for item in upgrade.lower().replace(b"\n", b",").split(b",")]:
        return None
    if method != b"GET" or body != NO_BODY:
        raise MessageError("a websocket upgrade must be a GET without a body")
    keys = [value for name, value in fields if name.lower() == b"sec-websocket-key"]
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise MessageError("a websocket upgrade needs one Sec-WebSocket-Key of 16 bytes in base64")
    return keys[0]


def accept_for(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers `key`."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
