"""Login throttle: bounds unauthenticated links, and delays sources whose logins fail. Pure.

`now` is monotonic seconds.
"""

from collections.abc import Callable
from typing import Protocol

from portway.credentials.failure_delays import FailureDelays
from portway.errors import RefusedError, UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.sources import Sources
from portway.protocol.control import codes
from portway.protocol.source_key import source_key

UNAUTHENTICATED_MAX = 512
"""Unauthenticated links in total. Each takes about 60 kB (TLS, mux, message buffers), so at most 30 MB; after a restart 500 agents
may log in at once, also from one address. At the limit, links of the source that has most are evicted."""

WAIT_S_MAX = 300.0
"""The longest delay; with 256-bit secrets this only limits log lines and CPU time."""

KNOWN_WAIT_S_MAX = 2.0
"""The longest delay of a token at a source where it has logged in before: at most 30 guesses per minute."""


class Evictable(Protocol):
    """An unauthenticated link."""

    def evict(self) -> None:
        """Close the link: another source needs its slot."""


class LoginThrottle:
    """Admits unauthenticated links and remembers failed logins. Every method is synchronous, so each call is atomic.

    A failure delays its source, but not the tokens that have logged in from there before: one agent with an old token must not
    block the others behind the same NAT.
    """

    def __init__(self, sources: Sources, random: Callable[[], float], unauthenticated_max: int | None = None) -> None:
        """Start empty. `sources` is shared with the listener, `random` returns numbers in [0, 1).

        `unauthenticated_max` lowers UNAUTHENTICATED_MAX, for servers with few descriptors.
        """
        self._sources = sources
        self._slots: FairSlots[Evictable] = FairSlots(
            UNAUTHENTICATED_MAX if unauthenticated_max is None else min(unauthenticated_max, UNAUTHENTICATED_MAX), sources, random
        )
        self._delays = FailureDelays(WAIT_S_MAX, KNOWN_WAIT_S_MAX)

    @property
    def unauthenticated(self) -> int:
        """Number of unauthenticated links."""
        return len(self._slots)

    def admit(self, host: str, peer: Evictable, now: float) -> Callable[[], None]:
        """Give `peer` from `host` a slot, perhaps by evicting another one; return the function that releases the slot.

        Raises:
            RefusedError: `too_many_logins`, with the time to wait.
        """
        source = source_key(host)
        if not self._sources.is_known(source, now):
            self._check_delay(source, "", now)
        try:
            evicted = self._slots.acquire(source, peer, now)
        except UnavailableError as exc:
            raise _too_many_logins(f"too many links are logging in: {exc}", "Try again in a few seconds.") from None
        if evicted is not None:
            evicted.evict()
        return lambda: self._slots.release(source, peer)

    def check(self, host: str, token: str, now: float) -> None:
        """Check that a login with `token` from `host` is allowed now.

        Raises:
            RefusedError: `too_many_logins`, with the time to wait.
        """
        self._check_delay(source_key(host), token, now)

    def record_failure(self, host: str, now: float, token: str = "") -> None:
        """Record that a login from `host`, with `token` if it was sent, failed through the peer's fault."""
        self._delays.record_failure(source_key(host), token, now)

    def record_login(self, host: str, token: str, now: float) -> None:
        """Record that `token` has logged in from `host`."""
        source = source_key(host)
        self._sources.logged_in(source, now)
        self._delays.record_success(source, token, now)

    def _check_delay(self, source: str, token: str, now: float) -> None:
        wait_s = self._delays.wait_s(source, token, now)
        if wait_s > 0:
            raise _too_many_logins(
                f"{self._delays.failures(source, token, now)} logins from {source} failed",
                f"Try again in {wait_s:.0f} s, with the right join string.",
            )


def _too_many_logins(reason: str, next_step: str) -> RefusedError:
    return RefusedError(codes.TOO_MANY_LOGINS, reason, next_step)
