"""Reaching an origin: over TCP, a unix socket or TLS, and one status for each way to fail."""

import errno
import socket
import ssl
from pathlib import Path

import pytest

from portway.agent import origin_connector as connector_module
from portway.agent.origin_connector import OriginConnector, origin_tls, status_of
from portway.agent.target import Target, parse_target
from portway.engine.channel import Channel
from portway.engine.tls_channel import TlsChannel
from portway.links import resolver as resolver_module
from portway.links.resolver import Address, Resolver
from portway.protocol.stream_status import StreamStatus
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin, echo
from tests.kit.raw_agent import read_now
from tests.kit.sockets import free_port


def outcome_of(engine: EngineLoop, target: Target) -> Channel | StreamStatus:
    told: list[Channel | StreamStatus] = []

    async def begin() -> None:
        OriginConnector(engine.reactor, Resolver(engine.reactor), target, origin_tls(target), told.append).connect()

    engine.run(begin())
    engine.run_until(lambda: bool(told), deadline_s=10)
    engine.settle()
    assert len(told) == 1
    return told[0]


def echoes(engine: EngineLoop, channel: Channel | StreamStatus) -> bool:
    assert isinstance(channel, Channel)
    channel.send(b"are you there?")
    got = bytearray()

    def answered() -> bool:
        got.extend(read_now(channel))
        return len(got) == 14

    engine.run_until(answered)
    channel.abort()
    engine.settle()
    return bytes(got) == b"are you there?"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_local_port_is_reached(engine: EngineLoop, host: str) -> None:
    with RawOrigin(echo) as origin:
        assert echoes(engine, outcome_of(engine, Target(host, origin.port)))


def test_localhost_is_tried_on_ipv6_when_nothing_answers_on_ipv4(engine: EngineLoop) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        channel = outcome_of(engine, Target("localhost", listener.getsockname()[1]))
        assert isinstance(channel, Channel)
        channel.abort()
        engine.settle()


def test_a_unix_socket_is_reached(engine: EngineLoop, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        channel = outcome_of(engine, Target(path=path))
        assert isinstance(channel, Channel)
        channel.abort()
        engine.settle()


def tls_echo(identity: Identity) -> RawOrigin:
    context = identity.server_context()

    def serve(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) as encrypted:
                while data := encrypted.recv(1000):
                    encrypted.sendall(data)
        except ssl.SSLError:
            pass

    return RawOrigin(serve)


def test_an_https_origin_on_this_machine_is_reached_whatever_its_certificate(engine: EngineLoop, identity: Identity) -> None:
    with tls_echo(identity) as origin:
        channel = outcome_of(engine, parse_target(f"https://localhost:{origin.port}"))
        assert isinstance(channel, TlsChannel)
        assert echoes(engine, channel)


def test_an_https_origin_elsewhere_needs_a_valid_certificate() -> None:
    far, near = origin_tls(parse_target("https://192.0.2.1:443")), origin_tls(parse_target("https://127.0.0.1:443"))
    assert far is not None
    assert near is not None
    assert far.verify_mode == ssl.CERT_REQUIRED
    assert far.check_hostname
    assert near.verify_mode == ssl.CERT_NONE
    assert origin_tls(Target("127.0.0.1", 80)) is None


def test_an_https_origin_without_tls_is_refused(engine: EngineLoop) -> None:
    with RawOrigin(echo) as origin:
        assert outcome_of(engine, parse_target(f"https://127.0.0.1:{origin.port}")) is StreamStatus.REFUSED


def test_failed_tls_is_distinguished_from_a_refused_connection(engine: EngineLoop) -> None:
    with RawOrigin(echo) as origin:
        target = parse_target(f"https://127.0.0.1:{origin.port}")
        told: list[Channel | StreamStatus] = []
        connector: list[OriginConnector] = []

        async def begin() -> None:
            connector.append(OriginConnector(engine.reactor, Resolver(engine.reactor), target, origin_tls(target), told.append))
            connector[0].connect()

        engine.run(begin())
        engine.run_until(lambda: bool(told), deadline_s=10)
    assert connector[0].reason.startswith("TLS with the origin failed: ")


def test_each_failure_has_its_status(engine: EngineLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome_of(engine, Target("127.0.0.1", free_port())) is StreamStatus.REFUSED
    assert outcome_of(engine, Target(path=str(tmp_path / "nobody"))) is StreamStatus.REFUSED
    assert outcome_of(engine, Target("no-such-host.invalid", 80)) is StreamStatus.UNRESOLVABLE
    monkeypatch.setattr(connector_module, "CONNECT_S_MAX", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        target = parse_target(f"https://127.0.0.1:{silent.getsockname()[1]}")
        assert outcome_of(engine, target) is StreamStatus.TIMED_OUT


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ECONNREFUSED, StreamStatus.REFUSED),
        (errno.EHOSTUNREACH, StreamStatus.REFUSED),
        (errno.ETIMEDOUT, StreamStatus.TIMED_OUT),
        (errno.EMFILE, StreamStatus.OVERLOADED),
        (errno.EADDRNOTAVAIL, StreamStatus.OVERLOADED),
    ],
)
def test_each_error_has_its_stream_status(number: int, status: StreamStatus) -> None:
    assert status_of(OSError(number, "x")) is status


def test_a_name_is_resolved_again_after_a_failed_connect(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[Address]:
        asked.append(host)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(resolver_module, "query_system", look_up)
    target, told = Target("app.test", free_port()), list[Channel | StreamStatus]()

    async def resolver() -> Resolver:
        return Resolver(engine.reactor)

    names = engine.run(resolver())
    for number in (1, 2):
        OriginConnector(engine.reactor, names, target, None, told.append).connect()
        engine.run_until(lambda wanted=number: len(told) == wanted)  # type: ignore[misc]
    assert told == [StreamStatus.REFUSED] * 2
    assert asked == ["app.test"] * 2


def test_an_aborted_connector_does_not_call_back(engine: EngineLoop) -> None:
    told: list[Channel | StreamStatus] = []

    async def begin_and_give_up() -> None:
        connector = OriginConnector(engine.reactor, Resolver(engine.reactor), Target("127.0.0.1", origin.port), None, told.append)
        connector.connect()
        connector.abort()

    with RawOrigin(echo) as origin:
        engine.run(begin_and_give_up())
        engine.settle()
    assert told == []
