"""A coarse timer wheel: one entry in the outer loop, however many deadlines there are."""

import heapq
from collections.abc import Callable

TICK_S = 0.05
"""Deadlines here are heads, pings and idle limits, seconds long; 50 ms is close enough and keeps buckets few."""
NEAR_S = 60.0
"""Deadlines up to this far away have a bucket for each tick, 1,200 of them. Nearly all timers of visitors are nearer."""
FAR_SLOT_BITS = 6
"""A deadline further away waits in a bucket that is 1/64 to 1/32 of that distance wide: at most 65 buckets for each
doubling, so 1,500 up to the longest deadline that an agent may ask for (1e9 s), however many timers come and go."""


class Timer:
    """A deadline that was asked for; `cancel` forgets it (at once, so that it pins nothing)."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], None], bucket: "dict[Timer, int]") -> None:
        """Stand in `bucket` until fired or cancelled."""
        self.callback = callback
        self._bucket: dict[Timer, int] | None = bucket

    def cancel(self) -> None:
        """Never call back; may be called twice and after the timer has fired."""
        bucket = self._bucket
        if bucket is not None:
            bucket.pop(self, None)
            if not bucket:
                bucket.clear()  # a dict never shrinks by itself, and a far bucket stays for days
            self._bucket = None
            self.callback = _forgotten  # it holds whoever holds this timer: a cycle, which only a collector would find

    def fire(self) -> None:
        """Call back, unless it was cancelled meanwhile (by a timer of the same tick, say)."""
        if self._bucket is not None:
            self._bucket = None
            self.callback()
            self.callback = _forgotten  # not before: the reactor finds the owner of a callback that failed by it

    def move(self, bucket: "dict[Timer, int]") -> None:
        """Wait in another bucket of the same wheel."""
        self._bucket = bucket


def _forgotten() -> None:
    """Stand in for the callback of a timer that is over."""


class TimerWheel:
    """Timers in buckets of one tick; far ones in coarse buckets first, from which they move on as their time comes nearer.

    No clock inside: `now` comes in, the next wake-up goes out. Setting and cancelling are O(1) but for the first timer of
    a bucket, which costs a heap push. A far timer moves five times at most (each time what is left is a 32nd or less).
    Empty buckets stay until their tick has come, so how many there are is bounded by time (see NEAR_S and FAR_SLOT_BITS)
    and not by how many timers were set.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, dict[Timer, int]] = {}
        """By the tick at which to look at them; each timer with the tick at which it is due, that one or a later one."""
        self._ticks: list[int] = []

    @property
    def buckets(self) -> int:
        """How many buckets there are, empty ones included."""
        return len(self._buckets)

    def set(self, now: float, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Return a timer that calls back no earlier than `now + delay_s`, at most two ticks later."""
        tick = look_at = int((now + max(delay_s, 0.0)) / TICK_S) + 1
        if delay_s > NEAR_S:
            look_at = _slot(int(now / TICK_S), tick)
        bucket = self._buckets.get(look_at)
        if bucket is None:
            bucket = self._add_bucket(look_at)
        timer = Timer(callback, bucket)
        bucket[timer] = tick
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
            at = heapq.heappop(self._ticks)
            for timer, tick in self._buckets.pop(at).items():
                if tick == at:
                    ripe.append(timer)
                else:
                    self._move_nearer(timer, at, tick)
        return ripe

    def _move_nearer(self, timer: Timer, at: int, tick: int) -> None:
        """Put a timer that is due at `tick`, and was looked at at `at`, where it belongs from then on."""
        look_at = tick if tick - at <= NEAR_S / TICK_S else _slot(at, tick)
        bucket = self._buckets.get(look_at)
        if bucket is None:
            bucket = self._add_bucket(look_at)
        bucket[timer] = tick
        timer.move(bucket)

    def _add_bucket(self, tick: int) -> dict[Timer, int]:
        bucket = self._buckets[tick] = {}
        heapq.heappush(self._ticks, tick)
        return bucket


def _slot(now_tick: int, tick: int) -> int:
    """Return the tick at which the coarse bucket begins that a far `tick` lies in; always later than `now_tick`."""
    shift = (tick - now_tick).bit_length() - FAR_SLOT_BITS
    return tick >> shift << shift
