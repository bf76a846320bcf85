"""What of a tunnel's limits is kept beside the origin, and what is asked of the server."""

from typing import Literal

import pytest

from portway.agent.limits import split_policy
from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.engine.policy import UNLIMITED, Policy
from portway.protocol.control.messages import ExchangeLimits

ALL = Policy(idle_timeout_s=1.5, min_rate_bpm=2, max_rate_bps=3, bandwidth_bps=4, max_lifetime_s=5.5, max_total_payload=6)


def request(kind: Literal["http", "tcp"], policy: Policy) -> TunnelRequest:
    return TunnelRequest(kind=kind, target=Target("127.0.0.1", 3000), policy=policy)


def test_a_tcp_tunnel_is_held_to_all_of_them_here() -> None:
    assert split_policy(request("tcp", ALL)) == (ALL, None)


def test_of_an_http_tunnel_the_server_keeps_what_belongs_to_one_request() -> None:
    here, there = split_policy(request("http", ALL))
    assert here == Policy(bandwidth_bps=4)
    assert there == ExchangeLimits(idle_timeout_s=1.5, min_rate_bpm=2, max_rate_bps=3, max_lifetime_s=5.5, max_total_payload=6)


@pytest.mark.parametrize("policy", [UNLIMITED, Policy(bandwidth_bps=4)])
def test_a_server_is_asked_for_nothing_where_there_is_nothing_to_ask(policy: Policy) -> None:
    assert split_policy(request("http", policy)) == (policy, None)
