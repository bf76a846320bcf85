"""Response heads: an origin is an untrusted tenant, so they are read as strictly as requests (threats S6)."""

import re
from typing import NamedTuple

from portway.protocol.http1.connection import connection_options, keeps_alive, without_nominated
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import RESPONSE_LIMITS, Field, HeadLimits, parse_fields
from portway.protocol.http1.framing import Body, parse_length, response_body
from portway.protocol.http1.trailers import allowed_trailer_names


class ResponseHead(NamedTuple):
    """An answer that may be forwarded. Everything of this hop only, and all framing, is out of `fields` already."""

    status: int
    """100 to 599."""
    reason: bytes
    fields: list[Field]
    """What goes end to end, in order."""
    body: Body
    """See `framing`."""
    length: int | None
    """Content-Length, which an answer to HEAD and a 304 say without having that body."""
    keep_alive: bool
    """Whether the origin keeps the connection."""
    trailer: bytes | None
    """The allowed names in Trailer."""
    upgrade: bytes | None
    """Upgrade as a list, when Connection names it."""


_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")

_TAKEN_OUT = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"connection", b"upgrade"),
        *(b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer"),
        # Says that the edge itself answered; CGI's habit makes the second one of it.
        *(b"portway-error", b"portway_error"),
    }
)


def parse_response_head(head: bytes, method: bytes, limits: HeadLimits = RESPONSE_LIMITS) -> ResponseHead:
    """Return what a whole head (with its last empty line) answers to a request by `method`.

    Raises:
        MessageError: it breaks a rule; the message says which.
    """
    start = _STATUS_LINE.match(head)
    if start is None:
        raise MessageError("not a status line, expected HTTP/1.1 SP STATUS SP REASON")
    minor, digits, reason = start.groups()
    version, status = (11 if minor == b"1" else 10), int(digits)
    kept: list[Field] = []
    taken: dict[bytes, bytes] = {}
    for field in parse_fields(head, start.end(), limits):
        name = field[0].lower()
        if name in _TAKEN_OUT:
            taken[name] = taken[name] + b"\n" + field[1] if name in taken else field[1]
        else:
            kept.append(field)
    length = taken.get(b"content-length")
    body = response_body(status, method, length, taken.get(b"transfer-encoding"), version)
    options = connection_options(taken.get(b"connection"))
    return ResponseHead(
        status,
        reason or b"",
        without_nominated(kept, options),
        body,
        # A body's length was read already; HEAD and 304 have a length without a body.
        None if length is None or status < 200 or status == 204 else body or parse_length(length),
        keeps_alive(options, version),
        allowed_trailer_names(taken.get(b"trailer")) if version == 11 else None,
        taken[b"upgrade"].replace(b"\n", b", ") if b"upgrade" in options and b"upgrade" in taken else None,
    )
