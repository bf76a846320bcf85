"""The direct way out: what is dialled is what was judged."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from portway.engine.channel import Channel
from portway.forward.connect.direct import ADDRESSES_MAX, DirectConnector
from portway.forward.interfaces import ConnectRequest, Target, User
from portway.forward.outcomes import Failure, Outcome
from portway.links.resolver import Address
from tests.kit.loops import EngineLoop


class Policy:
    """Allows what is listed, and records what it judged."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed
        self.judged: list[str] = []

    def judge_target(self, _user: User | None, _target: Target) -> Failure | None:
        return None

    def judge_remote_target(self, *_: object) -> Failure | None:
        return None

    def judge_address(self, _user: User | None, _target: Target, address: IPv4Address | IPv6Address) -> Failure | None:
        self.judged.append(str(address))
        return None if str(address) in self.allowed else Failure(Outcome.FORBIDDEN, "not allowed")


def run(engine: EngineLoop, policy: Policy, answers: list[list[str]], port: int, *, tries: int = 1) -> list[Channel | Failure]:
    """Connect to a name whose addresses are `answers`, one list per query."""
    results: list[Channel | Failure] = []
    left = list(answers)

    def query(_host: str, port: int) -> list[Address]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in addresses]

    async def connect() -> None:
        connector = DirectConnector(engine.reactor, lambda: policy, dns_cache_s=0.0, query=query)
        for _ in range(tries):
            before = len(results)
            request = ConnectRequest(Target("name.test", port), None, "127.0.0.1", engine.reactor.refresh_now() + 5)
            connector.connect(request, results.append)
            while len(results) == before:  # noqa: ASYNC110 - the connector calls back
                await asyncio.sleep(0.005)
        connector.close()

    engine.run(connect())
    for result in results:
        if not isinstance(result, Failure):
            result.abort()
    return results


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_only_allowed_addresses_are_dialled(engine: EngineLoop, listener: socket.socket) -> None:
    with listener:
        policy = Policy("127.0.0.1")
        (result,) = run(engine, policy, [["127.0.0.9", "127.0.0.1", "::1"]], listener.getsockname()[1])
        assert not isinstance(result, Failure)
        assert policy.judged == ["127.0.0.9", "127.0.0.1", "::1"]
        sock, _ = listener.accept()
        sock.close()


def test_a_name_that_changes_its_address_is_judged_again(engine: EngineLoop, listener: socket.socket) -> None:
    with listener:
        listener.setblocking(False)
        policy = Policy("192.0.2.1")
        results = run(engine, policy, [["127.0.0.1"], ["127.0.0.1"]], listener.getsockname()[1], tries=2)
        assert [result.outcome for result in results if isinstance(result, Failure)] == [Outcome.FORBIDDEN] * 2
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_without_an_allowed_address_the_reason_is_the_policys(engine: EngineLoop) -> None:
    (result,) = run(engine, Policy(), [["127.0.0.1", "127.0.0.2"]], 80)
    assert isinstance(result, Failure)
    assert (result.outcome, result.text) == (Outcome.FORBIDDEN, "not allowed")


def test_the_number_of_addresses_is_bounded(engine: EngineLoop) -> None:
    policy = Policy()
    run(engine, policy, [[f"127.0.1.{number}" for number in range(200)]], 80)
    assert len(policy.judged) == ADDRESSES_MAX


def test_the_most_useful_error_of_several_addresses_is_reported(engine: EngineLoop) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # not listening
        (result,) = run(engine, Policy("127.0.0.1", "::1"), [["::1", "127.0.0.1"]], closed.getsockname()[1])
    assert isinstance(result, Failure)
    assert result.outcome is Outcome.REFUSED
