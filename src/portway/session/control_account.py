"""What one control stream keeps in memory: a small fixed bound before the login, a part of its token's budget afterwards."""

from collections.abc import Callable

from portway.engine.memory_budget import MemoryBudget

STRANGER_KEPT_BYTES_MAX = 16 * 1024
"""Before the login is through: four of the largest messages that may come then. A login has one under way at a time."""


class ControlAccount:
    """Counts bytes that wait: in the stream's channel, unread; here, received and not asked for; and to be sent.

    As the store of what the channel keeps it stands in for the link's (see `mux.buffer_budget.SessionBufferBudget`), so that one number
    holds all of it.
    """

    def __init__(self, bytes_max: int = STRANGER_KEPT_BYTES_MAX) -> None:
        """Keep at most `bytes_max`, until `authenticate`."""
        self.bytes = 0
        self.on_exceeded: Callable[[str], None] = _ignore
        """Called with the reason, once, when this stream has to end."""
        self._bytes_max = bytes_max
        self._budget: MemoryBudget | None = None
        self._unread = 0
        self._own = 0
        self._closed = False

    def authenticate(self, budget: MemoryBudget) -> None:
        """Count in `budget` from now on, and nowhere else."""
        self._budget = budget
        budget.count(self, self.bytes)

    def add(self, _channel: object, count: int) -> None:
        """Count `count` more bytes that the channel keeps."""
        self._unread += count
        self._count()

    def consume(self, _channel: object, count: int) -> None:
        """Count `count` bytes of those as read."""
        self._unread -= min(count, self._unread)
        self._count()

    def release(self, _channel: object) -> None:
        """Count nothing of the channel any more."""
        self._unread = 0
        self._count()

    def set_own(self, count: int) -> None:
        """Count `count` bytes that wait here or are to be sent, instead of what they were before."""
        if count != self._own:
            self._own = count
            self._count()

    def evict(self) -> None:
        """End the stream: it keeps more than any other of the budget that is exceeded."""
        budget = self._budget
        if budget is not None:
            self._exceed(f"{self.bytes} bytes of control messages wait; all links of its token may keep {budget.bytes_max} together")

    def close(self) -> None:
        """Count nothing any more: the stream is over."""
        self._closed = True
        self.on_exceeded = _ignore
        self._set(0)

    def _count(self) -> None:
        if self._closed:
            return
        self._set(self._unread + self._own)
        if self._budget is None and self.bytes > self._bytes_max:
            self._exceed(f"{self.bytes} bytes of control messages wait before the login is through, at most {self._bytes_max} may")

    def _set(self, count: int) -> None:
        change, self.bytes = count - self.bytes, count
        if change and self._budget is not None:
            self._budget.count(self, change)

    def _exceed(self, reason: str) -> None:
        on_exceeded = self.on_exceeded
        self.close()
        on_exceeded(reason)


def _ignore(_reason: str) -> None:
    """Stand in for a stream that is over."""
