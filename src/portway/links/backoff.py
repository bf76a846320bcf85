"""When to dial again: at once the first time, then ever later, with jitter. No clock, no chance of its own."""

from collections.abc import Callable

FIRST_S = 0.1
"""The second try; the first is made at once."""
DELAY_S_MAX = 30.0
"""Never further apart: an outage of ten minutes must not cost ten more."""
STABLE_S_MIN = 5.0
"""A session that lived so long is worth a retry at once, and with it all is forgotten."""
SHORT_SESSIONS_MAX = 120
"""Sessions in a row that died younger and are still retried soon, 10 seconds in all: a network that flaps is worth that. A
server, or something before it, that ends every session right after the login is not, and it is asked ever more slowly."""


class Backoff:
    """Delays 0, ~0.1, ~0.2, ~0.4 … ~30 s, each spread over the upper half, so that many agents do not come back at once."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self._random = random
        self._failures = 0
        self._short_sessions = 0

    def next_delay_s(self) -> float:
        """Return how long to wait before the next try."""
        self._failures += 1
        if self._failures == 1:
            return 0.0
        ceiling: float = min(FIRST_S * 2 ** min(self._failures - 2, 16), DELAY_S_MAX)
        return ceiling * (0.5 + self._random() / 2)

    def session_ended(self, seconds: float) -> None:
        """Note that a session was logged in for `seconds` before it was lost."""
        if seconds >= STABLE_S_MIN:
            self._failures = self._short_sessions = 0
        elif self._short_sessions < SHORT_SESSIONS_MAX:
            self._short_sessions += 1
            self._failures = 1
