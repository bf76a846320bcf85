"""Limits as settings, for all tunnels of a proxy or for those of one user."""

from dataclasses import dataclass

from portway.config.fields import setting
from portway.engine.policy import Policy
from portway.protocol.units import parse_duration_s, parse_size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """The limits of docs/limits.md."""

    idle_timeout_s: float | None = setting(
        None, read=parse_duration_s, key="idle_timeout", metavar="TIME", help="Close tunnels that are idle for TIME.", shown=""
    )

    min_rate_bpm: int | None = setting(
        None,
        read=parse_size_bytes,
        key="min_rate",
        metavar="SIZE",
        help="Close tunnels that transfer less than SIZE per minute, both directions combined.",
        shown="",
    )

    max_rate_bps: int | None = setting(
        None,
        read=parse_size_bytes,
        key="max_rate",
        metavar="SIZE",
        help="Limit each tunnel to SIZE bytes per second in each direction.",
        shown="",
    )

    bandwidth_bps: int | None = setting(
        None,
        read=parse_size_bytes,
        key="bandwidth",
        metavar="SIZE",
        help="Limit all tunnels together to SIZE bytes per second in each direction, shared fairly.",
        shown="",
    )

    max_lifetime_s: float | None = setting(
        None, read=parse_duration_s, key="max_lifetime", metavar="TIME", help="Close tunnels that are open for TIME.", shown=""
    )

    max_total_payload: int | None = setting(
        None,
        read=parse_size_bytes,
        metavar="SIZE",
        help="Close tunnels that would transfer more than SIZE in total, both directions combined.",
        shown="",
    )

    @property
    def limits(self) -> Policy:
        """The limits as the engine enforces them; raises ConfigError if they are incompatible."""
        return Policy(
            idle_timeout_s=self.idle_timeout_s,
            min_rate_bpm=self.min_rate_bpm,
            max_rate_bps=self.max_rate_bps,
            bandwidth_bps=self.bandwidth_bps,
            max_lifetime_s=self.max_lifetime_s,
            max_total_payload=self.max_total_payload,
        ).check()
