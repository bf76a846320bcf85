"""Splits a stream of server-sent events (WHATWG HTML, section 9.2) into single events."""

import re
from typing import NamedTuple

EVENT_BYTES_MAX = 256 * 1024
"""A longer event is cut; the rest of it is dropped."""

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event."""

    event: str
    """Its type; empty without one."""
    id: str
    data: bytes
    size: int
    """Bytes of the event in the stream."""


class EventStreamParser:
    """Parses a stream that may be cut anywhere; buffers at most one event."""

    __slots__ = ("_buffer", "_dropped")

    def __init__(self) -> None:
        """Start before the first event."""
        self._buffer = bytearray()
        self._dropped = 0

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Return the events that end in `piece`; comments and empty blocks are left out."""
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += piece
        found: list[ServerSentEvent] = []
        start = 0
        while (match := _END.search(buffer, max(start, searched))) is not None:
            event = _parse(bytes(buffer[start : match.start()]), self._dropped)
            self._dropped = 0
            start = match.end()
            if event is not None:
                found.append(event)
        del buffer[:start]
        if len(buffer) > EVENT_BYTES_MAX:
            self._dropped += len(buffer) - EVENT_BYTES_MAX
            del buffer[EVENT_BYTES_MAX - 3 : -3]  # an end that is cut here must still be found
        return found


def _parse(block: bytes, dropped: int) -> ServerSentEvent | None:
    kind, event_id, data = "", "", []
    for line in _LINE.split(block):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"id":
            event_id = value.decode("utf-8", "replace")
    if not data and not kind and not event_id:
        return None
    return ServerSentEvent(kind, event_id, b"\n".join(data), len(block) + dropped)
