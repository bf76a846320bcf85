"""Who may try to log in right now: few strangers at a time, and fewer tries for whoever fails. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.errors import RefusedError
from portway.protocol.control import codes
from portway.protocol.sources import source_of

STRANGERS_MAX = 512
"""Links in all that have not logged in. Each holds about 60 kB (TLS, mux, message buffers), so 30 MB at most; after a
restart 500 agents may log in at once."""

STRANGERS_PER_SOURCE_MAX = 128
"""The same from one address: an office behind one NAT after a restart, but a quarter of all places at most."""

FREE_FAILURES = 5
"""Failed logins before a source has to wait: a mistyped join string or two (threats Y6)."""

WAIT_S_MIN = 1.0
"""The first wait; each further failure doubles it."""

WAIT_S_MAX = 300.0
"""The longest wait; with 256-bit secrets this only keeps logs and CPU quiet."""

FORGET_S = 600.0
"""A source that was quiet for so long starts afresh."""

SOURCES_MAX = 10_000
"""Sources remembered, about 2 MB; the one that has been quiet longest makes room."""


@dataclass(slots=True)
class _Source:
    """What is remembered of one address."""

    failures: int = 0
    failed_at: float = 0.0
    wait_until: float = 0.0


class Gate:
    """Counts strangers and remembers failures.

    Every method is synchronous, so each call is atomic. `now` is monotonic seconds.
    """

    def __init__(self) -> None:
        """Start with nobody at the gate."""
        self._strangers: dict[str, int] = {}
        self._count = 0
        self._sources: dict[str, _Source] = {}

    @property
    def strangers(self) -> int:
        """Links that have not logged in yet."""
        return self._count

    def enter(self, host: str, now: float) -> Callable[[], None]:
        """Let a stranger from `host` try, and return what to call, once, when the try is over.

        Raises:
            RefusedError: `too_many_logins`, with when to come back.
        """
        source = source_of(host)
        if self._count >= STRANGERS_MAX:
            raise _later(f"{self._count} links are logging in already", "Try again in some seconds.")
        if self._strangers.get(source, 0) >= STRANGERS_PER_SOURCE_MAX:
            raise _later(f"{STRANGERS_PER_SOURCE_MAX} links from {source} are logging in already", "Try again in some seconds.")
        known = self._sources.get(source)
        if known is not None and now < known.wait_until:
            wait_s = known.wait_until - now
            raise _later(f"{known.failures} logins from {source} failed", f"Try again in {wait_s:.0f} s, with the right join string.")
        self._count += 1
        self._strangers[source] = self._strangers.get(source, 0) + 1
        return self._leaver(source)

    def failed(self, host: str, now: float) -> None:
        """Note that a login from `host` failed for a reason of its own."""
        source = source_of(host)
        known = self._sources.pop(source, None)
        if known is None or now - known.failed_at > FORGET_S:
            known = _Source()
        known.failures += 1
        known.failed_at = now
        if known.failures >= FREE_FAILURES:
            known.wait_until = now + min(WAIT_S_MIN * 2.0 ** min(known.failures - FREE_FAILURES, 16), WAIT_S_MAX)
        self._sources[source] = known  # at the end: the order is that of the last failure
        if len(self._sources) > SOURCES_MAX:
            del self._sources[next(iter(self._sources))]

    def _leaver(self, source: str) -> Callable[[], None]:
        inside = True

        def leave() -> None:
            nonlocal inside
            if not inside:
                return
            inside = False
            self._count -= 1
            self._strangers[source] -= 1
            if not self._strangers[source]:
                del self._strangers[source]

        return leave


def _later(reason: str, next_step: str) -> RefusedError:
    return RefusedError(codes.TOO_MANY_LOGINS, reason, next_step)
