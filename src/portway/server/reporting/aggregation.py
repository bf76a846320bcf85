"""Tells of what may happen thousands of times a second: the first ones at once, the others as a sum now and then."""

from collections.abc import Callable
from typing import Generic, TypeVar

from portway.engine.reactor import Reactor

T = TypeVar("T")

EVERY_S = 10.0
"""From one sum to the next: a flood is six lines a minute, however fast it is, and no line comes without news."""


class EventAggregator(Generic[T]):
    """Counts one kind of thing. Costs an addition while a sum is being gathered."""

    def __init__(self, reactor: Reactor, tell: Callable[[T, int], None], *, singles_max: int = 1, every_s: float = EVERY_S) -> None:
        """`tell` gets a thing and 1, for the first `singles_max` of a time; then the last thing, and how many there were."""
        self._reactor = reactor
        self._tell = tell
        self._singles_max = singles_max
        self._every_s = every_s
        self._singles = 0
        self._more = 0
        self._last: T | None = None
        self._gathering = False

    def record(self, thing: T) -> None:
        """Count one more."""
        if not self._gathering:
            self._gather(0)
        if self._singles < self._singles_max:
            self._singles += 1
            self._tell(thing, 1)
        else:
            self._more += 1
            self._last = thing

    def _gather(self, singles: int) -> None:
        self._gathering, self._singles = True, singles
        self._reactor.call_later(self._every_s, self._sum_up)

    def _sum_up(self) -> None:
        self._gathering = False
        more, last = self._more, self._last
        self._more, self._last = 0, None
        if more and last is not None:
            self._gather(self._singles_max)  # a sum is all that is told of the time that follows, too
            self._tell(last, more)
