"""Names of origins: numbers at once, localhost both ways, other names asked once at a time."""

import socket
import threading
from typing import Any

import pytest

from portway.links import resolver as resolver_module
from portway.links.resolver import Address, Resolver
from tests.kit.loops import EngineLoop


class Dns:
    """A resolver that the test answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.addresses: list[str] | None = ["192.0.2.7"]
        self.go = threading.Event()
        self.go.set()

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self.go.wait(5)
        if self.addresses is None:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    dns = Dns()
    monkeypatch.setattr(socket, "getaddrinfo", dns)
    return dns


def new_resolver(engine: EngineLoop) -> Resolver:
    async def make() -> Resolver:
        return Resolver(engine.reactor)

    return engine.run(make())


def ask(engine: EngineLoop, resolver: Resolver, host: str) -> list[Address]:
    found: list[list[Address]] = []
    engine.reactor.refresh_now()
    resolver.resolve(host, 80, found.append)
    engine.run_until(lambda: bool(found))
    return found[0]


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", [(socket.AF_INET, ("127.0.0.1", 80))]),
        ("::1", [(socket.AF_INET6, ("::1", 80))]),
        ("LocalHost", [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("::1", 80))]),
    ],
)
def test_some_hosts_need_no_query(engine: EngineLoop, dns: Dns, host: str, addresses: list[Address]) -> None:
    found: list[list[Address]] = []
    new_resolver(engine).resolve(host, 80, found.append)
    assert found == [addresses]
    assert dns.asked == []


def test_many_visitors_cause_one_query_and_the_result_is_cached(engine: EngineLoop, dns: Dns, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = new_resolver(engine)
    dns.go.clear()
    found: list[list[Address]] = []
    for _ in range(10):
        resolver.resolve("app.test", 80, found.append)
    dns.go.set()
    engine.run_until(lambda: len(found) == 10)
    assert found[0] == [(socket.AF_INET, ("192.0.2.7", 80))]
    ask(engine, resolver, "app.test")
    assert dns.asked == ["app.test"]
    dns.addresses = ["192.0.2.8"]
    monkeypatch.setattr(engine.reactor, "_clock", lambda: engine.reactor.now + resolver_module.CACHE_S)
    assert ask(engine, resolver, "app.test") == [(socket.AF_INET, ("192.0.2.8", 80))]


def test_an_invalidated_name_is_queried_again(engine: EngineLoop, dns: Dns) -> None:
    resolver = new_resolver(engine)
    ask(engine, resolver, "app.test")
    resolver.invalidate("app.test", 80)
    ask(engine, resolver, "app.test")
    assert dns.asked == ["app.test"] * 2


def test_a_failure_is_cached_briefly(engine: EngineLoop, dns: Dns, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = new_resolver(engine)
    dns.addresses = None
    assert ask(engine, resolver, "app.test") == []
    assert ask(engine, resolver, "app.test") == []
    assert dns.asked == ["app.test"]
    dns.addresses = ["192.0.2.9"]
    monkeypatch.setattr(engine.reactor, "_clock", lambda: engine.reactor.now + resolver_module.FAILURE_CACHE_S)
    assert ask(engine, resolver, "app.test") != []


def test_the_cache_is_bounded(engine: EngineLoop, dns: Dns) -> None:
    resolver = new_resolver(engine)
    for number in range(resolver_module.NAMES_MAX + 10):
        ask(engine, resolver, f"n{number}.test")
    assert len(resolver._names) == resolver_module.NAMES_MAX
