"""Splits the control stream into messages: a length, then a body.

Wire: length u32 big-endian | body (`length` bytes of msgpack).
"""

import struct

from portway.errors import MisuseError, PeerError

_LENGTH = struct.Struct("!I")

PRE_LOGIN_BYTES_MAX = 4096
"""Largest body before login: a Hello has about 300 bytes, and unauthenticated peers must not cause larger buffers (threats Y4)."""

POST_LOGIN_BYTES_MAX = 65536
"""Largest body after login; a full Activity is the largest message sent, at most 60 KiB."""


def encode(body: bytes) -> bytes:
    """Return `body` with its length prefix."""
    if not 0 < len(body) <= POST_LOGIN_BYTES_MAX:
        raise MisuseError(f"control message of {len(body)} bytes: expected 1 to {POST_LOGIN_BYTES_MAX}")
    return _LENGTH.pack(len(body)) + body


class MessageReader:
    """Reassembles messages from bytes that may be cut anywhere.

    Buffers at most one incomplete message, so at most `bytes_max` + 4 bytes between calls.
    """

    def __init__(self, bytes_max: int = PRE_LOGIN_BYTES_MAX) -> None:
        """`bytes_max` is the largest accepted body; raise it to POST_LOGIN_BYTES_MAX after the login."""
        self.bytes_max = bytes_max
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an incomplete message; 0 means that the stream may end here."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the bodies that `data` completes, in order.

        Raises:
            PeerError: a length of 0 or above `bytes_max`; close the link, the reader cannot continue.
        """
        buffer, bytes_max, unpack, size = self._buffer, self.bytes_max, _LENGTH.unpack_from, _LENGTH.size
        buffer += data
        bodies: list[bytes] = []
        start, there = 0, len(buffer)
        while there - start >= size:
            # The length is checked before the body arrives, so that no refused body is buffered.
            (length,) = unpack(buffer, start)
            if not 0 < length <= bytes_max:
                expected = f"at most {bytes_max}" if length else "at least 1"
                raise PeerError(f"control message of {length} bytes: expected {expected}")
            end = start + size + length
            if there < end:
                break
            bodies.append(bytes(buffer[start + size : end]))
            start = end
        del buffer[:start]
        return bodies
