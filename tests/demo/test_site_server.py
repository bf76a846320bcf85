"""The sample site's socket accepts connections before the site runs, and delays no response."""

import asyncio
import socket

from portway.demo.site_server import site_socket


def test_connections_wait_until_the_site_runs() -> None:
    with site_socket() as listening, socket.create_connection(listening.getsockname(), timeout=5):
        pass


def test_responses_are_not_delayed_by_nagle() -> None:
    async def nodelay() -> int:
        loop = asyncio.get_running_loop()
        nodelay_set: asyncio.Future[int] = loop.create_future()

        class Site(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nodelay_set.set_result(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        listening = site_socket()
        server = await loop.create_server(Site, sock=listening)
        with socket.create_connection(listening.getsockname(), timeout=5):
            value = await nodelay_set
        server.close()
        await server.wait_closed()
        return value

    assert asyncio.run(nodelay()) == 1
