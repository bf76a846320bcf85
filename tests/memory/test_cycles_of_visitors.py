"""A visitor that disconnects leaves no reference cycles in edge and agent, at whatever stage it ends."""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from portway.agent.events import TunnelUp
from portway.config.values import ListenAddress
from portway.engine.policy import Policy
from tests.kit.garbage import all_freed
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.pair import RunningAgent, RunningServer, http_tunnel, running_agent, running_server, tcp_tunnel, tls_tunnel
from tests.kit.sockets import DEADLINE_S, reset
from tests.kit.tls_wire import alpn, modern, records, server_name

TIMES = 2
"""Cycles of each stage, after a first one for objects that stay."""


def switch_and_echo(sock: socket.socket) -> None:
    """Accept a WebSocket upgrade, then echo."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")).split(b": ")[1]
    assert fields[b"upgrade"] == b"websocket"
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while data := sock.recv(65536):
        sock.sendall(data)


def talk(sock: socket.socket) -> None:
    """Echo; on "die" reset the connection."""
    while data := sock.recv(65536):
        if data == b"die":
            reset(sock)
            return
        sock.sendall(data)


class Scene:
    """A server, an agent with its tunnels, and their visitors."""

    def __init__(self, server: RunningServer, agent: RunningAgent) -> None:
        """Read the addresses that the agent was granted."""
        self.server, self.agent = server, agent
        self._tcp_ports = [event.port for event in agent.events.of(TunnelUp) if event.port]

    def http(self, name: str, request: str, body: bytes = b"") -> socket.socket:
        """Send (a part of) a request to a tunnel on a new connection."""
        sock = socket.create_connection(("127.0.0.1", self.server.http_port), timeout=DEADLINE_S)
        sock.sendall(request.replace("HOST", f"{name}.localhost").encode() + body)
        return sock

    def tcp(self, *, dead: bool = False) -> socket.socket:
        """Connect to a public port; with `dead` to that of a missing origin."""
        return socket.create_connection(("127.0.0.1", self._tcp_ports[dead]), timeout=DEADLINE_S)

    def tls(self, name: str, data: bytes = b"") -> socket.socket:
        """Send a ClientHello for a tls tunnel on a new connection, and `data` behind it."""
        sock = socket.create_connection(("127.0.0.1", self.server.https_port), timeout=DEADLINE_S)
        sock.sendall(records(modern(server_name(f"{name}.localhost".encode()), alpn(b"h2"))) + data)
        return sock

    async def read(self, sock: socket.socket) -> bytes:
        """Return the next bytes."""
        return await asyncio.to_thread(sock.recv, 65536)

    async def read_all(self, sock: socket.socket) -> bytes:
        """Return everything up to the end or reset."""

        def work() -> bytes:
            got = b""
            with sock, contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    got += piece
            return got

        return await asyncio.to_thread(work)


GET = "GET {} HTTP/1.1\r\nHost: HOST\r\n\r\n"
LAST = "GET {} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n".format(base64.b64encode(b"0123456789abcdef").decode())
)


async def silence(scene: Scene) -> None:
    with scene.http("web", ""):
        await asyncio.sleep(0.02)


async def half_a_head(scene: Scene) -> None:
    with scene.http("web", "GET / HTTP/1.1\r\nHost: HO"):
        await asyncio.sleep(0.02)


async def half_a_head_and_a_reset(scene: Scene) -> None:
    sock = scene.http("web", "GET / HTTP/1.1\r\nHost: HO")
    await asyncio.sleep(0.02)
    reset(sock)


async def invalid_http(scene: Scene) -> None:
    assert b" 400 " in await scene.read_all(scene.http("web", "\x16\x03\x01\r\n\r\n"))


async def an_unknown_host(scene: Scene) -> None:
    assert b" 404 " in await scene.read_all(scene.http("nobody", LAST.format("/")))


async def one_request(scene: Scene) -> None:
    assert b"hello" in await scene.read_all(scene.http("web", LAST.format("/hello")))


async def three_requests_on_a_connection(scene: Scene) -> None:
    with scene.http("web", GET.format("/hello")) as sock:
        for _ in range(3):
            await scene.read(sock)
            sock.sendall(GET.format("/hello").replace("HOST", "web.localhost").encode())
        await scene.read(sock)


async def a_visitor_that_disconnects_while_waiting(scene: Scene) -> None:
    sock = scene.http("web", GET.format("/hold"))
    await asyncio.sleep(0.05)
    reset(sock)


async def a_download_that_is_reset(scene: Scene) -> None:
    sock = scene.http("web", GET.format("/bytes?n=30000000"))
    await scene.read(sock)
    reset(sock)


async def a_chunked_download(scene: Scene) -> None:
    assert len(await scene.read_all(scene.http("web", LAST.format("/chunked?n=300000")))) > 300_000


async def a_response_that_breaks_off(scene: Scene) -> None:
    await scene.read_all(scene.http("web", GET.format("/broken?n=3000000")))


async def an_upload(scene: Scene) -> None:
    head = "PUT /sink HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"
    assert b"sha256" in await scene.read_all(scene.http("web", head, bytes(300_000)))


async def half_an_upload(scene: Scene) -> None:
    sock = scene.http("web", "PUT /sink HTTP/1.1\r\nHost: HOST\r\nContent-Length: 300000\r\n\r\n", bytes(1000))
    await asyncio.sleep(0.05)
    reset(sock)


async def a_broken_chunk(scene: Scene) -> None:
    request = "PUT /sink HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"
    assert b" 400 " in await scene.read_all(scene.http("web", request))


async def a_missing_origin(scene: Scene) -> None:
    assert b" 502 " in await scene.read_all(scene.http("dead", LAST.format("/")))


async def a_websocket(scene: Scene) -> None:
    with scene.http("chat", UPGRADE) as sock:
        assert b"101" in await scene.read(sock)
        sock.sendall(b"hello")
        assert await scene.read(sock) == b"hello"


async def a_websocket_that_is_reset(scene: Scene) -> None:
    sock = scene.http("chat", UPGRADE)
    await scene.read(sock)
    sock.sendall(b"hello")
    await scene.read(sock)
    reset(sock)


async def a_refused_upgrade(scene: Scene) -> None:
    await scene.read_all(scene.http("web", UPGRADE))


async def a_tcp_exchange(scene: Scene) -> None:
    with scene.tcp() as sock:
        sock.sendall(b"hello")
        assert await scene.read(sock) == b"hello"
        sock.shutdown(socket.SHUT_WR)
        assert await scene.read(sock) == b""


async def a_silent_tcp_visitor(scene: Scene) -> None:
    with scene.tcp():
        await asyncio.sleep(0.02)


async def a_tcp_visitor_that_resets(scene: Scene) -> None:
    sock = scene.tcp()
    sock.sendall(b"hello")
    await scene.read(sock)
    reset(sock)


async def a_tcp_origin_that_resets(scene: Scene) -> None:
    sock = scene.tcp()
    sock.sendall(b"die")
    await scene.read_all(sock)


async def a_missing_tcp_origin(scene: Scene) -> None:
    await scene.read_all(scene.tcp(dead=True))


async def a_tls_exchange(scene: Scene) -> None:
    with scene.tls("secure") as sock:
        assert (await scene.read(sock)).startswith(b"\x16\x03")
        sock.shutdown(socket.SHUT_WR)
        assert await scene.read(sock) == b""


async def a_tls_visitor_that_resets(scene: Scene) -> None:
    sock = scene.tls("secure", b"more")
    await scene.read(sock)
    reset(sock)


async def a_missing_tls_origin(scene: Scene) -> None:
    await scene.read_all(scene.tls("insecure"))


Stage = Callable[[Scene], Awaitable[None]]

STAGES: list[Stage] = [
    *(silence, half_a_head, half_a_head_and_a_reset, invalid_http, an_unknown_host),
    *(one_request, three_requests_on_a_connection, a_visitor_that_disconnects_while_waiting, a_refused_upgrade),
    *(a_download_that_is_reset, a_chunked_download, a_response_that_breaks_off, an_upload, half_an_upload, a_broken_chunk),
    *(a_missing_origin, a_websocket, a_websocket_that_is_reset),
    *(a_tcp_exchange, a_silent_tcp_visitor, a_tcp_visitor_that_resets, a_tcp_origin_that_resets, a_missing_tcp_origin),
    *(a_tls_exchange, a_tls_visitor_that_resets, a_missing_tls_origin),
]

LIMITED = Policy(idle_timeout_s=60.0, min_rate_bpm=1, max_rate_bps=100_000_000, max_lifetime_s=1e9, max_total_payload=1 << 40)


def run_stages(folder: Path, stages: list[Stage], policy: Policy, **settings: Any) -> None:
    """Run each stage a few times with a server and an agent whose tunnels have `policy`."""

    async def whole() -> None:
        with HttpOrigin() as web, RawOrigin(switch_and_echo) as chat, RawOrigin(talk) as echo, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            dead = closed.getsockname()[1]
            https = [http_tunnel(port, name=name, policy=policy) for name, port in (("web", web.port), ("chat", chat.port), ("dead", dead))]
            tls = [tls_tunnel(port, name=name, policy=policy) for name, port in (("secure", echo.port), ("insecure", dead))]
            tunnels = [*https, *tls, tcp_tunnel(echo.port, policy=policy), tcp_tunnel(dead, policy=policy)]
            async with (
                running_server(folder, https=ListenAddress("127.0.0.1", 0), **settings) as server,
                running_agent(folder, server.token(), *tunnels) as agent,
            ):
                await agent.events.wait(TunnelUp, len(tunnels))
                scene = Scene(server, agent)
                for stage in stages:
                    await stage(scene)
                    for _ in range(TIMES):
                        clear_events(server, agent)
                        async with all_freed():
                            await stage(scene)
                            web.release.set()
                            await asyncio.sleep(0.05)
                            clear_events(server, agent)
                        web.release.clear()

    asyncio.run(whole())


def clear_events(server: RunningServer, agent: RunningAgent) -> None:
    server.events.emitted.clear()
    agent.events.emitted.clear()


@pytest.mark.parametrize("stage", STAGES)
def test_a_visitor_is_freed_without_the_collector_after(stage: Stage, tmp_path: Path) -> None:
    run_stages(tmp_path, [stage], Policy(), hold_s=0.2)


def test_visitors_of_tunnels_with_limits_are_freed_without_the_collector(tmp_path: Path) -> None:
    run_stages(tmp_path, STAGES, LIMITED, hold_s=0.2)
