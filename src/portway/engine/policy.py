"""Limits of relays, and checks whether a relay exceeds them. Pure: time and byte counts are arguments."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeVar

from portway.engine.tally import IDLE, LIFETIME, TOO_SLOW
from portway.errors import ConfigError

MINUTE_S = 60.0
"""Period of `min_rate_bpm`: whole minutes from the relay's start, so that a pause within one is allowed."""

CHECKS_PER_IDLE_TIMEOUT = 4
"""Checks per idle timeout: a relay ends at most a quarter of that time late."""

NEVER = float("inf")

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of the relays of a tunnel or a token; None means no limit.

    Rates delay: faster data waits, and back-pressure reaches the sender. Every other limit ends the relay with a reset that
    both sides see, so truncated data never looks complete.
    """

    idle_timeout_s: float | None = None
    """Seconds without data in either direction."""
    min_rate_bpm: int | None = None
    """Minimum of bytes per minute, both directions combined."""
    max_rate_bps: int | None = None
    """Bytes (not bits) per second of one relay, in each direction."""
    bandwidth_bps: int | None = None
    """Bytes (not bits) per second that all relays of the tunnel or token share equally, in each direction."""
    max_lifetime_s: float | None = None
    """Seconds from the relay's start."""
    max_total_payload: int | None = None
    """Maximum of bytes, both directions combined: exactly as many are delivered, and the next one ends the relay."""

    def __post_init__(self) -> None:
        """Reject limits that are not positive.

        Raises:
            ConfigError: a limit of 0, below 0 or without bound.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value < NEVER:
                raise ConfigError(f"{field.name.removesuffix('_s')}: invalid limit {value:g}: expected more than 0")

    @property
    def is_unlimited(self) -> bool:
        """True when the policy has no limit, so that it costs nothing."""
        return self == UNLIMITED

    def check(self) -> "Policy":
        """Return this policy if its limits are compatible.

        Raises:
            ConfigError: no relay could meet all of them.
        """
        fastest = min(self.max_rate_bps or NEVER, self.bandwidth_bps or NEVER) * MINUTE_S
        if self.min_rate_bpm is not None and self.min_rate_bpm >= fastest:
            raise ConfigError(
                f"min_rate_bpm: invalid minimum of {self.min_rate_bpm} bytes per minute: expected less than the maximum rate, {fastest:.0f} per minute"
            )
        return self

    @property
    def has_time_limits(self) -> bool:
        """True when a relay needs periodic checks."""
        return self.idle_timeout_s is not None or self.min_rate_bpm is not None or self.max_lifetime_s is not None


UNLIMITED = Policy()


def strictest(policies: Iterable[Policy]) -> Policy:
    """Return the combination of these policies: the strictest value of each limit, without the shared bandwidths."""
    found = list(policies)
    if len(found) == 1:
        return found[0]
    return Policy(
        idle_timeout_s=_least(policy.idle_timeout_s for policy in found),
        min_rate_bpm=max((policy.min_rate_bpm for policy in found if policy.min_rate_bpm is not None), default=None),
        max_rate_bps=_least(policy.max_rate_bps for policy in found),
        max_lifetime_s=_least(policy.max_lifetime_s for policy in found),
        max_total_payload=_least(policy.max_total_payload for policy in found),
    )


def _least(values: Iterable[N | None]) -> N | None:
    return min((value for value in values if value is not None), default=None)


class PolicyMonitor:
    """Checks the time limits of one relay, at times that it chooses. It compares byte counts, so nothing is recorded per byte."""

    __slots__ = ("_ends_at", "_idle_s", "_minute_at", "_minute_bytes", "_minute_least", "_moved_at", "_seen_bytes")

    def __init__(self, policy: Policy, now: float) -> None:
        """Start at `now`, with no bytes moved."""
        self._ends_at = NEVER if policy.max_lifetime_s is None else now + policy.max_lifetime_s
        self._idle_s = policy.idle_timeout_s or NEVER
        self._minute_least = policy.min_rate_bpm or 0
        self._minute_at = now + MINUTE_S
        self._minute_bytes = 0
        self._seen_bytes = 0
        self._moved_at = now

    def check(self, now: float, moved_bytes: int) -> tuple[str, float]:
        """Return why the relay has to end, or nothing, and when to check again; `moved_bytes` counts both directions."""
        if moved_bytes != self._seen_bytes:
            self._seen_bytes, self._moved_at = moved_bytes, now
        if now >= self._ends_at:
            return LIFETIME, NEVER
        if now - self._moved_at >= self._idle_s:
            return IDLE, NEVER
        if now >= self._minute_at:
            if moved_bytes - self._minute_bytes < self._minute_least:
                return TOO_SLOW, NEVER
            self._minute_at, self._minute_bytes = now + MINUTE_S, moved_bytes
        idle_at = min(now + self._idle_s / CHECKS_PER_IDLE_TIMEOUT, self._moved_at + self._idle_s)
        return "", min(idle_at, self._ends_at, self._minute_at if self._minute_least else NEVER)
