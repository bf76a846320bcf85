"""Rate-limits events: reports the first ones individually, the rest as a count every few seconds."""

from collections.abc import Callable
from typing import Generic, TypeVar

from portway.engine.reactor import Reactor

T = TypeVar("T")

EVERY_S = 10.0
"""Interval between counts: a flood is six lines per minute, however fast it is. Nothing is reported while nothing happens."""


class EventAggregator(Generic[T]):
    """Aggregates one kind of event. During a flood, an event costs an addition."""

    def __init__(self, reactor: Reactor, emit: Callable[[T, int], None], *, singles_max: int = 1, every_s: float = EVERY_S) -> None:
        """`emit` receives an item and 1 for the first `singles_max` items of an interval; then the last item and the number of all others."""
        self._reactor = reactor
        self._emit = emit
        self._singles_max = singles_max
        self._every_s = every_s
        self._singles = 0
        self._counted = 0
        self._last: T | None = None
        self._collecting = False

    def record(self, item: T) -> None:
        """Report one item, or count it."""
        if not self._collecting:
            self._start_interval(0)
        if self._singles < self._singles_max:
            self._singles += 1
            self._emit(item, 1)
        else:
            self._counted += 1
            self._last = item

    def _start_interval(self, singles: int) -> None:
        self._collecting, self._singles = True, singles
        self._reactor.call_later(self._every_s, self._end_interval)

    def _end_interval(self) -> None:
        self._collecting = False
        counted, last = self._counted, self._last
        self._counted, self._last = 0, None
        if counted and last is not None:
            self._start_interval(self._singles_max)  # the flood may go on: the next interval is one count, too
            self._emit(last, counted)
