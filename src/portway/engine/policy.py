"""What a relay may do, and when it has done too little or too much: pure, `now` and counts come in."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeVar

from portway.engine.tally import IDLE, LIFETIME, TOO_SLOW
from portway.errors import ConfigError

MINUTE_S = 60.0
"""What `min_rate_bpm` is counted over: whole minutes from the relay's start, so that a pause within one is forgiven."""

LOOKS = 4
"""How often a relay is looked at within its idle timeout: so it ends at most a quarter of that time late."""

NEVER = float("inf")

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of one relay, of a tunnel's or of a token's; None is no limit.

    Rates shape: what comes faster waits, and back-pressure reaches whoever sends it. Everything else ends the relay, with a
    break that both sides see: what was cut never looks complete.
    """

    idle_timeout_s: float | None = None
    """Seconds in which nothing goes either way."""
    min_rate_bpm: int | None = None
    """Bytes a minute that must go through at least, both ways together."""
    max_rate_bps: int | None = None
    """Bytes (not bits) a second of one relay, each way by itself."""
    bandwidth_bps: int | None = None
    """Bytes (not bits) a second that all relays of the tunnel or token share, each way by itself, in equal parts."""
    max_lifetime_s: float | None = None
    """Seconds from the relay's start."""
    max_total_payload: int | None = None
    """Bytes that may go through, both ways together: exactly so many are delivered, and the next one ends the relay."""

    def __post_init__(self) -> None:
        """Refuse what nobody could mean.

        Raises:
            ConfigError: a limit of nothing.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value < NEVER:
                raise ConfigError(f"{field.name.removesuffix('_s')}: expected more than nothing, got {value:g}")

    @property
    def limits_nothing(self) -> bool:
        """True when a relay with this policy costs no more than one without."""
        return self == UNLIMITED

    def check(self) -> "Policy":
        """Return this policy, as a person asked for it.

        Raises:
            ConfigError: no relay could keep it.
        """
        fastest = min(self.max_rate_bps or NEVER, self.bandwidth_bps or NEVER) * MINUTE_S
        if self.min_rate_bpm is not None and self.min_rate_bpm >= fastest:
            raise ConfigError(
                f"min_rate_bpm: {self.min_rate_bpm} bytes a minute are not less than what may go one way in a minute, {fastest:.0f} bytes"
            )
        return self

    @property
    def times(self) -> bool:
        """True when a relay has to be looked at as time passes."""
        return self.idle_timeout_s is not None or self.min_rate_bpm is not None or self.max_lifetime_s is not None


UNLIMITED = Policy()


def strictest(policies: Iterable[Policy]) -> Policy:
    """Return the policy that keeps all of these: of each limit the strictest. Bandwidths are shared, and so nobody's own."""
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
    """Judges one relay by the clock, at the times that it asks for. Nothing is noted per byte: it compares counts."""

    __slots__ = ("_ends_at", "_idle_s", "_minute_at", "_minute_bytes", "_minute_least", "_moved_at", "_seen_bytes")

    def __init__(self, policy: Policy, now: float) -> None:
        """Begin at `now`, with nothing moved."""
        self._ends_at = NEVER if policy.max_lifetime_s is None else now + policy.max_lifetime_s
        self._idle_s = policy.idle_timeout_s or NEVER
        self._minute_least = policy.min_rate_bpm or 0
        self._minute_at = now + MINUTE_S
        self._minute_bytes = 0
        self._seen_bytes = 0
        self._moved_at = now

    def look(self, now: float, moved_bytes: int) -> tuple[str, float]:
        """Return why the relay has to end, or nothing, and when to look again; `moved_bytes` is all that went either way."""
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
        idle_at = min(now + self._idle_s / LOOKS, self._moved_at + self._idle_s)
        return "", min(idle_at, self._ends_at, self._minute_at if self._minute_least else NEVER)
