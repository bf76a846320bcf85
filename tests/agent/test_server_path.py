"""How an agent reaches its server: one proxy only, or directly when a proxy of the environment fails."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portway.agent.events import AgentEvent, Notice
from portway.agent.server_path import ServerPath
from portway.agent.settings import AgentSettings, ServerProxy
from portway.agent.trial import try_login
from portway.engine.reactor import Reactor
from portway.errors import PortwayError, RefusedError, UnavailableError
from portway.links.tls import agent_tls
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_url import ProxyUrl
from tests.kit.origins import RawOrigin
from tests.kit.pair import RunningServer, running_server
from tests.kit.proxy_programs import microsocks
from tests.kit.sockets import free_port


def settings_of(join: JoinString, port: int, variable: str, tmp_path: Path, scheme: str = "http") -> AgentSettings:
    proxy = ServerProxy(ProxyUrl(scheme, "127.0.0.1", port, b"ann", b"S3cret-word"), variable)  # type: ignore[arg-type]
    return AgentSettings(join=join, tunnels=(), data_dir=tmp_path / "agent", proxy=proxy)


async def dial(path: ServerPath, settings: AgentSettings) -> list[AgentEvent]:
    """Dial once, and return what was emitted."""
    events: list[AgentEvent] = []
    reactor = Reactor(asyncio.get_running_loop())
    try:
        tls = agent_tls(settings.join.host, settings.join.pin)
        (await path.dial(reactor, settings, tls, events.append)).abort()
    finally:
        reactor.close()
    return events


def play(tmp_path: Path, scene: Callable[[RunningServer], object]) -> None:
    async def whole() -> None:
        async with running_server(tmp_path) as server:
            await scene(server)  # type: ignore[misc]

    asyncio.run(whole())


def forbid(visitor: socket.socket) -> None:
    visitor.recv(4096)
    visitor.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def test_an_agent_logs_in_through_a_proxy(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        with microsocks(tmp_path, authenticates=False) as proxy:
            settings = settings_of(server.token(), proxy.port, "", tmp_path, "socks5")
            assert (await try_login(settings)).server

    play(tmp_path, scene)


def test_a_proxy_of_the_agent_is_the_only_way(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        with RawOrigin(forbid) as proxy:
            for port, text in (
                (proxy.port, "did not connect to .*: 403 Forbidden"),
                (free_port(), "cannot connect to the proxy http://127"),
            ):
                settings = settings_of(server.token(f"t{port}"), port, "", tmp_path)
                with pytest.raises(UnavailableError, match=text) as failure:
                    await dial(ServerPath(), settings)
                assert "S3cret" not in str(failure.value)

    play(tmp_path, scene)


def test_a_proxy_of_the_environment_that_fails_is_left_out(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        with RawOrigin(forbid) as proxy:
            path, settings = ServerPath(), settings_of(server.token(), proxy.port, "HTTPS_PROXY", tmp_path)
            (notice,) = await dial(path, settings)
            assert isinstance(notice, Notice)
            assert "403 Forbidden (from HTTPS_PROXY); connected directly instead" in notice.text
            assert "S3cret" not in notice.text
            assert await dial(path, settings) == []
            assert proxy.accepted == 1, "the second time it was left out at once"

    play(tmp_path, scene)


def test_both_reasons_are_reported_if_the_server_cannot_be_reached_directly_either(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        with RawOrigin(forbid) as proxy:
            path, settings = ServerPath(), settings_of(server.token(), proxy.port, "ALL_PROXY", tmp_path)
            await dial(path, settings)
            settings = replace(settings, join=replace(settings.join, port=free_port()))
            with pytest.raises(UnavailableError, match=r"403 Forbidden \(from ALL_PROXY\); directly: cannot connect to"):
                await dial(path, settings)
            assert proxy.accepted == 2, "the direct connection failed, so that the proxy had another try"

    play(tmp_path, scene)


@pytest.mark.parametrize("variable", ["", "HTTPS_PROXY"])
def test_a_wrong_certificate_is_a_refusal_through_a_proxy_too(variable: str, tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        with microsocks(tmp_path, authenticates=False) as proxy:
            settings = settings_of(replace(server.token(), pin=b"p" * 32), proxy.port, variable, tmp_path, "socks5")
            with pytest.raises(PortwayError) as failure:
                await dial(ServerPath(), settings)
            assert isinstance(failure.value, RefusedError)
            assert failure.value.code == "wrong_pin"

    play(tmp_path, scene)
