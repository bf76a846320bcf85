"""Fixtures of the UDP relay's tests."""

from collections.abc import Callable, Iterator

import pytest

from portway.engine.limits import scopes_of
from portway.engine.policy import Policy
from tests.forward.udp.kit import Bench
from tests.kit.loops import EngineLoop


@pytest.fixture
def bench(engine: EngineLoop) -> Iterator[Bench]:
    """An association without limits."""
    bench = Bench(engine)
    yield bench
    bench.close()


@pytest.fixture
def bench_with(engine: EngineLoop) -> Iterator[Callable[..., Bench]]:
    """A function that opens an association with a policy, or with other arguments of `Bench`."""
    benches: list[Bench] = []

    def make(policy: Policy | None = None, **arguments: object) -> Bench:
        scopes = () if policy is None else scopes_of(engine.reactor, policy)
        benches.append(Bench(engine, scopes, **arguments))  # type: ignore[arg-type]
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()
