"""What is known of the addresses that links come from: who has logged in before, and how much handshakes may cost. Pure.

`now` is monotonic seconds.
"""

from typing import TypeVar

HANDSHAKES_BURST = 1024
"""TLS handshakes that a source may have begun without a login that followed: an office of 500 agents that come back after a
restart, each at its second try. One takes 0.4 to 1 ms of the core."""

HANDSHAKES_PER_S = 16.0
"""So many more a second: health checks, scanners, an agent with a wrong clock; 1.6 % of the core at most for each source."""

KNOWN_FOR_S = 86_400.0
"""How long a source is known after a login: an agent that was online yesterday is no stranger."""

SOURCES_MAX = 10_000
"""Sources remembered of each kind, about 2 MB; the one that was seen least lately makes room."""


T = TypeVar("T")


class Sources:
    """Sources (see `source_of`) of one process. Every method is synchronous, so each call is atomic."""

    def __init__(self) -> None:
        """Know nobody."""
        self._logged_in: dict[str, float] = {}
        """When the last login was, least lately first."""
        self._permits: dict[str, tuple[float, float]] = {}
        """Permits for handshakes, and when they were counted."""

    def logged_in(self, source: str, now: float) -> None:
        """Note a login, which also gives back the permit of its handshake."""
        _put_last(self._logged_in, source, now)
        known = self._permits.get(source)
        if known is not None:
            self._permits[source] = (known[0] + 1, known[1])

    def is_known(self, source: str, now: float) -> bool:
        """Return whether somebody has logged in from there lately."""
        at = self._logged_in.get(source)
        return at is not None and now - at < KNOWN_FOR_S

    def may_begin(self, source: str, now: float) -> bool:
        """Take a permit for a handshake; False when the source has used up its own."""
        permits, at = self._permits.get(source, (float(HANDSHAKES_BURST), now))
        permits = min(permits + (now - at) * HANDSHAKES_PER_S, HANDSHAKES_BURST)
        may = permits >= 1
        _put_last(self._permits, source, (permits - may, now))
        return may


def _put_last(table: dict[str, T], source: str, value: T) -> None:
    table.pop(source, None)
    table[source] = value
    if len(table) > SOURCES_MAX:
        del table[next(iter(table))]
