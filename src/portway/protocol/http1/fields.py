"""Parses field lines: finds the end of a head, and splits its lines under unambiguous rules."""

from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from portway.protocol.http1.errors import MessageError

Field = tuple[bytes, bytes]
"""A field's name as it was spelled, and its value without the white space around it."""

READ_BYTES = 32 * 1024
"""Size of a read while a head is awaited: nearly every head arrives complete, and this bounds the buffered bytes after it."""


class HeadLimits(NamedTuple):
    """Limits of a head, and the names of their settings."""

    bytes_max: int
    """Including the start line and the final empty line."""
    fields_max: int
    bytes_setting: str
    fields_setting: str = "--max-fields"


FIELDS_MAX = 500
"""Fields per head; browsers send about 15, and a large set of cookies is 180. Parsing 500 takes 0.5 ms, which is the reason for the limit."""
REQUEST_LIMITS = HeadLimits(96 * 1024, FIELDS_MAX, "--max-request-head")
"""The largest Kerberos ticket of Windows has 48,000 bytes, so 64,000 in the base64 of Negotiate; a third is left for other fields."""
RESPONSE_LIMITS = HeadLimits(128 * 1024, FIELDS_MAX, "--max-answer-head")
"""Chrome accepts 256 KiB, Node 16 KiB, Go 10 MB. 120 cookies of a kilobyte fit."""

CRLF = b"\r\n"
END_OF_HEAD = b"\r\n\r\n"
VISIBLE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""Bytes that are valid in a line: HTAB, SP, VCHAR and obs-text (RFC 9110 section 5.5). All others end the line or the connection."""

_FIRST_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r")
"""First bytes of a method or version, and the CR of an empty line that old clients send before a request."""
_ANY_START_LINE = b"GET / HTTP/1.1\r\n"


class _Collector:
    """Callbacks of httptools. The unused ones are defined because the lookup of a missing one costs more."""

    __slots__ = ("fields",)

    on_message_begin = on_headers_complete = on_body = on_message_complete = None
    on_chunk_header = on_chunk_complete = on_url = None

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field."""
        self.fields.append((name, value))


class HeadBuffer:
    """Buffers a head that arrives in pieces: at most the bytes of the largest allowed head, each searched about once.

    Created only for the rare head that did not arrive in one read, so that an idle connection has none.
    """

    __slots__ = ("_data", "_limits")

    def __init__(self, limits: HeadLimits = REQUEST_LIMITS) -> None:
        """Start empty."""
        self._data = bytearray()
        self._limits = limits

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, piece: bytes) -> tuple[bytes, bytes] | None:
        """Return the head with its final empty line and the bytes after it, or None while it is incomplete.

        Raises:
            MessageError: too long, or it cannot become a valid head (a line without CR, a first byte of another protocol).
        """
        data = self._data
        known = len(data)
        data += piece
        at = data.find(END_OF_HEAD, max(0, known - 3), self._limits.bytes_max)
        if at >= 0:
            return bytes(data[: at + 4]), bytes(data[at + 4 :])
        if len(data) >= self._limits.bytes_max:
            raise _too_long(self._limits, "head_too_large" if CRLF in data else "target_too_long")
        if data.count(b"\n", known) != data.count(CRLF, max(0, known - 1)):
            raise MessageError("a line ends with a bare LF: expected CR LF")
        if not known and data[0] not in _FIRST_BYTES:
            raise MessageError("invalid first byte: not HTTP, perhaps TLS")
        return None


def cut_head(data: bytes, buffer: HeadBuffer | None, limits: HeadLimits) -> tuple[bytes | None, int, HeadBuffer | None]:
    """Return the head once it is complete, how many bytes of `data` belong to it, and the buffer for the next call.

    `buffer` contains the bytes before `data`, None at the start; a head that arrives in one piece needs none.

    Raises:
        MessageError: like `HeadBuffer.feed`.
    """
    if buffer is None:
        at = data.find(END_OF_HEAD)
        if at >= 0:
            return data[: at + 4], at + 4, None
        buffer = HeadBuffer(limits)
    found = buffer.feed(data)
    if found is None:
        return None, len(data), buffer
    return found[0], len(data) - len(found[1]), None


def parse_fields(head: bytes, start: int, limits: HeadLimits = REQUEST_LIMITS) -> list[Field]:
    """Return the fields of a complete `head`, whose start line ends at `start` and which ends with its empty line.

    Two checks must agree: llhttp, and that every line is one field (so no folding), with CR LF line ends only.

    Raises:
        MessageError: a control byte, a bare CR or LF, a folded line, white space before a colon, an empty or invalid
            name, more than `limits` allow; a Content-Length or Transfer-Encoding that llhttp rejects.
    """
    if len(head) > limits.bytes_max:
        raise _too_long(limits, "head_too_large")
    lines = head.count(CRLF)
    if head.translate(None, VISIBLE) != CRLF * lines:
        raise MessageError("a control byte, or a CR or LF that is not part of a line end")
    if lines - 2 > limits.fields_max:
        what = f"a head of {lines - 2:,} fields, at most {limits.fields_max:,} are accepted ({limits.fields_setting})"
        raise MessageError(what, "head_too_large")
    collector = _Collector()
    try:
        # Any valid start line: the actual one is parsed separately, because llhttp supports too few methods.
        HttpRequestParser(collector).feed_data(_ANY_START_LINE + head[start:])
    except HttpParserUpgrade:
        pass  # llhttp reports a complete head with an upgrade this way
    except HttpParserError as exc:
        raise MessageError(f"invalid field: {exc}") from exc
    fields = collector.fields
    if len(fields) != lines - 2:
        raise MessageError(f"{lines - 2} lines contain {len(fields)} fields: expected one each")
    if b" \r\n" in head or b"\t\r\n" in head:
        return [(name, value.rstrip(b" \t")) for name, value in fields]
    return fields


def _too_long(limits: HeadLimits, code: str) -> MessageError:
    return MessageError(f"a head of more than {limits.bytes_max:,} bytes, the limit of this server ({limits.bytes_setting})", code)
