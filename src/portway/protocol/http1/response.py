"""Parses response heads as strictly as requests, because an origin is an untrusted tenant (threats S6)."""

import re
from typing import NamedTuple

from portway.protocol.http1.connection import connection_options, keeps_alive, without_nominated
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import RESPONSE_LIMITS, Field, HeadLimits, parse_fields
from portway.protocol.http1.framing import Body, parse_length, response_body
from portway.protocol.http1.trailers import allowed_trailer_names


class ResponseHead(NamedTuple):
    """A response that may be forwarded. Hop-by-hop and framing fields are not in `fields`."""

    status: int
    """100 to 599."""
    reason: bytes
    fields: list[Field]
    """End-to-end fields in order."""
    body: Body
    """See `framing`."""
    length: int | None
    """Content-Length; responses to HEAD and 304 have it without a body."""
    keep_alive: bool
    """Whether the origin keeps the connection open."""
    trailer: bytes | None
    """The allowed names in Trailer."""
    upgrade: bytes | None
    """Upgrade as a list, when Connection names it."""


_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")

OF_ONE_HOP = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"connection", b"upgrade"),
        *(b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer"),
    }
)
"""Framing and hop-by-hop fields."""

TAKEN_OUT = OF_ONE_HOP | {b"portway-error", b"portway_error"}
"""The same with the field that marks error responses of the edge; CGI programs spell it the second way."""


def parse_response_head(
    head: bytes, method: bytes, limits: HeadLimits = RESPONSE_LIMITS, taken_out: frozenset[bytes] = TAKEN_OUT
) -> ResponseHead:
    """Return the response of a complete head (with its final empty line) to a request by `method`; fields named in `taken_out`, which
    includes OF_ONE_HOP, are not forwarded.

    Raises:
        MessageError: it violates a rule.
    """
    start = _STATUS_LINE.match(head)
    if start is None:
        raise MessageError("invalid status line: expected HTTP/1.1 SP STATUS SP REASON")
    minor, digits, reason = start.groups()
    version, status = (11 if minor == b"1" else 10), int(digits)
    kept: list[Field] = []
    taken: dict[bytes, bytes] = {}
    for field in parse_fields(head, start.end(), limits):
        name = field[0].lower()
        if name in taken_out:
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
        # The length of a body was already parsed; HEAD and 304 have a length without a body.
        None if length is None or status < 200 or status == 204 else body or parse_length(length),
        keeps_alive(options, version),
        allowed_trailer_names(taken.get(b"trailer")) if version == 11 else None,
        taken[b"upgrade"].replace(b"\n", b", ") if b"upgrade" in options and b"upgrade" in taken else None,
    )
