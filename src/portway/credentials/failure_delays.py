"""Delays for sources whose attempts fail, which leave those alone that have succeeded there before. Pure.

`now` is monotonic seconds.
"""

from dataclasses import dataclass
from typing import TypeVar

from portway.links.sources import KNOWN_FOR_S

FAILURES_WITHOUT_DELAY = 5
"""Failures before a source is delayed: a mistyped secret or two (threats Y6)."""

WAIT_S_MIN = 1.0
"""The first delay; each further failure doubles it."""

FORGET_S = 600.0
"""Failures of a source are forgotten after this time without another one."""

SOURCES_MAX = 10_000
"""Sources remembered, about 2 MB; the one whose last failure is oldest is dropped first."""

T = TypeVar("T")


@dataclass(slots=True)
class _Failures:
    """Failures of one source, or of one subject at a source."""

    count: int = 0
    last_at: float = 0.0
    """Time of the last one."""
    wait_until: float = 0.0


class FailureDelays:
    """Remembers failures by source, and successes by source and subject (a token, a user).

    A failure delays its source, but not the subjects that have succeeded from there before: one mistake must not block
    the others behind the same NAT. Every method is synchronous, so each call is atomic.
    """

    def __init__(self, wait_s_max: float, known_wait_s_max: float, *, forgiven: int = 0) -> None:
        """Delay a source for at most `wait_s_max`, and a subject that is known at its source for at most `known_wait_s_max`.

        The first success of a subject forgives its source so many failures: many honest people make mistakes, too.
        """
        self._wait_s_max = wait_s_max
        self._known_wait_s_max = known_wait_s_max
        self._forgiven = forgiven
        self._failed: dict[str, _Failures] = {}
        """By source, or by source and subject if that is known; ordered by last failure."""
        self._succeeded: dict[str, float] = {}
        """Last success by source and subject, oldest first."""

    def wait_s(self, source: str, subject: str, now: float) -> float:
        """Return how long an attempt of `subject` (empty: of anyone unknown) from `source` has to wait; 0 if it is allowed now."""
        failures = self._failed.get(self._key(source, subject, now))
        return 0.0 if failures is None else max(0.0, failures.wait_until - now)

    def failures(self, source: str, subject: str, now: float) -> int:
        """Return the number of failures that are remembered."""
        failures = self._failed.get(self._key(source, subject, now))
        return 0 if failures is None else failures.count

    def record_failure(self, source: str, subject: str, now: float) -> None:
        """Record that an attempt failed through the peer's fault."""
        key = self._key(source, subject, now)
        failures = self._failed.pop(key, None)
        if failures is None or now - failures.last_at > FORGET_S:
            failures = _Failures()
        failures.count += 1
        failures.last_at = now
        if failures.count >= FAILURES_WITHOUT_DELAY:
            longest_s = self._wait_s_max if key == source else self._known_wait_s_max
            failures.wait_until = now + min(WAIT_S_MIN * 2.0 ** min(failures.count - FAILURES_WITHOUT_DELAY, 16), longest_s)
        self._failed[key] = failures
        _drop_oldest(self._failed)

    def record_success(self, source: str, subject: str, now: float) -> None:
        """Record that `subject` has succeeded from `source`."""
        pair = _pair(source, subject)
        failures = self._failed.get(source)
        if failures is not None and self._forgiven and not self._is_known(pair, now):
            failures.count = max(0, failures.count - self._forgiven)
        self._succeeded.pop(pair, None)
        self._succeeded[pair] = now
        _drop_oldest(self._succeeded)

    def _key(self, source: str, subject: str, now: float) -> str:
        """Return the key for failures of `subject` at `source`."""
        pair = _pair(source, subject)
        return pair if subject and self._is_known(pair, now) else source

    def _is_known(self, pair: str, now: float) -> bool:
        at = self._succeeded.get(pair)
        return at is not None and now - at <= KNOWN_FOR_S


def _pair(source: str, subject: str) -> str:
    return f"{source} {subject}"


def _drop_oldest(table: dict[str, T]) -> None:
    if len(table) > SOURCES_MAX:
        del table[next(iter(table))]
