"""Buffered random bytes, for ids that every visitor gets."""

from collections.abc import Callable

POOL_BYTES = 4096
"""Drawn at a time: one system call for 256 relays instead of one for each."""


class RandomPool:
    """Returns random bytes from a buffer. Not for secrets: unused bytes stay in memory."""

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes]) -> None:
        """Draw from `source`, at the first call."""
        self._source = source
        self._pool = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """Return the next `count` bytes, at most POOL_BYTES; no byte is returned twice."""
        end = self._at + count
        if end > len(self._pool):
            self._pool = self._source(POOL_BYTES)
            self._at, end = 0, count
        data = self._pool[self._at : end]
        self._at = end
        return data
