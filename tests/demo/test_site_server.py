"""The sample site's socket is ready before the site is, and delays no answer."""

import asyncio
import socket

from portway.demo.site_server import site_socket


def test_who_comes_before_the_site_runs_waits_instead_of_being_refused() -> None:
    with site_socket() as listening, socket.create_connection(listening.getsockname(), timeout=5):
        pass


def test_answers_are_not_held_back_by_nagle() -> None:
    async def nodelay() -> int:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[int] = loop.create_future()

        class Site(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                told.set_result(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        listening = site_socket()
        server = await loop.create_server(Site, sock=listening)
        with socket.create_connection(listening.getsockname(), timeout=5):
            value = await told
        server.close()
        await server.wait_closed()
        return value

    assert asyncio.run(nodelay()) == 1
