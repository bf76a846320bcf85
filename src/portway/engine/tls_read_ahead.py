"""Plaintext that a TLS channel read ahead of its reader, before it sent close_notify."""

import ssl

PIECE_BYTES = 16 * 1024


class ReadAhead:
    """A buffer between OpenSSL and the reader; at most the data of one feed."""

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        """Begin empty."""
        self.buffer = bytearray()

    def drain(self, tls: ssl.SSLObject) -> bool:
        """Read what OpenSSL has; return whether that was the end.

        Raises:
            ssl.SSLError: the connection broke; data before that is in the buffer.
        """
        try:
            while True:
                piece = tls.read(PIECE_BYTES)
                if not piece:
                    return True
                self.buffer += piece
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            return True

    def take(self, buffer: memoryview) -> int:
        """Move bytes to the front of `buffer`; return how many."""
        piece = self.buffer[: len(buffer)]
        buffer[: len(piece)] = piece
        del self.buffer[: len(piece)]
        return len(piece)
