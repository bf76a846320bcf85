"""Determines where a body ends, in both directions, from the fields of the head alone (RFC 9112 section 6)."""

import re

from portway.protocol.http1.errors import MessageError

Body = int
"""A length in bytes, or CHUNKED or UNTIL_END."""

NO_BODY = 0
CHUNKED = -1
"""The body is chunked, which marks its own end."""
UNTIL_END = -2
"""The body ends with the connection; valid only for responses."""

_LENGTH = re.compile(rb"[0-9]{1,19}")


def request_body(length: bytes | None, coding: bytes | None, version: int) -> Body:
    """Return how a request's body is framed.

    `length` and `coding` are the values of Content-Length and Transfer-Encoding, None if absent. Values of repeated fields are
    joined by LF, which is always invalid here. `version` is 10 or 11.

    Raises:
        MessageError: anything but one plain length or one plain `chunked`; both at once enable request smuggling.
    """
    if coding is None:
        return NO_BODY if length is None else parse_length(length)
    if length is not None:
        raise MessageError("both Content-Length and Transfer-Encoding: expected at most one of them")
    if version == 10:
        raise MessageError("Transfer-Encoding in HTTP/1.0, which does not define it")
    if coding.lower() != b"chunked":
        raise MessageError(f"invalid Transfer-Encoding {quoted(coding)}: expected one field with the value chunked")
    return CHUNKED


def response_body(status: int, method: bytes, length: bytes | None, coding: bytes | None, version: int) -> Body:
    """Return how the body of a response to `method` is framed; arguments as for `request_body`.

    Raises:
        MessageError: as for a request.
    """
    framed = request_body(length, coding, version)
    if status < 200 or status == 204 or status == 304 or method == b"HEAD":
        return NO_BODY
    if length is None and coding is None:
        return UNTIL_END
    return framed


def parse_length(value: bytes) -> int:
    """Return the value of a Content-Length.

    Raises:
        MessageError: anything but 1 to 19 ASCII digits (no sign, no white space, no list).
    """
    if _LENGTH.fullmatch(value) is None:
        raise MessageError(f"invalid Content-Length {quoted(value)}: expected one field of 1 to 19 digits")
    return int(value)


def body_for_visitor(body: Body, version: int) -> Body:
    """Return how a response body is framed for a visitor of `version`: HTTP/1.0 has no chunks, and 1.1 can keep the connection."""
    if body >= 0:
        return body
    return CHUNKED if version == 11 else UNTIL_END


def quoted(value: bytes) -> str:
    """Return bytes as a short quoted text for messages."""
    text = repr(value[:40])[1:]
    return text + "…" if len(value) > 40 else text
