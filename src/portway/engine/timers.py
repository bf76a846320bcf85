"""A coarse timer wheel: one entry in the outer loop, however many deadlines there are."""

import heapq
from collections.abc import Callable

TICK_S = 0.05
"""Deadlines here are heads, pings and idle limits, seconds long; 50 ms is close enough and keeps buckets few."""


class Timer:
    """A deadline that was asked for; `cancel` forgets it (at once, so that it pins nothing)."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], None], bucket: "dict[Timer, None]") -> None:
        """Stand in `bucket` until fired or cancelled."""
        self.callback = callback
        self._bucket: dict[Timer, None] | None = bucket

    def cancel(self) -> None:
        """Never call back; may be called twice and after the timer has fired."""
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None
            self.callback = _forgotten  # it holds whoever holds this timer: a cycle, which only a collector would find

    def fire(self) -> None:
        """Call back, unless it was cancelled meanwhile (by a timer of the same tick, say)."""
        if self._bucket is not None:
            self._bucket = None
            self.callback()


def _forgotten() -> None:
    """Stand in for the callback of a timer that was cancelled."""


class TimerWheel:
    """Timers in buckets of one tick. No clock inside: `now` comes in, the next wake-up goes out.

    Setting and cancelling are O(1) but for the first timer of a tick, which costs a heap push.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._ticks: list[int] = []

    def set(self, now: float, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Return a timer that calls back no earlier than `now + delay_s`, at most two ticks later."""
        tick = int((now + max(delay_s, 0.0)) / TICK_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
        timer = Timer(callback, bucket)
        bucket[timer] = None
        return timer

    def next_deadline(self) -> float | None:
        """Return when `due` should be called next, or None while nothing is set."""
        while self._ticks and not self._buckets[self._ticks[0]]:
            del self._buckets[heapq.heappop(self._ticks)]
        return self._ticks[0] * TICK_S if self._ticks else None

    def due(self, now: float) -> list[Timer]:
        """Take out and return all timers whose tick has come, earliest first, for `Timer.fire`."""
        ripe: list[Timer] = []
        while self._ticks and self._ticks[0] * TICK_S <= now:
            ripe.extend(self._buckets.pop(heapq.heappop(self._ticks)))
        return ripe
