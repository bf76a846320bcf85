"""Schedule of an open-loop load: due times of requests, and latencies measured *from the due time*.

A load generator that waits for a response before it sends the next request omits exactly the requests that a stall
delayed ("coordinated omission"). This schedule never waits: a request without a free connection queues, and that time counts.
"""


class OpenLoop:
    """Requests at a fixed rate; pure arithmetic, the caller passes the time."""

    def __init__(self, start: float, rate_per_s: float, count: int) -> None:
        self._start = start
        self._interval_s = 1 / rate_per_s
        self._count = count
        self._taken = 0
        self.latencies_s: list[float] = []
        """Latencies of all requests, from their due times."""

    def next_due(self) -> float | None:
        """Return when the next unsent request is due, None when all were sent."""
        return None if self._taken == self._count else self._start + self._taken * self._interval_s

    def take(self, now: float) -> float | None:
        """Return the due time of a request to send now (the oldest first), or None when none is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        self._taken += 1
        return due

    def record_response(self, due: float, now: float) -> None:
        """Record that the response to the request due at `due` is complete."""
        self.latencies_s.append(now - due)

    def count_lost(self, now: float, in_flight: list[float]) -> int:
        """Record requests without a response with their waiting time so far; return their number. Call it at the end."""
        unsent = []
        while (due := self.take(now)) is not None:
            unsent.append(due)
        for due in [*in_flight, *unsent]:
            self.latencies_s.append(now - due)
        return len(in_flight) + len(unsent)
