"""A coarse timer wheel: one timer of the asyncio loop for any number of deadlines."""

import heapq
from collections.abc import Callable

TICK_S = 0.05
"""Deadlines are those of heads, pings and idle limits, seconds long; 50 ms are precise enough and keep the number of buckets low."""
NEAR_S = 60.0
"""Deadlines within this time have one bucket per tick, 1,200 in all. Nearly all timers of visitors are nearer."""
FAR_SLOT_BITS = 6
"""Later deadlines wait in buckets as wide as 1/64 to 1/32 of the distance: at most 65 buckets per doubling, so 1,500 up to the longest
deadline that an agent can request (1e9 s), for any number of timers."""


class Timer:
    """A pending deadline; `cancel` removes it at once, with all references."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], None], bucket: "dict[Timer, int]") -> None:
        """Create a timer in `bucket`, where it stays until fired or cancelled."""
        self.callback = callback
        self._bucket: dict[Timer, int] | None = bucket

    def cancel(self) -> None:
        """Never call back; may be called twice and after the timer has fired."""
        bucket = self._bucket
        if bucket is not None:
            bucket.pop(self, None)
            if not bucket:
                bucket.clear()  # a dict never shrinks by itself, and a coarse bucket may exist for days
            self._bucket = None
            self.callback = _forgotten  # the callback usually refers to the owner of this timer, which would be a reference cycle

    def fire(self) -> None:
        """Call back, unless it was cancelled meanwhile (by a timer of the same tick, say)."""
        if self._bucket is not None:
            self._bucket = None
            self.callback()
            self.callback = _forgotten  # not before the call: the reactor uses it to find the owner of a failed callback

    def move(self, bucket: "dict[Timer, int]") -> None:
        """Record that the timer was moved to another bucket of the same wheel."""
        self._bucket = bucket


def _forgotten() -> None:
    """Do nothing: the callback of a timer that was fired or cancelled."""


class TimerWheel:
    """Timers in buckets of one tick; distant ones start in coarse buckets and move to finer ones as their deadline approaches.

    It reads no clock: `now` is an argument, the next wake-up a result. Setting and cancelling are O(1), except for the first
    timer of a bucket, which costs a heap push. A distant timer moves at most five times (the remaining time shrinks to a 32nd
    or less each time). Empty buckets stay until their tick, so their number is bounded by time (see NEAR_S and FAR_SLOT_BITS)
    and not by the number of timers.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, dict[Timer, int]] = {}
        """By the tick at which to process them; each timer maps to the tick at which it is due, the same or a later one."""
        self._ticks: list[int] = []

    @property
    def buckets(self) -> int:
        """Number of buckets, including empty ones."""
        return len(self._buckets)

    def set(self, now: float, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Return a timer that calls back no earlier than `now + delay_s`, at most two ticks later."""
        tick = check_at = int((now + max(delay_s, 0.0)) / TICK_S) + 1
        if delay_s > NEAR_S:
            check_at = _slot(int(now / TICK_S), tick)
        bucket = self._buckets.get(check_at)
        if bucket is None:
            bucket = self._add_bucket(check_at)
        timer = Timer(callback, bucket)
        bucket[timer] = tick
        return timer

    def next_deadline(self) -> float | None:
        """Return when `due` should be called next, or None while nothing is set."""
        while self._ticks and not self._buckets[self._ticks[0]]:
            del self._buckets[heapq.heappop(self._ticks)]
        return self._ticks[0] * TICK_S if self._ticks else None

    def due(self, now: float) -> list[Timer]:
        """Remove and return all due timers, earliest first, for `Timer.fire`."""
        due_timers: list[Timer] = []
        while self._ticks and self._ticks[0] * TICK_S <= now:
            at = heapq.heappop(self._ticks)
            for timer, tick in self._buckets.pop(at).items():
                if tick == at:
                    due_timers.append(timer)
                else:
                    self._move_nearer(timer, at, tick)
        return due_timers

    def _move_nearer(self, timer: Timer, at: int, tick: int) -> None:
        """Move a timer that is due at `tick`, and was processed at tick `at`, to its next bucket."""
        check_at = tick if tick - at <= NEAR_S / TICK_S else _slot(at, tick)
        bucket = self._buckets.get(check_at)
        if bucket is None:
            bucket = self._add_bucket(check_at)
        bucket[timer] = tick
        timer.move(bucket)

    def _add_bucket(self, tick: int) -> dict[Timer, int]:
        bucket = self._buckets[tick] = {}
        heapq.heappush(self._ticks, tick)
        return bucket


def _slot(now_tick: int, tick: int) -> int:
    """Return the first tick of the coarse bucket that contains a distant `tick`; always later than `now_tick`."""
    shift = (tick - now_tick).bit_length() - FAR_SLOT_BITS
    return tick >> shift << shift
