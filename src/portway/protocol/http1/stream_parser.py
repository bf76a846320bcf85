"""Parses the messages in one direction of a connection from copies of what passed, without delaying it."""

from enum import IntEnum
from typing import Protocol

from portway.protocol.http1.chunked import WORK_MAX, ChunkDecoder
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import READ_BYTES, HeadBuffer, HeadLimits, cut_head
from portway.protocol.http1.framing import CHUNKED, NO_BODY, UNTIL_END, Body, request_body, response_body

WORK_OF_A_FEED = 2 * WORK_MAX
"""Work of decoding chunks in one `feed`: about a millisecond. A body of finer chunks is not followed."""

_PIECE_BYTES = 4096
"""Bytes copied at a time to decode chunk sizes; the rest of a large chunk is passed over without a copy."""


class After(IntEnum):
    """What follows a head, other than a body (see `framing`)."""

    ANOTHER_HEAD = -3
    """The response was an interim one."""
    NOT_HTTP = -4
    """The connection was upgraded."""


class MessageSink(Protocol):
    """Receives what a parser finds."""

    def on_head(self, head: bytes) -> Body | After:
        """Handle a complete head with its final empty line; return how its body is framed, or what follows instead.

        Raises:
            MessageError: the rest cannot be followed.
        """

    def on_body(self, piece: memoryview | bytes) -> None:
        """Handle a piece of a decoded body; `piece` is valid during the call only."""

    def on_wire(self, piece: memoryview) -> None:
        """Handle a piece of a chunked body with its framing."""

    def on_message_end(self) -> None:
        """Handle the end of a message."""

    def on_other(self, piece: memoryview) -> None:
        """Handle bytes after an upgrade."""


class StreamParser:
    """Follows one direction. After an error it raises no more and ignores everything: the connection itself is not its business."""

    __slots__ = ("_buffer", "_chunks", "_left", "_limits", "_mode", "_sink", "failed")

    def __init__(self, sink: MessageSink, limits: HeadLimits) -> None:
        """Start before a head of at most `limits`."""
        self._sink = sink
        self._limits = limits
        self._buffer: HeadBuffer | None = None
        self._chunks: ChunkDecoder | None = None
        self._left = 0
        self._mode: int = After.ANOTHER_HEAD
        self.failed = ""
        """Why the messages cannot be followed any more; empty while they can."""

    @property
    def in_message(self) -> bool:
        """True between a head's first byte and the end of its message."""
        return self._mode != After.ANOTHER_HEAD or self._buffer is not None

    def feed(self, view: memoryview) -> None:
        """Parse what passed; `view` is valid during the call only."""
        if self.failed:
            return
        try:
            self._feed(view)
        except MessageError as exc:
            self.failed = str(exc)
            self._buffer = self._chunks = None

    def switch(self) -> None:
        """Follow no more messages: the connection was upgraded."""
        self._mode = After.NOT_HTTP

    def end(self) -> None:
        """Handle the end of the direction, which ends a body without a length."""
        if not self.failed and self._mode == UNTIL_END:
            self._finish()

    def _feed(self, view: memoryview) -> None:
        at, end, work = 0, len(view), 0
        sink = self._sink
        while at < end:
            if self._mode == After.ANOTHER_HEAD:
                piece = bytes(view[at : at + READ_BYTES])
                head, used, self._buffer = cut_head(piece, self._buffer, self._limits)
                at += used
                if head is not None:
                    self._begin(sink.on_head(head))
            elif self._mode == CHUNKED:
                start = at
                at, done = self._decode(view, at)
                sink.on_wire(view[start:at])
                if self._chunks is not None:
                    work += self._chunks.work
                if done:
                    self._finish()
                elif work > WORK_OF_A_FEED:
                    raise MessageError("chunks too small to be followed")
            elif self._mode == UNTIL_END:
                sink.on_body(view[at:])
                at = end
            elif self._mode == After.NOT_HTTP:
                sink.on_other(view[at:])
                at = end
            else:
                count = min(self._left, end - at)
                sink.on_body(view[at : at + count])
                at += count
                self._left -= count
                if not self._left:
                    self._finish()

    def _begin(self, body: Body | After) -> None:
        self._mode, self._left = body, max(body, 0)
        if body == NO_BODY:
            self._finish()
        elif body == CHUNKED:
            self._chunks = ChunkDecoder()

    def _decode(self, view: memoryview, at: int) -> tuple[int, bool]:
        """Decode a part of a chunked body; return where it ends, and whether the body does."""
        chunks = self._chunks
        if chunks is None:  # unreachable: _begin made it
            return len(view), True
        left = chunks.left_in_chunk
        if left:
            count = min(left, len(view) - at)
            self._sink.on_body(view[at : at + count])
            chunks.skip(count)
            chunks.work = 0
            return at + count, False
        piece = bytes(view[at : at + _PIECE_BYTES])
        payload, rest = chunks.feed(piece)
        for part in payload:
            self._sink.on_body(part)
        return at + len(piece) - len(rest), chunks.done

    def _finish(self) -> None:
        self._mode = After.ANOTHER_HEAD
        self._chunks = None
        self._sink.on_message_end()


def field_value(lower_head: bytes, name: bytes) -> bytes | None:
    """Return the value of the first field `name` of a head, both in lower case; None if it is absent. A tenth of the cost of a full parse."""
    at = lower_head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    return lower_head[start : lower_head.find(b"\r\n", start)].strip(b" \t")


def request_framing(lower_head: bytes) -> Body:
    """Return how the body of a request is framed, from its head in lower case.

    Raises:
        MessageError: see `framing`.
    """
    length, coding = field_value(lower_head, b"content-length"), field_value(lower_head, b"transfer-encoding")
    return request_body(length, coding, _version(lower_head, lower_head.find(b"\r\n") - 1))


def response_framing(lower_head: bytes, status: int, method: bytes) -> Body | After:
    """Return how the body of a response to `method` is framed, from its head in lower case.

    Raises:
        MessageError: see `framing`.
    """
    if status == 101:
        return After.NOT_HTTP
    if status < 200:
        return After.ANOTHER_HEAD
    length, coding = field_value(lower_head, b"content-length"), field_value(lower_head, b"transfer-encoding")
    return response_body(status, method, length, coding, _version(lower_head, 7))


def _version(head: bytes, at: int) -> int:
    return 10 if head[at : at + 1] == b"0" else 11
