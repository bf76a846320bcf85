"""A visitor behind a proxy leaves no reference cycles, with valid and invalid PROXY headers."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from portway.agent.events import TunnelUp
from tests.kit.garbage import all_freed
from tests.kit.http_origin import HttpOrigin
from tests.kit.pair import RunningServer, http_tunnel, running_agent, running_server
from tests.kit.sockets import DEADLINE_S, reset

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"
ASK = b"GET /hello HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n"
TIMES = 2

CASES = {
    "whole": (LINE + ASK, False),
    "half": (LINE[:20], False),
    "half and a reset": (LINE[:20], True),
    "nothing": (b"", False),
    "invalid": (ASK, False),
}


async def visit(server: RunningServer, wire: bytes, *, rude: bool) -> bytes:
    """Send bytes like a trusted proxy, and close."""

    def work() -> bytes:
        sock = socket.create_connection(("127.0.0.1", server.http_port), timeout=DEADLINE_S)
        sock.sendall(wire)
        if rude:
            reset(sock)
            return b""
        got = b""
        with sock, contextlib.suppress(ConnectionError):
            with contextlib.suppress(OSError):  # a reset may be faster
                sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                got += piece
        return got

    return await asyncio.to_thread(work)


@pytest.mark.parametrize("case", CASES)
def test_a_proxy_connection_leaves_no_cycles(tmp_path: Path, case: str) -> None:
    wire, rude = CASES[case]

    async def whole(origin: HttpOrigin) -> None:
        async with (
            running_server(tmp_path, trusted_proxies=("127.0.0.1/32",), proxy_protocol=("http",)) as server,
            running_agent(tmp_path, server.token(), http_tunnel(origin.port, name="web")) as agent,
        ):
            await agent.events.wait(TunnelUp)
            await visit(server, wire, rude=rude)
            for _ in range(TIMES):
                async with all_freed():
                    got = await visit(server, wire, rude=rude)
                    assert (b"hello" in got) is (case == "whole")
                    server.events.emitted.clear()
                    agent.events.emitted.clear()

    with HttpOrigin() as origin:
        asyncio.run(whole(origin))
