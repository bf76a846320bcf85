"""An agent that stops or loses its links leaves no reference cycles, neither in the server nor in the agent."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from portway.agent.events import LinksChanged, Offline, Refused, TunnelUp
from tests.kit.bad_network_proxy import BadNetworkProxy
from tests.kit.garbage import all_freed
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo, send_requested
from tests.kit.pair import RunningAgent, RunningServer, http_tunnel, running_agent, running_server, tcp_tunnel
from tests.kit.sockets import DEADLINE_S, free_port, reset

TIMES = 3

Scene = Callable[[RunningServer, Path], Awaitable[None]]


def play(folder: Path, scene: Scene, times: int = TIMES) -> None:
    """Run a scene once, then several times without the cycle collector."""

    async def whole() -> None:
        async with running_server(folder, hold_s=0.3) as server:
            await scene(server, folder)
            for _ in range(times):
                server.events.emitted.clear()
                async with all_freed():
                    await scene(server, folder)
                    server.events.emitted.clear()

    asyncio.run(whole())


def connect(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    sock.sendall(data)
    return sock


async def read_all(sock: socket.socket, *, keep: bool = True) -> bytes:
    def work() -> bytes:
        got = b""
        with sock, contextlib.suppress(ConnectionError):
            while piece := sock.recv(1 << 18):
                got += piece if keep else b""
        return got

    return await asyncio.to_thread(work)


def tcp_port(agent: RunningAgent) -> int:
    return next(event.port for event in agent.events.of(TunnelUp) if event.port)


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n".encode()


def test_an_agent_whose_token_is_revoked_during_requests(tmp_path: Path) -> None:
    async def scene(server: RunningServer, folder: Path) -> None:
        name = f"laptop-{next(numbers)}"
        with HttpOrigin() as web, RawOrigin(echo) as talk:
            tunnels = http_tunnel(web.port, name="web"), tcp_tunnel(talk.port)
            async with running_agent(folder, server.token(name), *tunnels) as agent:
                await agent.events.wait(TunnelUp, 2)
                waiting = connect(server.http_port, request("/hold"))
                downloading = connect(server.http_port, request("/bytes?n=30000000"))
                talking = connect(tcp_port(agent), b"hello")
                assert await asyncio.to_thread(talking.recv, 100) == b"hello"
                assert await asyncio.to_thread(downloading.recv, 100)
                server.revoke(name)
                await agent.events.wait(Refused)
                for visitor in (waiting, downloading, talking):
                    await read_all(visitor)

    numbers = itertools.count()
    play(tmp_path, scene)


def test_an_agent_whose_links_break_repeatedly(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, hold_s=0.3) as server:
            join = server.token()
            with HttpOrigin() as web, RawOrigin(echo) as talk, BadNetworkProxy((join.host, join.port)) as relay:
                tunnels = http_tunnel(web.port, name="web"), tcp_tunnel(talk.port)
                async with running_agent(tmp_path, replace(join, port=relay.address[1]), *tunnels) as agent:
                    await agent.events.wait(TunnelUp, 2)
                    port = tcp_port(agent)

                    async def lose_links_and_reconnect() -> None:
                        agent.events.emitted.clear()
                        server.events.emitted.clear()
                        waiting = connect(server.http_port, request("/hold"))
                        talking = connect(port, b"hello")
                        assert await asyncio.to_thread(talking.recv, 100) == b"hello"
                        await asyncio.to_thread(relay.cut_now)
                        await agent.events.wait(TunnelUp, 2)
                        web.release.set()  # the waiting request may have been retried
                        for visitor in (waiting, talking):
                            await read_all(visitor)
                        web.release.clear()
                        agent.events.emitted.clear()
                        server.events.emitted.clear()

                    await lose_links_and_reconnect()
                    for _ in range(TIMES):
                        async with all_freed():
                            await lose_links_and_reconnect()

    asyncio.run(whole())


def test_an_agent_that_finds_no_server(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running_server(tmp_path) as server:
            nowhere = replace(server.token(), port=free_port())
            async with running_agent(tmp_path, nowhere, http_tunnel(1)) as agent:
                await agent.events.wait(Offline)
                async with all_freed():
                    await agent.events.wait(Offline, 3, deadline_s=30)
                    agent.events.emitted.clear()

    asyncio.run(whole())


def test_an_agent_that_opens_further_links(tmp_path: Path) -> None:
    async def scene(server: RunningServer, folder: Path) -> None:
        name = f"laptop-{next(numbers)}"
        with RawOrigin(send_requested) as origin:
            async with running_agent(folder, server.token(name), tcp_tunnel(origin.port), links_max=4) as agent:
                await agent.events.wait(TunnelUp)
                downloads = [connect(tcp_port(agent), b"300000000 1\n") for _ in range(3)]
                reading = [asyncio.create_task(read_all(visitor, keep=False)) for visitor in downloads]
                await agent.events.until(lambda: any(event.links > 1 for event in agent.events.of(LinksChanged)), deadline_s=20)
                server.revoke(name)
                await agent.events.wait(Refused)
                await asyncio.wait(reading)

    numbers = itertools.count()
    play(tmp_path, scene, times=1)


def test_visitors_that_wait_for_an_offline_agent(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, hold_s=0.5) as server:
            join = server.token()
            with HttpOrigin() as web, RawOrigin(echo) as talk, BadNetworkProxy((join.host, join.port)) as relay:
                tunnels = http_tunnel(web.port, name="web"), tcp_tunnel(talk.port)
                async with running_agent(tmp_path, replace(join, port=relay.address[1]), *tunnels) as agent:
                    await agent.events.wait(TunnelUp, 2)
                    port = tcp_port(agent)

                    async def wait_and_disconnect() -> None:
                        agent.events.emitted.clear()
                        relay.target = nowhere
                        await asyncio.to_thread(relay.cut_now)
                        await agent.events.wait(Offline)
                        visitors = [(server.http_port, request("/hello")), (port, b"hello")]
                        leaving = [connect(*visitor) for visitor in visitors]
                        held = [connect(*visitor) for visitor in visitors]
                        await asyncio.sleep(0.1)
                        for visitor in leaving:
                            reset(visitor)
                        for visitor in held:
                            await read_all(visitor)
                        served = connect(port, b"hello")
                        relay.target = (join.host, join.port)
                        await agent.events.wait(TunnelUp, 2, deadline_s=30)
                        with contextlib.suppress(OSError):  # reset already, if the agent took longer
                            served.shutdown(socket.SHUT_WR)
                        await read_all(served)
                        agent.events.emitted.clear()
                        server.events.emitted.clear()

                    nowhere = ("127.0.0.1", free_port())
                    await wait_and_disconnect()
                    async with all_freed():
                        await wait_and_disconnect()

    asyncio.run(whole())
