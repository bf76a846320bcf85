"""What slow readers keep in memory, those of a link and those of all links, and who has to go when it is too much."""

from typing import Protocol

from portway.engine.memory_budget import MemoryBudget

SESSION_BYTES_MAX = 256 * 1024 * 1024
"""A thousand stalled readers of 256 KiB, the least that yamux can grant each; above it the longest stalled one goes."""
PROCESS_BYTES_MAX = 512 * 1024 * 1024
"""The same for all links of a process: whoever has a token may have many sessions, and a machine has one memory."""


class BufferingStream(Protocol):
    """A stream that keeps bytes its reader did not take."""

    def fail(self) -> None:
        """Drop what the stream keeps, whatever state it is in, and let both its ends find the break."""


class ProcessBufferBudget(MemoryBudget):
    """Bounds what all links of a process keep together."""

    def __init__(self, bytes_max: int = PROCESS_BYTES_MAX) -> None:
        """Keep at most `bytes_max`."""
        super().__init__(bytes_max)


class BufferAccount(Protocol):
    """Where a stream counts what it keeps: its link's `SessionBufferBudget`, or an account of its own."""

    def add(self, stream: BufferingStream, count: int, /) -> None:
        """Count `count` more bytes of `stream`."""

    def consume(self, stream: BufferingStream, count: int, /) -> None:
        """Count `count` bytes of `stream` as read."""

    def release(self, stream: BufferingStream, /) -> None:
        """Forget `stream`: it keeps nothing any more."""


class SessionBufferBudget:
    """Counts the bytes kept by the streams of one link or session, and bounds them.

    yamux has no window for a session and cannot grant a stream less than 256 KiB, so thousands of stalled readers could
    pin gigabytes. The bound is kept by giving up the stream whose reader has taken nothing for longest: O(1), as a dict
    keeps the order in which readers last moved.
    """

    def __init__(self, bytes_max: int = SESSION_BYTES_MAX, total: MemoryBudget | None = None) -> None:
        """Keep at most `bytes_max`, and no more than what is left of `total`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._total = total
        self._buffered: dict[BufferingStream, int] = {}

    def add(self, stream: BufferingStream, count: int) -> None:
        """Count `count` more bytes of `stream`; reset the longest stalled streams while there are too many."""
        self._buffered[stream] = self._buffered.get(stream, 0) + count
        self._count(count)
        while self.bytes > self.bytes_max:
            self.evict()

    def consume(self, stream: BufferingStream, count: int) -> None:
        """Count `count` bytes of `stream` as read. A slow reader is not a stalled one: it goes to the back."""
        kept = self._buffered.pop(stream, 0)
        taken = min(count, kept)
        if taken < kept:
            self._buffered[stream] = kept - taken
        self._count(-taken)

    def release(self, stream: BufferingStream) -> None:
        """Forget `stream`: it keeps nothing any more."""
        self._count(-self._buffered.pop(stream, 0))

    def transfer_to(self, other: "SessionBufferBudget") -> None:
        """Let `other` count everything that is kept here."""
        stalled, self._buffered = self._buffered, {}
        self._count(-self.bytes)
        for stream, count in stalled.items():
            other.add(stream, count)

    def evict(self) -> None:
        """Let go of the stream that has been stalled longest."""
        longest = next(iter(self._buffered))
        self.release(longest)
        longest.fail()

    def _count(self, change: int) -> None:
        self.bytes += change
        if self._total is not None:
            self._total.count(self, change)
