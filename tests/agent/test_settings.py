"""Which limits of a tunnel the agent enforces, and which the server."""

from typing import Literal

import pytest

from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.engine.policy import UNLIMITED, Policy
from portway.protocol.control.messages import ExchangeLimits

ALL = Policy(idle_timeout_s=1.5, min_rate_bpm=2, max_rate_bps=3, bandwidth_bps=4, max_lifetime_s=5.5, max_total_payload=6)


def request(kind: Literal["http", "tcp"], policy: Policy) -> TunnelRequest:
    return TunnelRequest(kind=kind, target=Target("127.0.0.1", 3000), policy=policy)


def test_the_agent_enforces_all_limits_of_a_tcp_tunnel() -> None:
    tunnel = request("tcp", ALL)
    assert (tunnel.local_policy, tunnel.server_limits) == (ALL, None)


def test_the_server_enforces_the_limits_of_single_requests() -> None:
    tunnel = request("http", ALL)
    assert tunnel.local_policy == Policy(bandwidth_bps=4)
    assert tunnel.server_limits == ExchangeLimits(
        idle_timeout_s=1.5, min_rate_bpm=2, max_rate_bps=3, max_lifetime_s=5.5, max_total_payload=6
    )


@pytest.mark.parametrize("policy", [UNLIMITED, Policy(bandwidth_bps=4)])
def test_without_limits_of_requests_the_server_gets_none(policy: Policy) -> None:
    tunnel = request("http", policy)
    assert (tunnel.local_policy, tunnel.server_limits) == (policy, None)
