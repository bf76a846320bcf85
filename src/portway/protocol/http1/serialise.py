"""Serialises heads; all heads that are sent are written here."""

from collections.abc import Sequence

from portway.errors import MisuseError
from portway.protocol.http1.fields import CRLF, VISIBLE, Field
from portway.protocol.http1.framing import CHUNKED, Body
from portway.protocol.http1.request import RequestHead
from portway.protocol.http1.response import ResponseHead
from portway.protocol.http1.upgrade import allowed_protocols

_COLON = b": "
_FIELD_CHUNKED: Field = (b"Transfer-Encoding", b"chunked")
_FIELD_CONTINUE: Field = (b"Expect", b"100-continue")
_FIELD_CLOSE: Field = (b"Connection", b"close")
CLOSE_LINE = b"Connection: close\r\n"
"""Last line of `request_lines` with `close`."""
_FIELD_KEEP_ALIVE: Field = (b"Connection", b"keep-alive")
_FIELD_TE: Field = (b"TE", b"trailers")
_FIELD_UPGRADE: Field = (b"Connection", b"Upgrade")
_FIELD_UPGRADE_CLOSE: Field = (b"Connection", b"Upgrade, close")


def request_lines(head: RequestHead, *, close: bool = False) -> bytes:
    """Return the request head for the origin, as far as it depends on `head` only: without the edge's own lines and the empty line.

    `close` asks the origin to close after its response, for a connection that will not be reused.
    """
    fields = [(b"Host", head.host), *head.fields]
    if head.body > 0 or (head.body == 0 and head.method in _USUALLY_WITH_BODY):
        fields.append((b"Content-Length", b"%d" % head.body))
    elif head.body == CHUNKED:
        fields.append(_FIELD_CHUNKED)
    if head.expects_continue:
        fields.append(_FIELD_CONTINUE)
    if head.accepts_trailers:
        fields.append(_FIELD_TE)
        option = b"TE, Upgrade" if head.upgrade is not None else b"TE, close" if close else b"TE"
        fields.append((b"Connection", option))
    elif head.upgrade is not None:
        fields.append(_FIELD_UPGRADE)
    elif close:
        fields.append(_FIELD_CLOSE)
    if head.upgrade is not None:
        fields.append((b"Upgrade", head.upgrade))
    return _lines([b"%b %b HTTP/1.1" % (head.method, head.target), *map(_COLON.join, fields)])


def field_lines(fields: Sequence[Field]) -> bytes:
    """Return `fields` as lines with line ends, as part of a head."""
    return _lines([*map(_COLON.join, fields)])


_USUALLY_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that send Content-Length: 0 for an empty body: otherwise some origins respond with 411 (RFC 9110 section 8.6)."""


def response_bytes(head: ResponseHead, body: Body, *, keep_alive: bool, version: int = 11) -> bytes:
    """Return a final response head for a visitor of `version`, whose body will be framed as `body`."""
    fields = list(head.fields)
    if head.trailer is not None and version == 11:
        fields.append((b"Trailer", head.trailer))
    if head.length is not None:
        fields.append((b"Content-Length", b"%d" % head.length))
    elif body == CHUNKED:
        fields.append(_FIELD_CHUNKED)
    required = allowed_protocols(head.upgrade) if head.status == 426 and version == 11 else None
    if required is not None:  # RFC 9110 section 15.5.22: the response names the protocols
        fields += (_FIELD_UPGRADE if keep_alive else _FIELD_UPGRADE_CLOSE, (b"Upgrade", required))
    elif not keep_alive:
        fields.append(_FIELD_CLOSE)
    elif version == 10:
        fields.append(_FIELD_KEEP_ALIVE)
    return _head(b"HTTP/1.1 %d %b" % (head.status, head.reason), fields)


def interim_bytes(head: ResponseHead) -> bytes:
    """Return a 1xx head; a 101 includes the protocol that the origin chose."""
    switch = (_FIELD_UPGRADE, (b"Upgrade", head.upgrade)) if head.status == 101 and head.upgrade is not None else ()
    return _head(b"HTTP/1.1 %d %b" % (head.status, head.reason), [*head.fields, *switch])


def own_response_bytes(status: int, reason: bytes, fields: Sequence[Field]) -> bytes:
    """Return the head of the edge's own response."""
    return _head(b"HTTP/1.1 %d %b" % (status, reason), fields)


def _head(start_line: bytes, fields: Sequence[Field]) -> bytes:
    """Return a complete head."""
    return _lines([start_line, *map(_COLON.join, fields), b""])


def _lines(lines: list[bytes]) -> bytes:
    """Join lines with line ends.

    Raises:
        MisuseError: a line break or control byte, which must never be sent.
    """
    text = CRLF.join([*lines, b""])
    if text.translate(None, VISIBLE) != CRLF * len(lines):
        raise MisuseError("a head with a control byte was about to be sent")
    return text
