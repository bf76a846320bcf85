"""Reads WebSocket frames (RFC 6455) from copies of what passed, without delaying it."""

from typing import NamedTuple

from portway.errors import PeerError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NAMES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}

HEADER_BYTES_MAX = 14
FRAMES_OF_A_FEED = 1024
"""Frames that one `feed` reads: about a millisecond. More of them are not followed."""


class Frame(NamedTuple):
    """One frame, as it was sent."""

    opcode: int
    final: bool
    compressed: bool
    """Whether RSV1 is set, which begins a compressed message (RFC 7692)."""
    size: int
    payload: bytes
    """As sent; shorter than `size` if the frame is larger than the reader's limit."""
    key: bytes = b""
    """The masking key of `payload` (see `unmask`); empty for frames of a server."""


class FrameReader:
    """Reads the frames of one direction. Copies at most `payload_bytes_max` bytes of each."""

    __slots__ = ("_first", "_header", "_key", "_left", "_payload", "_payload_bytes_max", "_size")

    def __init__(self, payload_bytes_max: int) -> None:
        """Start before the first frame."""
        self._payload_bytes_max = payload_bytes_max
        self._header = b""
        self._payload: list[bytes] = []
        self._first = self._size = self._left = 0
        self._key: bytes | None = None

    def feed(self, view: memoryview) -> list[Frame]:
        """Return the frames that end in `view`.

        Raises:
            PeerError: not a frame, or too many of them.
        """
        found: list[Frame] = []
        at, end = 0, len(view)
        while at < end:
            if self._key is None:
                at = self._read_header(view, at)
                if self._key is None:
                    break
            else:
                at = self._read_payload(view, at)
            if not self._left and self._key is not None:
                first = self._first
                payload = b"".join(self._payload)
                found.append(Frame(first & 0x0F, bool(first & 0x80), bool(first & 0x40), self._size, payload, self._key))
                self._key, self._payload = None, []
                if len(found) > FRAMES_OF_A_FEED:
                    raise PeerError("frames too small to be followed")
        return found

    def _read_header(self, view: memoryview, at: int) -> int:
        known = len(self._header)
        header = self._header + bytes(view[at : at + HEADER_BYTES_MAX - known])
        if len(header) < 2:
            self._header = header
            return len(view)
        first, second = header[0], header[1]
        if first & 0x0F not in NAMES or first & 0x30:
            raise PeerError("invalid WebSocket frame: unknown opcode or reserved bits")
        size = second & 0x7F
        extended = 8 if size == 127 else 2 if size == 126 else 0
        length = 2 + extended + (4 if second & 0x80 else 0)
        if len(header) < length:
            self._header = header
            return len(view)
        self._first = first
        self._size = self._left = int.from_bytes(header[2 : 2 + extended], "big") if extended else size
        self._key = header[length - 4 : length] if second & 0x80 else b""
        self._header = b""
        return at + length - known

    def _read_payload(self, view: memoryview, at: int) -> int:
        count = min(self._left, len(view) - at)
        room = self._payload_bytes_max - (self._size - self._left)
        if room > 0:
            self._payload.append(bytes(view[at : at + min(count, room)]))
        self._left -= count
        return at + count


def unmask(payload: bytes, key: bytes) -> bytes:
    """Return the payload of a client's frame; `key` is empty for one that is not masked."""
    if not key or not payload:
        return payload
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
