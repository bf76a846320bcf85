"""Timers and ready queue of the engine without a loop: the test advances the time, and wake-ups may be late."""

import random
from collections import deque
from collections.abc import Callable

from portway.engine.timers import Timer, TimerWheel


class Scheduler:
    """The scheduler interface that a bucket needs, on the real timer wheel."""

    def __init__(self, late_s: float = 0.0) -> None:
        """Start at an uneven time. `late_s` is the largest random delay of a wake-up."""
        self.now = 1000.0123
        self.fired = 0
        """Number of timers that have fired."""
        self._late_s = late_s
        self._dice = random.Random(5)
        self._ready: deque[Callable[[], None]] = deque()
        self._wheel = TimerWheel()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back at the end of the queue."""
        self._ready.append(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back later, on the wheel."""
        return self._wheel.set(self.now, delay_s, callback)

    @property
    def next_deadline(self) -> float | None:
        """The next deadline of the wheel."""
        return self._wheel.next_deadline()

    def settle(self) -> None:
        """Run the ready queue until it is empty."""
        while self._ready:
            self._ready.popleft()()

    def pass_time(self, seconds: float) -> None:
        """Advance the time by `seconds`, from wake-up to wake-up."""
        until = self.now + seconds
        self.settle()
        while (deadline := self._wheel.next_deadline()) is not None and deadline <= until:
            self.now = min(until, max(self.now, deadline) + self._dice.uniform(0, self._late_s))
            for timer in self._wheel.due(self.now):
                self.fired += 1
                timer.fire()
            self.settle()
        self.now = until
