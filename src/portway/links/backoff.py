"""Exponential back-off with jitter for dials; the first retry is immediate. Pure: it reads no clock, and randomness is an argument."""

from collections.abc import Callable

FIRST_S = 0.1
"""Delay of the second retry; the first one is immediate."""
DELAY_S_MAX = 30.0
"""Upper bound, so that an outage of ten minutes does not cost ten more."""
STABLE_S_MIN = 5.0
"""A session of at least this length resets the back-off."""
SHORT_SESSIONS_MAX = 120
"""Consecutive shorter sessions that are still retried soon, 10 seconds in total, for unstable networks. A server or a proxy that ends
every session right after the login is retried ever more slowly."""


class Backoff:
    """Delays of 0, ~0.1, ~0.2, ~0.4 … ~30 s, each random within its upper half, so that many agents do not reconnect at once."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self._random = random
        self._failures = 0
        self._short_sessions = 0

    def next_delay_s(self) -> float:
        """Return the delay before the next attempt."""
        self._failures += 1
        if self._failures == 1:
            return 0.0
        ceiling: float = min(FIRST_S * 2 ** min(self._failures - 2, 16), DELAY_S_MAX)
        return ceiling * (0.5 + self._random() / 2)

    def session_ended(self, seconds: float) -> None:
        """Record that a session was lost `seconds` after its login."""
        if seconds >= STABLE_S_MIN:
            self._failures = self._short_sessions = 0
        elif self._short_sessions < SHORT_SESSIONS_MAX:
            self._short_sessions += 1
            self._failures = 1
