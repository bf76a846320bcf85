"""yamux frames, legal and illegal, built and parsed independently of the code under test."""

import struct
from dataclasses import dataclass

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
UNTOUCHED, SWITCHED = 16, 32
INITIAL_WINDOW = 262144


@dataclass(frozen=True)
class Frame:
    """One frame; `length` may differ from that of `body`, as in illegal frames."""

    type: int
    flags: int
    stream_id: int
    length: int = 0
    body: bytes = b""
    version: int = 0

    @property
    def wire(self) -> bytes:
        """The bytes."""
        return struct.pack(">BBHII", self.version, self.type, self.flags, self.stream_id, self.length) + self.body


def data(stream_id: int, body: bytes = b"", flags: int = 0) -> Frame:
    """Return a Data frame with the correct length."""
    return Frame(DATA, flags, stream_id, len(body), body)


def update(stream_id: int, delta: int = 0, flags: int = 0) -> Frame:
    """Return a WindowUpdate."""
    return Frame(WINDOW_UPDATE, flags, stream_id, delta)


def ping(value: int = 0, flags: int = SYN) -> Frame:
    """Return a Ping, by default a request."""
    return Frame(PING, flags, 0, value)


def go_away(code: int = 0) -> Frame:
    """Return a GoAway."""
    return Frame(GO_AWAY, 0, 0, code)


def read_frames(wire: bytes | bytearray) -> tuple[list[Frame], bytes]:
    """Return the complete frames at the start of `wire`, and the remaining bytes."""
    frames, at = [], 0
    while len(wire) - at >= 12:
        version, kind, flags, stream_id, length = struct.unpack_from(">BBHII", wire, at)
        size = length if kind == DATA else 0
        if len(wire) - at - 12 < size:
            break
        frames.append(Frame(kind, flags, stream_id, length, bytes(wire[at + 12 : at + 12 + size]), version))
        at += 12 + size
    return frames, bytes(wire[at:])


def all_frames(wire: bytes | bytearray) -> list[Frame]:
    """Return the frames of `wire`, which must end with a complete one."""
    frames, rest = read_frames(wire)
    assert not rest, f"half a frame at the end: {rest[:40]!r}"
    return frames
