"""Random bytes from a pool, for names of which every visitor gets one."""

from collections.abc import Callable

POOL_BYTES = 4096
"""Drawn at a time: a call into the system for 256 relays instead of one for each."""


class RandomPool:
    """Deals what a source of random bytes gave in one draw. For names that are no secrets: what is not dealt yet lies in memory."""

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes]) -> None:
        """Draw from `source`, at the first call."""
        self._source = source
        self._pool = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """Return the next `count` bytes, at most POOL_BYTES; none is dealt twice."""
        end = self._at + count
        if end > len(self._pool):
            self._pool = self._source(POOL_BYTES)
            self._at, end = 0, count
        dealt = self._pool[self._at : end]
        self._at = end
        return dealt
