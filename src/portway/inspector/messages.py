"""Splits WebSocket connections and event streams into messages that can be stored: inflated, within a bound."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from portway.inspector.exchange import RESPONSE, EventPiece, Message
from portway.protocol.event_stream import EventStreamParser
from portway.protocol.http1.stream_parser import field_value
from portway.protocol.websocket_frames import CONTINUATION, NAMES, TEXT, unmask

_TAIL = b"\x00\x00\xff\xff"
"""What a sender leaves out at the end of a compressed message (RFC 7692 section 7.2.1)."""


class StoredMessage(NamedTuple):
    """One frame or event."""

    side: int
    at: float
    kind: str
    """`text`, `binary`, `close`, `ping`, `pong`, `continuation`, or `event`."""
    name: str
    """Type and id of an event; why a frame was closed."""
    size: int
    state: str
    """`complete`, `truncated`, or why the payload is missing."""
    data: bytes
    is_text: bool


class EventSplitter:
    """The events of one stream."""

    def __init__(self) -> None:
        """Start before the first event."""
        self._parser = EventStreamParser()

    def messages(self, piece: EventPiece) -> Iterator[StoredMessage]:
        """Yield the events that end in a piece."""
        for event in self._parser.feed(piece.payload):
            name = event.event + (f" #{event.id}" if event.id else "")
            state = "complete" if len(event.data) <= event.size else "truncated"
            yield StoredMessage(RESPONSE, piece.at, "event", name[:200], event.size, state, event.data, is_text=True)


class _Direction:
    """One direction of a WebSocket connection."""

    __slots__ = ("compressed", "inflater", "lost", "opcode", "reset_each")

    def __init__(self, *, reset_each: bool) -> None:
        self.reset_each = reset_each
        self.inflater = zlib.decompressobj(wbits=-15)
        self.compressed = False
        self.opcode = 0
        self.lost = False
        """True once the context of compressed messages is incomplete."""


class FrameDecoder:
    """The frames of one WebSocket connection: unmasked, and inflated if it uses permessage-deflate."""

    def __init__(self, response_head: bytes, bytes_max: int) -> None:
        """Start after the response of the handshake; at most `bytes_max` bytes of each frame are returned."""
        extensions = field_value(response_head.lower(), b"sec-websocket-extensions") or b""
        self._bytes_max = bytes_max
        self._deflates = b"permessage-deflate" in extensions
        self._directions = (
            _Direction(reset_each=b"client_no_context_takeover" in extensions),
            _Direction(reset_each=b"server_no_context_takeover" in extensions),
        )

    def messages(self, frame: Message) -> Iterator[StoredMessage]:
        """Yield the message of a frame."""
        direction = self._directions[frame.side]
        opcode = frame.opcode
        data = unmask(frame.payload, frame.key)
        state = "complete" if len(frame.payload) == frame.size else "truncated"
        if opcode < 8:
            if opcode != CONTINUATION:
                direction.opcode, direction.compressed = opcode, frame.compressed and self._deflates
            if direction.compressed:
                data, state = self._inflate(direction, frame, data, state)
        is_text = (direction.opcode if opcode == CONTINUATION else opcode) == TEXT and not state.startswith("compressed")
        name = ""
        if opcode == 8 and len(data) >= 2:
            name, data, is_text = str(int.from_bytes(data[:2], "big")), data[2:], True
        yield StoredMessage(frame.side, frame.at, NAMES[opcode], name, frame.size, state, data, is_text)

    def _inflate(self, direction: _Direction, frame: Message, data: bytes, state: str) -> tuple[bytes, str]:
        if state == "truncated" and not direction.reset_each:
            direction.lost = True
        if direction.lost:
            return b"", "compressed, and an earlier frame is missing"
        try:
            found = direction.inflater.decompress(data + (_TAIL if frame.final else b""), self._bytes_max)
        except zlib.error:
            direction.lost = not direction.reset_each
            return b"", "compressed, and invalid"
        if direction.inflater.unconsumed_tail:
            state = "truncated"
            direction.lost = not direction.reset_each
        if frame.final and direction.reset_each:
            direction.inflater = zlib.decompressobj(wbits=-15)
        return found, state
