"""Scanners and guessers at a real server: reported to the operator, in few lines."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from portway.errors import PortwayError
from portway.protocol.join_string import JoinString
from portway.server.events import HandshakesFailed, LoginRefused
from portway.server.reporting import login_failures as failures
from tests.kit.pair import RunningServer, running_server
from tests.kit.raw_agent import raw_agent, raw_reactor

Scene = Callable[[RunningServer], Coroutine[Any, Any, None]]

HTTP = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def scan(port: int, times: int, first: bytes = HTTP) -> None:
    """Connect as a client of another protocol, and wait for the end of the connection."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            try:
                sock.sendall(first)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except OSError:
                pass  # reset: the same to a scanner


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
def test_three_hundred_scans_are_a_few_events_that_count_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plaintext: bool) -> None:
    monkeypatch.setattr(failures, "HANDSHAKES_EVERY_S", 3.0)

    async def scene(server: RunningServer) -> None:
        await asyncio.to_thread(scan, server.token().port, 300)
        emitted = server.events.of(HandshakesFailed)
        assert [event.count for event in emitted][:1] == [1]
        await server.events.until(lambda: sum(event.count for event in server.events.of(HandshakesFailed)) == 300)
        emitted = server.events.of(HandshakesFailed)
        assert len(emitted) <= 3, emitted
        assert emitted[-1].peer.startswith("127.0.0.1:")
        assert emitted[-1].reason
        assert "Host" not in emitted[-1].reason, "data of an unauthenticated peer is not shown"

    play(tmp_path, scene, plaintext_links=plaintext)


def test_a_flood_of_refused_logins_is_reported_individually_at_first_and_then_as_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "LOGINS_MAX", 4)
    monkeypatch.setattr(failures, "LOGINS_EVERY_S", 2.0)

    async def scene(server: RunningServer) -> None:
        join = server.token()
        wrong = JoinString(join.token_id, "A" * 43, join.host, join.port, join.pin, join.plaintext)
        async with raw_reactor() as reactor:
            for _ in range(40):
                agent = await raw_agent(reactor, wrong)
                with pytest.raises(PortwayError):
                    await agent.log_in(wrong)
        await server.events.until(lambda: sum(event.count for event in server.events.of(LoginRefused)) == 40, deadline_s=15)
        emitted = server.events.of(LoginRefused)
        assert [event.count for event in emitted[:4]] == [1, 1, 1, 1]
        assert len(emitted) < 12, "counts"
        assert emitted[-1].code == "too_many_logins"

    play(tmp_path, scene)


def test_links_closed_by_a_stopping_server_are_not_reported(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        async with raw_reactor() as reactor:
            agent = await raw_agent(reactor, server.token())
            server.stop.set()
            await asyncio.wait({server.task})
            agent.mux.abort()
        assert not server.events.of(HandshakesFailed)

    play(tmp_path, scene)


def play(tmp_path: Path, scene: Scene, **settings: object) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, **settings) as server:
            await scene(server)

    asyncio.run(whole())
