"""Memory account of one control stream: a small fixed bound before the login, its token's budget afterwards."""

from collections.abc import Callable

from portway.engine.memory_budget import MemoryBudget

PRE_LOGIN_BUFFERED_BYTES_MAX = 16 * 1024
"""Before the login: four of the largest messages that are allowed then. A login has one in flight at a time."""


class ControlAccount:
    """Counts buffered bytes: unread in the channel, received but not consumed, and not sent yet.

    It takes the place of the session's budget for the channel's buffer (see `mux.buffer_budget.SessionBufferBudget`), so that
    one number covers all of them.
    """

    def __init__(self, bytes_max: int = PRE_LOGIN_BUFFERED_BYTES_MAX) -> None:
        """Allow at most `bytes_max` until `authenticate` is called."""
        self.bytes = 0
        self.on_exceeded: Callable[[str], None] = _ignore
        """Called once with the reason when this stream has to end."""
        self._bytes_max = bytes_max
        self._budget: MemoryBudget | None = None
        self._unread = 0
        self._stream_bytes = 0
        self._closed = False

    def authenticate(self, budget: MemoryBudget) -> None:
        """Count in `budget` from now on, instead of against the fixed bound."""
        self._budget = budget
        budget.count(self, self.bytes)

    def add(self, _channel: object, count: int) -> None:
        """Add `count` bytes that the channel buffers."""
        self._unread += count
        self._update()

    def consume(self, _channel: object, count: int) -> None:
        """Subtract `count` bytes that were read from the channel."""
        self._unread -= min(count, self._unread)
        self._update()

    def release(self, _channel: object) -> None:
        """Subtract all bytes that the channel buffers."""
        self._unread = 0
        self._update()

    def set_stream_bytes(self, count: int) -> None:
        """Set the number of bytes in the stream's inbox and outbox to `count`."""
        if count != self._stream_bytes:
            self._stream_bytes = count
            self._update()

    def evict(self) -> None:
        """End the stream, because it is the largest holder of a budget that is exceeded."""
        budget = self._budget
        if budget is not None:
            self._exceed(f"{self.bytes} bytes of control messages buffered; all links of the token may buffer {budget.bytes_max} in total")

    def close(self) -> None:
        """Count nothing from now on, because the stream has ended."""
        self._closed = True
        self.on_exceeded = _ignore
        self._set(0)

    def _update(self) -> None:
        if self._closed:
            return
        self._set(self._unread + self._stream_bytes)
        if self._budget is None and self.bytes > self._bytes_max:
            self._exceed(f"{self.bytes} bytes of control messages buffered before the login; at most {self._bytes_max} are allowed")

    def _set(self, count: int) -> None:
        change, self.bytes = count - self.bytes, count
        if change and self._budget is not None:
            self._budget.count(self, change)

    def _exceed(self, reason: str) -> None:
        on_exceeded = self.on_exceeded
        self.close()
        on_exceeded(reason)


def _ignore(_reason: str) -> None:
    """Do nothing, because the stream has ended."""
