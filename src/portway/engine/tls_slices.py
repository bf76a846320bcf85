"""How much a visitor's TLS channel encrypts at a time, so that OpenSSL's buffers stay small."""

SMALL_SLICE_BYTES, LARGE_SLICE_BYTES = 4 * 1024, 16 * 1024
"""Plaintext per record and system call: the buffers of a channel grow to one slice and never shrink."""

SMALL_SLICES_BYTES = 64 * 1024
"""Bytes after which slices are large: most responses of an interactive visitor are smaller, and a bulk transfer soon gets there."""


class WriteSlices:
    """The size of the next slice of one channel."""

    __slots__ = ("_small_left", "size")

    def __init__(self) -> None:
        """Begin with small slices."""
        self.size = SMALL_SLICE_BYTES
        self._small_left = SMALL_SLICES_BYTES

    def count(self, sent: int) -> None:
        """Count bytes that were encrypted."""
        if self.size == SMALL_SLICE_BYTES:
            self._small_left -= sent
            if self._small_left <= 0:
                self.size = LARGE_SLICE_BYTES
