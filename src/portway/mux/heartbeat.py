"""Detects lost links and measures round trips with pings. Pure: no I/O, no clock."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

RTT_WINDOW_S = 30.0
"""Period of the lowest round trip: paths and queues change."""
CALLBACKS_MAX = 64
"""Pings with a callback, for probes of claims and for speed tests; a few at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """Timing of the detection of silent links."""

    silence_s_max: float = 12.0
    """A link that was silent for this time is lost. With checks every second, both ends detect it within 15 s."""
    ping_every_s: float = 4.0
    """Three pings must stay unanswered; also the interval of round-trip measurements."""


class Heartbeat:
    """Decides when to ping, what the round trip is, and when the link is lost.

    Any received byte counts as a sign of life, so a link busy with a bulk transfer is not lost because of late pongs.
    """

    def __init__(self, settings: HeartbeatSettings, now: float) -> None:
        """Start at `now` (monotonic seconds), as if data had just been received."""
        self._settings = settings
        self.received_at = now
        self._ping_at = now
        self._sent_at: dict[int, float] = {}
        self._callbacks: dict[int, Callable[[float], None]] = {}
        self._next_value = 1
        self._samples: deque[tuple[float, float]] = deque(maxlen=64)

    def next_ping(self, now: float) -> int | None:
        """Return the value of the next ping if one is due."""
        return self.ping(now) if now >= self._ping_at else None

    def ping(self, now: float, on_pong: Callable[[float], None] | None = None) -> int:
        """Return the value of a ping to be sent now; `on_pong` is called with the round trip in seconds when the pong arrives."""
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
        """Return the round trip in seconds of the ping `value`, or None if it was never sent."""
        sent_at = self._sent_at.pop(value, None)
        if sent_at is None:
            return None
        self._samples.append((now, now - sent_at))
        callback = self._callbacks.pop(value, None)
        if callback is not None:
            callback(now - sent_at)
        return now - sent_at

    def forget_callbacks(self) -> None:
        """Drop all callbacks: the link is lost."""
        self._callbacks.clear()

    def rtt_s(self, now: float) -> float | None:
        """Return the lowest round trip of the last 30 s, or the last one known."""
        while len(self._samples) > 1 and now - self._samples[0][0] > RTT_WINDOW_S:
            self._samples.popleft()
        return min((sample for _, sample in self._samples), default=None)

    def silent_for_s(self, now: float) -> float:
        """Return how long nothing was received."""
        return now - self.received_at

    def exclude_pause(self, seconds: float) -> None:
        """Exclude `seconds` during which this process was suspended from the silence; less than a second is ordinary delay."""
        if seconds >= 1.0:
            self.received_at += seconds

    def is_lost(self, now: float) -> bool:
        """Return whether the link is lost."""
        return now - self.received_at >= self._settings.silence_s_max
