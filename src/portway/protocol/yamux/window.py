"""The receive window of a stream: what the peer may still send, and how much to grant."""

from portway.errors import PeerError
from portway.protocol.yamux.frame import INITIAL_WINDOW_BYTES

PROVEN_BYTES = 1024 * 1024
"""A stream that has moved this many bytes gets a window of the same size (ADR 0004: best measured next to small requests)."""
WINDOW_BYTES_MAX = 16 * 1024 * 1024
"""Largest window of a stream: 16 MiB are enough for 1.3 Gbit/s at 100 ms."""

CREDIT_PARTS = 4
"""Credit is granted when a quarter of the window was read."""


class GrowthBudget:
    """Total by which the windows of a session may exceed their initial 256 KiB."""

    __slots__ = ("left_bytes",)

    def __init__(self, bytes_max: int) -> None:
        """Allow at most `bytes_max` in total."""
        self.left_bytes = bytes_max

    def take(self, wanted: int) -> int:
        """Return how much of `wanted` is granted."""
        granted = min(wanted, self.left_bytes)
        self.left_bytes -= granted
        return granted

    def give_back(self, count: int) -> None:
        """Return the growth of a stream that has ended."""
        self.left_bytes += count


class ReceiveWindow:
    """Flow control of one direction of one stream.

    Invariant: `left + unread + ungranted == size`, where unread are the bytes that arrived and were not consumed. So a stalled
    reader pins at most `size` bytes.
    """

    __slots__ = ("_budget", "_epoch_at", "_epoch_bytes", "left", "moved", "size", "ungranted")

    def __init__(self, budget: GrowthBudget) -> None:
        """Start with the 256 KiB that yamux prescribes; growth is taken from `budget`."""
        self._budget = budget
        self.size = INITIAL_WINDOW_BYTES
        self.left = INITIAL_WINDOW_BYTES
        """Bytes that the peer may still send."""
        self.ungranted = 0
        """Bytes consumed and not granted again yet."""
        self.moved = 0
        """Total bytes consumed."""
        self._epoch_at = -1.0
        self._epoch_bytes = 0

    def arrived(self, count: int) -> None:
        """Record the arrival of `count` bytes.

        Raises:
            PeerError: the peer sent more than it was granted.
        """
        if count > self.left:
            raise PeerError(f"yamux: {count} bytes sent into a window of {self.left}")
        self.left -= count

    def consumed(self, count: int) -> bool:
        """Record that the reader consumed `count` bytes; return whether it is time to `grant`.

        A quarter of the window per update. With half of it, as in other implementations, the other half may never be granted
        again: then twice the bytes per round trip equal the window, and it stops growing (a simulated path of 80 ms and
        125 MB/s averaged 16 MB/s over its first 5 s, with a quarter 102; loopback gains a quarter, too).
        """
        self.ungranted += count
        return self.ungranted * CREDIT_PARTS >= self.size

    def grant(self, now: float, rtt_s: float | None) -> int:
        """Return the credit to send to the peer: consumed bytes, plus growth if the path needs it.

        The target size is 1 MiB once the stream has moved 1 MiB, or twice what its reader consumed in one lowest round
        trip if that is more; it never shrinks. `now` is monotonic seconds, `rtt_s` the lowest recent round trip.
        """
        credit = self.ungranted
        self.ungranted = 0
        self.moved += credit
        wanted = min(max(PROVEN_BYTES if self.moved >= PROVEN_BYTES else 0, self._two_round_trips(credit, now, rtt_s)), WINDOW_BYTES_MAX)
        if wanted > self.size:
            growth = self._budget.take(wanted - self.size)
            self.size += growth
            credit += growth
        self.left += credit
        return credit

    def release(self) -> None:
        """Return the growth to the session's budget: the stream has ended."""
        self._budget.give_back(self.size - INITIAL_WINDOW_BYTES)
        self.size = INITIAL_WINDOW_BYTES

    def _two_round_trips(self, consumed: int, now: float, rtt_s: float | None) -> int:
        """Return twice the bytes consumed per round trip, measured over at least one of them."""
        if rtt_s is None:
            return 0
        if self._epoch_at < 0:
            self._epoch_at = now
            return 0
        self._epoch_bytes += consumed
        elapsed = now - self._epoch_at
        if elapsed < rtt_s or elapsed <= 0:
            return 0
        wanted = int(2 * self._epoch_bytes * rtt_s / elapsed)
        self._epoch_at = now
        self._epoch_bytes = 0
        return wanted
