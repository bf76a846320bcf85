"""Memory budget for data that slow readers have not consumed, per session and per process; evicts the longest-stalled stream."""

from typing import Protocol

from portway.engine.memory_budget import MemoryBudget

SESSION_BYTES_MAX = 256 * 1024 * 1024
"""A thousand stalled readers of 256 KiB, the smallest window that yamux allows; above it the longest-stalled one is evicted."""
PROCESS_BYTES_MAX = 512 * 1024 * 1024
"""The same for all links of a process: one token may have many sessions."""


class BufferingStream(Protocol):
    """A stream with bytes that its reader has not consumed."""

    def fail(self) -> None:
        """Drop the buffered bytes, in any state of the stream; both ends see a break."""


class ProcessBufferBudget(MemoryBudget):
    """Bounds the bytes buffered by all links of a process."""

    def __init__(self, bytes_max: int = PROCESS_BYTES_MAX) -> None:
        """Allow at most `bytes_max`."""
        super().__init__(bytes_max)


class BufferAccount(Protocol):
    """Counts the buffered bytes of a stream: the `SessionBufferBudget` of its link, or a separate account."""

    def add(self, stream: BufferingStream, count: int, /) -> None:
        """Count `count` more bytes of `stream`."""

    def consume(self, stream: BufferingStream, count: int, /) -> None:
        """Count `count` bytes of `stream` as read."""

    def release(self, stream: BufferingStream, /) -> None:
        """Remove `stream`, which has no buffered bytes any more."""


class SessionBufferBudget:
    """Counts and bounds the bytes buffered by the streams of one link or session.

    yamux has no session window and no stream window below 256 KiB, so thousands of stalled readers could pin gigabytes.
    Above the bound, the stream whose reader has been stalled for longest is evicted: in O(1), because a dict preserves the
    order in which readers last consumed data.
    """

    def __init__(self, bytes_max: int = SESSION_BYTES_MAX, total: MemoryBudget | None = None) -> None:
        """Allow at most `bytes_max`, and no more than the rest of `total`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._total = total
        self._buffered: dict[BufferingStream, int] = {}

    def add(self, stream: BufferingStream, count: int) -> None:
        """Count `count` more bytes of `stream`; evict the longest-stalled streams while the bound is exceeded."""
        self._buffered[stream] = self._buffered.get(stream, 0) + count
        self._count(count)
        while self.bytes > self.bytes_max:
            self.evict()

    def consume(self, stream: BufferingStream, count: int) -> None:
        """Count `count` bytes of `stream` as read, and move it to the back: a slow reader is not stalled."""
        before = self._buffered.pop(stream, 0)
        taken = min(count, before)
        if taken < before:
            self._buffered[stream] = before - taken
        self._count(-taken)

    def release(self, stream: BufferingStream) -> None:
        """Remove `stream`, which has no buffered bytes any more."""
        self._count(-self._buffered.pop(stream, 0))

    def transfer_to(self, other: "SessionBufferBudget") -> None:
        """Move all counts to `other`."""
        buffered, self._buffered = self._buffered, {}
        self._count(-self.bytes)
        for stream, count in buffered.items():
            other.add(stream, count)

    def evict(self) -> None:
        """Evict the stream that has been stalled for longest."""
        longest = next(iter(self._buffered))
        self.release(longest)
        longest.fail()

    def _count(self, change: int) -> None:
        self.bytes += change
        if self._total is not None:
            self._total.count(self, change)
