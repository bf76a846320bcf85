"""Bounds the memory of all visitors' connections together; the sources that use most of it release some."""

import heapq
from typing import Protocol

from portway.engine.reactor import Reactor
from portway.protocol.source_key import source_key


class BufferingConnection(Protocol):
    """A visitor's connection with buffered bytes."""

    @property
    def address(self) -> str:
        """Return the visitor's numeric host."""

    def drop_optional(self) -> None:
        """Drop buffered bytes that can be spared, and update the count."""

    def evict(self) -> None:
        """Drop all buffered bytes, at any cost to the visitor."""


class ByteBudget:
    """Counts bytes by connection, and reduces the total by a sixteenth if it exceeds `bytes_max`.

    The source (see `source_key`) with the most bytes pays: first with what its connections can spare, then with the connections
    that have gone longest without progress. So the cost of a scan is shared by many additions.
    """

    def __init__(self, reactor: Reactor, bytes_max: int) -> None:
        """Allow at most `bytes_max` at the end of a round of `reactor`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._reactor = reactor
        self._counts: dict[BufferingConnection, int] = {}
        self._reduction_due = False

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, connection: BufferingConnection, count: int) -> None:
        """Set the count of `connection`, which has just made progress. Nothing is dropped before the next turn."""
        self.bytes += count - self._counts.pop(connection, 0)
        if count:
            self._counts[connection] = count
            if self.bytes > self.bytes_max and not self._reduction_due:
                self._reduction_due = True
                self._reactor.call_soon(self._reduce)

    def _reduce(self) -> None:
        self._reduction_due = False
        target = self.bytes_max - self.bytes_max // 16
        for release in (_drop_optional, _evict):
            by_source: dict[str, list[BufferingConnection]] = {}
            sums: dict[str, int] = {}
            for connection, count in self._counts.items():
                source = source_key(connection.address)
                by_source.setdefault(source, []).append(connection)
                sums[source] = sums.get(source, 0) + count
            for connections in by_source.values():
                connections.reverse()  # the longest without progress is taken first
            heap = [(-total, source) for source, total in sums.items()]
            heapq.heapify(heap)
            while self.bytes > target and heap:
                total, source = heapq.heappop(heap)
                connection = by_source[source].pop()
                before = self._counts.get(connection, 0)
                if before:
                    release(connection)
                if by_source[source]:
                    heapq.heappush(heap, (total + before, source))
            if self.bytes <= target:
                return


def _drop_optional(connection: BufferingConnection) -> None:
    connection.drop_optional()


def _evict(connection: BufferingConnection) -> None:
    connection.evict()
