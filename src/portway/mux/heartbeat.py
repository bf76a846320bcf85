"""Is the other end of a link still there, and how far away is it? Pings that race a deadline; no I/O, no clock."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

RTT_WINDOW_S = 30.0
"""The lowest round trip is that of the last 30 s: paths change, queues come and go."""
CALLBACKS_MAX = 64
"""Pings whose answer is waited for by somebody else than this heartbeat: probes of claims, speed tests. A few at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """How fast a silent link is noticed."""

    silence_s_max: float = 12.0
    """A link that was silent for so long is lost. With checks every second, both ends know within 15 s."""
    ping_every_s: float = 4.0
    """Three pings have to stay unanswered; also how often the round trip is measured."""


class Heartbeat:
    """Decides when to ping, what the round trip is, and when the link is lost.

    Any byte heard is a sign of life, so a link busy with a bulk transfer is not lost because its pongs are late.
    """

    def __init__(self, settings: HeartbeatSettings, now: float) -> None:
        """Start at `now` (monotonic seconds), with the benefit of the doubt."""
        self._settings = settings
        self.received_at = now
        self._ping_at = now
        self._sent_at: dict[int, float] = {}
        self._callbacks: dict[int, Callable[[float], None]] = {}
        self._next_value = 1
        self._samples: deque[tuple[float, float]] = deque(maxlen=64)

    def next_ping(self, now: float) -> int | None:
        """Return the value to ping with if it is time to."""
        return self.ping(now) if now >= self._ping_at else None

    def ping(self, now: float, on_pong: Callable[[float], None] | None = None) -> int:
        """Return the value of a ping that is sent now; `on_pong` is called with the round trip in seconds, if it is answered."""
        self._ping_at = now + self._settings.ping_every_s
        value = self._next_value
        self._next_value = value % 0xFFFFFFFF + 1
        self._sent_at[value] = now
        for old in [known for known, sent_at in self._sent_at.items() if now - sent_at > self._settings.silence_s_max]:
            del self._sent_at[old]
            self._callbacks.pop(old, None)
        if on_pong is not None and len(self._callbacks) < CALLBACKS_MAX:
            self._callbacks[value] = on_pong
        return value

    def on_pong(self, value: int, now: float) -> float | None:
        """Return the round trip in seconds of the ping `value`, or None if it was never asked."""
        sent_at = self._sent_at.pop(value, None)
        if sent_at is None:
            return None
        self._samples.append((now, now - sent_at))
        on_pong = self._callbacks.pop(value, None)
        if on_pong is not None:
            on_pong(now - sent_at)
        return now - sent_at

    def forget_callbacks(self) -> None:
        """Call nobody any more: the link is lost."""
        self._callbacks.clear()

    def rtt_s(self, now: float) -> float | None:
        """Return the lowest round trip of the last 30 s, or the last one known."""
        while len(self._samples) > 1 and now - self._samples[0][0] > RTT_WINDOW_S:
            self._samples.popleft()
        return min((sample for _, sample in self._samples), default=None)

    def silent_for_s(self, now: float) -> float:
        """Return how long nothing has been heard."""
        return now - self.received_at

    def exclude_pause(self, seconds: float) -> None:
        """Forgive the peer `seconds` in which nobody here could have heard it; less than a second is ordinary delay."""
        if seconds >= 1.0:
            self.received_at += seconds

    def is_lost(self, now: float) -> bool:
        """Return whether the link must be given up."""
        return now - self.received_at >= self._settings.silence_s_max
