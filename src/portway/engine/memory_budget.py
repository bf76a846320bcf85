"""Bounds the memory that many holders use together; above the bound, the largest holder is made to free some."""

from typing import Protocol


class Holder(Protocol):
    """Uses memory: the slow readers of a link, a control stream, or a budget below another one."""

    bytes: int
    """Bytes used now."""

    def evict(self) -> None:
        """Free at least one byte, and report that to the budget before returning."""


class MemoryBudget:
    """A memory bound shared by several holders. Budgets form a tree: a byte counts in its own budget and in all above it.

    The largest holder is evicted from, so that small ones never pay for large ones. This applies at each level of a tree: the
    largest token, and of that its largest link. The search is linear in the number of holders with any bytes, and happens
    only while the bound is exceeded.
    """

    def __init__(self, bytes_max: int, parent: "MemoryBudget | None" = None) -> None:
        """Allow at most `bytes_max`, and no more than the rest of `parent`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._parent = parent
        self._holders: set[Holder] = set()

    def count(self, holder: Holder, change: int) -> None:
        """Record that `holder` uses `change` bytes more (or less) than before; evict while the sum exceeds the bound."""
        self.bytes += change
        if holder.bytes:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        if self._parent is not None:
            self._parent.count(self, change)
        while self.bytes > self.bytes_max:
            self.evict()

    def evict(self) -> None:
        """Evict from the largest holder."""
        max(self._holders, key=_size_of).evict()


def _size_of(holder: Holder) -> int:
    return holder.bytes
