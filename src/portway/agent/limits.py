"""Who holds a tunnel to its limits: the agent its relays, the server the requests of an http tunnel."""

from portway.agent.settings import TunnelRequest
from portway.engine.policy import Policy
from portway.protocol.control.messages import ExchangeLimits


def split_policy(tunnel: TunnelRequest) -> tuple[Policy, ExchangeLimits | None]:
    """Return what is kept here, beside the origin, and what is asked of the server.

    The agent's connections to an http origin serve one visitor after the other: what belongs to one request is known at the
    server alone. The bandwidth of all together is kept here in either case, so that nothing too much is read from the origin.
    """
    policy = tunnel.policy
    if tunnel.kind != "http":
        return policy, None
    here = Policy(bandwidth_bps=policy.bandwidth_bps)
    there = ExchangeLimits(
        idle_timeout_s=policy.idle_timeout_s or 0.0,
        min_rate_bpm=policy.min_rate_bpm or 0,
        max_rate_bps=policy.max_rate_bps or 0,
        max_lifetime_s=policy.max_lifetime_s or 0.0,
        max_total_payload=policy.max_total_payload or 0,
        origin_timeout_s=tunnel.origin_timeout_s,
    )
    return here, None if there == ExchangeLimits() else there
