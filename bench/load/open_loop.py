"""The schedule of an open-loop load: when each request is due, and how long each took *from when it was due*.

A load generator that waits for an answer before it sends the next request hides exactly the requests that a stall
delayed ("coordinated omission"). Here the schedule never waits: a request that finds no free connection queues, and its time counts.
"""


class OpenLoop:
    """Requests at a fixed rate; pure arithmetic, the caller brings the time."""

    def __init__(self, start: float, rate_per_s: float, count: int) -> None:
        self._start = start
        self._interval_s = 1 / rate_per_s
        self._count = count
        self._taken = 0
        self.latencies_s: list[float] = []
        """Of every answered request, from its due time."""

    def next_due(self) -> float | None:
        """When the next request not yet sent is due, None when all were sent."""
        return None if self._taken == self._count else self._start + self._taken * self._interval_s

    def take(self, now: float) -> float | None:
        """The due time of a request to send now (the oldest first), or None when none is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        self._taken += 1
        return due

    def answered(self, due: float, now: float) -> None:
        """A request that was due at `due` has its whole answer."""
        self.latencies_s.append(now - due)

    def lost(self, now: float, in_flight: list[float]) -> int:
        """At the end: count those never answered with the time they have waited so far; returns how many there are."""
        unsent = []
        while (due := self.take(now)) is not None:
            unsent.append(due)
        for due in [*in_flight, *unsent]:
            self.latencies_s.append(now - due)
        return len(in_flight) + len(unsent)
