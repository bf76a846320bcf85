"""When to dial again: at once the first time, then ever later, with jitter. No clock, no chance of its own."""

from collections.abc import Callable

FIRST_S = 0.2
"""The second try; the first is made at once."""
DELAY_S_MAX = 30.0
"""Never further apart: an outage of ten minutes must not cost ten more."""
LIVED_S_MIN = 1.0
"""A session that lived so long is worth a retry at once; a shorter one counts as the first failure, against tight loops."""


class Backoff:
    """Delays 0, ~0.2, ~0.4, ~0.8 … ~30 s, each spread over the upper half, so that many agents do not come back at once."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self._random = random
        self._failures = 0

    def next_delay_s(self) -> float:
        """Return how long to wait before the next try."""
        self._failures += 1
        if self._failures == 1:
            return 0.0
        ceiling: float = min(FIRST_S * 2 ** min(self._failures - 2, 16), DELAY_S_MAX)
        return ceiling * (0.5 + self._random() / 2)

    def lived(self, seconds: float) -> None:
        """Note that a session was logged in for `seconds` before it was lost."""
        self._failures = 0 if seconds >= LIVED_S_MIN else 1
