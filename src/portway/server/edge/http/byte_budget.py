"""Bounds the bytes that visitors' requests keep in memory, all together; whoever keeps most of them gives some up."""

import heapq
from typing import Protocol

from portway.engine.reactor import Reactor
from portway.protocol.source_key import source_key


class Keeper(Protocol):
    """A visitor's connection that keeps bytes."""

    @property
    def address(self) -> str:
        """Return the visitor's numeric host."""

    def spare(self) -> None:
        """Give up what it can do without; it counts anew then."""

    def give_up(self) -> None:
        """Keep nothing any more, whatever that costs its visitor."""


class ByteBudget:
    """Counts bytes by keeper, and brings them down by a sixteenth when they are more than `bytes_max`.

    The source (see `sources`) that keeps most pays: first by what its connections can do without, then by the connections that have kept
    theirs for longest without any progress. So a look at all of them is paid for by many.
    """

    def __init__(self, reactor: Reactor, bytes_max: int) -> None:
        """Let at most `bytes_max` be kept at the end of a round of `reactor`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._reactor = reactor
        self._of: dict[Keeper, int] = {}
        self._asked = False

    def __len__(self) -> int:
        return len(self._of)

    def count(self, keeper: Keeper, count: int) -> None:
        """Note that `keeper` keeps so many bytes now, because it has just made progress. Nobody gives anything up before the next turn."""
        self.bytes += count - self._of.pop(keeper, 0)
        if count:
            self._of[keeper] = count
            if self.bytes > self.bytes_max and not self._asked:
                self._asked = True
                self._reactor.call_soon(self._bring_down)

    def _bring_down(self) -> None:
        self._asked = False
        wanted = self.bytes_max - self.bytes_max // 16
        for ask in (_spare, _give_up):
            of_source: dict[str, list[Keeper]] = {}
            sums: dict[str, int] = {}
            for keeper, count in self._of.items():
                source = source_key(keeper.address)
                of_source.setdefault(source, []).append(keeper)
                sums[source] = sums.get(source, 0) + count
            for keepers in of_source.values():
                keepers.reverse()  # who has kept for longest is taken first
            heap = [(-total, source) for source, total in sums.items()]
            heapq.heapify(heap)
            while self.bytes > wanted and heap:
                total, source = heapq.heappop(heap)
                keeper = of_source[source].pop()
                before = self._of.get(keeper, 0)
                if before:
                    ask(keeper)
                if of_source[source]:
                    heapq.heappush(heap, (total + before, source))
            if self.bytes <= wanted:
                return


def _spare(keeper: Keeper) -> None:
    keeper.spare()


def _give_up(keeper: Keeper) -> None:
    keeper.give_up()
