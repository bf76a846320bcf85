"""Login throttle: bounds unauthenticated links, and delays sources whose logins fail. Pure.

`now` is monotonic seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from portway.errors import RefusedError, UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.sources import KNOWN_FOR_S, Sources
from portway.protocol.control import codes
from portway.protocol.source_key import source_key

UNAUTHENTICATED_MAX = 512
"""Unauthenticated links in total. Each takes about 60 kB (TLS, mux, message buffers), so at most 30 MB; after a restart 500 agents
may log in at once, also from one address. At the limit, links of the source that has most are evicted."""

FAILURES_WITHOUT_DELAY = 5
"""Failed logins before a source is delayed: a mistyped join string or two (threats Y6)."""

WAIT_S_MIN = 1.0
"""The first delay; each further failure doubles it."""

WAIT_S_MAX = 300.0
"""The longest delay; with 256-bit secrets this only limits log lines and CPU time."""

KNOWN_WAIT_S_MAX = 2.0
"""The longest delay of a token at a source where it has logged in before: at most 30 guesses per minute."""

FORGET_S = 600.0
"""Failures of a source are forgotten after this time without another one."""

SOURCES_MAX = 10_000
"""Sources remembered, about 2 MB; the one whose last failure is oldest is dropped first."""


T = TypeVar("T")


@dataclass(slots=True)
class _Failures:
    """Failed logins of one source or token."""

    count: int = 0
    last_at: float = 0.0
    """Time of the last one."""
    wait_until: float = 0.0


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
        self._failed: dict[str, _Failures] = {}
        """By source, or by source and token if that token has logged in from there; ordered by last failure."""
        self._logged_in: dict[str, float] = {}
        """Last login by source and token, oldest first."""

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
            self._check_delay(source, source, now)
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
        source = source_key(host)
        self._check_delay(self._key(source, token, now), source, now)

    def record_failure(self, host: str, now: float, token: str = "") -> None:
        """Record that a login from `host`, with `token` if it was sent, failed through the peer's fault."""
        source = source_key(host)
        key = self._key(source, token, now)
        failures = self._failed.pop(key, None)
        if failures is None or now - failures.last_at > FORGET_S:
            failures = _Failures()
        failures.count += 1
        failures.last_at = now
        if failures.count >= FAILURES_WITHOUT_DELAY:
            longest_s = WAIT_S_MAX if key == source else KNOWN_WAIT_S_MAX
            failures.wait_until = now + min(WAIT_S_MIN * 2.0 ** min(failures.count - FAILURES_WITHOUT_DELAY, 16), longest_s)
        self._failed[key] = failures
        _drop_oldest(self._failed)

    def record_login(self, host: str, token: str, now: float) -> None:
        """Record that `token` has logged in from `host`."""
        source = source_key(host)
        self._sources.logged_in(source, now)
        pair = _pair(source, token)
        self._logged_in.pop(pair, None)
        self._logged_in[pair] = now
        _drop_oldest(self._logged_in)

    def _key(self, source: str, token: str, now: float) -> str:
        """Return the key for failures of `token` at `source`."""
        pair = _pair(source, token)
        at = self._logged_in.get(pair)
        return source if at is None or now - at > KNOWN_FOR_S else pair

    def _check_delay(self, key: str, source: str, now: float) -> None:
        failures = self._failed.get(key)
        if failures is not None and now < failures.wait_until:
            wait_s = failures.wait_until - now
            raise _too_many_logins(
                f"{failures.count} logins from {source} failed", f"Try again in {wait_s:.0f} s, with the right join string."
            )


def _pair(source: str, token: str) -> str:
    return f"{source} {token}"


def _drop_oldest(table: dict[str, T]) -> None:
    if len(table) > SOURCES_MAX:
        del table[next(iter(table))]


def _too_many_logins(reason: str, next_step: str) -> RefusedError:
    return RefusedError(codes.TOO_MANY_LOGINS, reason, next_step)
