"""Bounds what many holders keep in memory together; when it is too much, the largest of them gives some up."""

from typing import Protocol


class Holder(Protocol):
    """Keeps bytes: a link's slow readers, a control stream, or a budget that is a part of another one."""

    bytes: int
    """What it keeps now."""

    def give_up(self) -> None:
        """Free some of it, at least a byte, and count that at its budget before returning."""


class MemoryBudget:
    """A bound shared by several holders. Budgets form a tree: a byte counts in its own, in that one's parent, and so on.

    The largest holder pays, so that whoever keeps little is never ended for whoever keeps much. In a tree that holds at
    each level: of all tokens the largest, of its links the largest. Finding it takes as long as there are holders with
    anything at all, and happens only while the bound is exceeded.
    """

    def __init__(self, bytes_max: int, parent: "MemoryBudget | None" = None) -> None:
        """Keep at most `bytes_max`, and no more than what is left of `parent`."""
        self.bytes_max = bytes_max
        self.bytes = 0
        self._parent = parent
        self._holders: set[Holder] = set()

    def count(self, holder: Holder, change: int) -> None:
        """Note that `holder` keeps `change` bytes more (or less) than before; bring the sum down while it is too much."""
        self.bytes += change
        if holder.bytes:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        if self._parent is not None:
            self._parent.count(self, change)
        while self.bytes > self.bytes_max:
            self.give_up()

    def give_up(self) -> None:
        """Let the largest holder give some up."""
        max(self._holders, key=_size_of).give_up()


def _size_of(holder: Holder) -> int:
    return holder.bytes
