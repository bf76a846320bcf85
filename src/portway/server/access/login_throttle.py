"""Who may try to log in right now: few strangers at a time, and fewer tries for whoever fails. Pure.

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
"""Links in all that have not logged in. Each holds about 60 kB (TLS, mux, message buffers), so 30 MB at most; after a
restart 500 agents may log in at once, also from one address. Under pressure the source that holds most gives way."""

FAILURES_WITHOUT_DELAY = 5
"""Failed logins before a source has to wait: a mistyped join string or two (threats Y6)."""

WAIT_S_MIN = 1.0
"""The first wait; each further failure doubles it."""

WAIT_S_MAX = 300.0
"""The longest wait; with 256-bit secrets this only keeps logs and CPU quiet."""

KNOWN_WAIT_S_MAX = 2.0
"""The longest wait of a token at a source where it logged in before: half of a minute's guesses that anybody may have."""

FORGET_S = 600.0
"""A source that was quiet for so long starts afresh."""

SOURCES_MAX = 10_000
"""Sources remembered, about 2 MB; the one that has been quiet longest makes room."""


T = TypeVar("T")


@dataclass(slots=True)
class _Failures:
    """Logins that failed."""

    count: int = 0
    at: float = 0.0
    """When the last one did."""
    wait_until: float = 0.0


class UnauthenticatedPeer(Protocol):
    """Whoever has not logged in yet."""

    def give_way(self) -> None:
        """Leave: the place is needed for another source."""


class LoginThrottle:
    """Counts strangers and remembers failures. Every method is synchronous, so each call is atomic.

    A failure makes its source wait, and not the tokens that have logged in there before: one agent with an old token must not keep
    the others of its office out.
    """

    def __init__(self, sources: Sources, random: Callable[[], float], strangers_max: int | None = None) -> None:
        """Start with nobody at the gate. `sources` is shared with the listener, `random` returns numbers in [0, 1).

        `strangers_max` is for a server that cannot have STRANGERS_MAX.
        """
        self._sources = sources
        self._slots: FairSlots[UnauthenticatedPeer] = FairSlots(
            UNAUTHENTICATED_MAX if strangers_max is None else min(strangers_max, UNAUTHENTICATED_MAX), sources, random
        )
        self._failed: dict[str, _Failures] = {}
        """By source, or by source and token where that has logged in before; the one that failed last is last."""
        self._logged_in: dict[str, float] = {}
        """When which token logged in from which source, the last one last."""

    @property
    def strangers(self) -> int:
        """Links that have not logged in yet."""
        return len(self._slots)

    def enter(self, host: str, stranger: UnauthenticatedPeer, now: float) -> Callable[[], None]:
        """Let a stranger from `host` try, and return what to call when the try is over; another one may have to give way.

        Raises:
            RefusedError: `too_many_logins`, with when to come back.
        """
        source = source_key(host)
        if not self._sources.is_known(source, now):
            self._check_wait(source, source, now)
        try:
            loser = self._slots.acquire(source, stranger, now)
        except UnavailableError as exc:
            raise _later(f"too many links are logging in: {exc}", "Try again in some seconds.") from None
        if loser is not None:
            loser.give_way()
        return lambda: self._slots.release(source, stranger)

    def check(self, host: str, token: str, now: float) -> None:
        """Make sure that `token` may be tried from `host` now.

        Raises:
            RefusedError: `too_many_logins`, with when to come back.
        """
        source = source_key(host)
        self._check_wait(self._key(source, token, now), source, now)

    def failed(self, host: str, now: float, token: str = "") -> None:
        """Note that a login from `host`, with `token` if it came so far, failed for a reason of its own."""
        source = source_key(host)
        key = self._key(source, token, now)
        known = self._failed.pop(key, None)
        if known is None or now - known.at > FORGET_S:
            known = _Failures()
        known.count += 1
        known.at = now
        if known.count >= FAILURES_WITHOUT_DELAY:
            longest_s = WAIT_S_MAX if key == source else KNOWN_WAIT_S_MAX
            known.wait_until = now + min(WAIT_S_MIN * 2.0 ** min(known.count - FAILURES_WITHOUT_DELAY, 16), longest_s)
        self._failed[key] = known
        _bound(self._failed)

    def logged_in(self, host: str, token: str, now: float) -> None:
        """Note that `token` has logged in from `host`."""
        source = source_key(host)
        self._sources.logged_in(source, now)
        pair = _pair(source, token)
        self._logged_in.pop(pair, None)
        self._logged_in[pair] = now
        _bound(self._logged_in)

    def _key(self, source: str, token: str, now: float) -> str:
        """Return under which name failures of `token` at `source` are kept."""
        pair = _pair(source, token)
        at = self._logged_in.get(pair)
        return source if at is None or now - at > KNOWN_FOR_S else pair

    def _check_wait(self, key: str, source: str, now: float) -> None:
        known = self._failed.get(key)
        if known is not None and now < known.wait_until:
            wait_s = known.wait_until - now
            raise _later(f"{known.count} logins from {source} failed", f"Try again in {wait_s:.0f} s, with the right join string.")


def _pair(source: str, token: str) -> str:
    return f"{source} {token}"


def _bound(table: dict[str, T]) -> None:
    if len(table) > SOURCES_MAX:
        del table[next(iter(table))]


def _later(reason: str, next_step: str) -> RefusedError:
    return RefusedError(codes.TOO_MANY_LOGINS, reason, next_step)
