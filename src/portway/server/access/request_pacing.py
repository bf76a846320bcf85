"""How fast one agent may ask things: a burst for all its tunnels, then a steady rate. Pure."""

BURST = 1000
"""Requests that are answered at once: all claims of a large agent after a reconnect."""

PER_S = 50.0
"""Requests a second from then on. Each takes 30 µs of a loop that all agents and visitors share, and may write a line
of the operator's log: without a pace one agent was answered 30,000 times a second, for as long as it liked."""


class RequestPacer:
    """A bucket of permits that fills at a steady rate. `now` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        """Start with a whole burst."""
        self._permits = float(BURST)
        self._at = now

    def delay_s(self, now: float) -> float:
        """Take a permit and return how many seconds to wait before it may be used, 0 while there are any."""
        self._permits = min(self._permits + (now - self._at) * PER_S, BURST) - 1.0
        self._at = now
        return max(-self._permits / PER_S, 0.0)
