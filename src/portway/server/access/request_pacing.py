"""Rate of control requests per agent: a burst for all its tunnels, then a steady rate. Pure."""

BURST = 1000
"""Requests without delay: all claims of a large agent after a reconnect."""

PER_S = 50.0
"""Requests per second after the burst. Each takes 30 µs of a loop that all agents and visitors share, and may write a line of
the operator's log: without a limit one agent could send 30,000 per second, without end."""


class RequestPacer:
    """Token bucket of permits that fills at a steady rate. `now` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        """Start with a full burst."""
        self._permits = float(BURST)
        self._at = now

    def delay_s(self, now: float) -> float:
        """Take a permit; return the seconds to wait before its use, 0 while permits are available."""
        self._permits = min(self._permits + (now - self._at) * PER_S, BURST) - 1.0
        self._at = now
        return max(-self._permits / PER_S, 0.0)
