"""Runs the sample site with uvicorn on a socket that is already bound."""

import asyncio
import socket

from starlette.types import ASGIApp

from portway.web.embedded_server import embedded_server

WEBSOCKET_BYTES_MAX = 4 * 1024 * 1024
"""Largest frame of the echo, so that large ones can be tried, too."""

BACKLOG = 128
"""Accept queue; a browser opens six connections at once."""


def site_socket(port: int = 0) -> socket.socket:
    """Return a listening TCP socket on 127.0.0.1, so that early connections wait for the site; port 0 is any free one."""
    # asyncio disables Nagle only if the protocol is TCP explicitly; otherwise every other response waits 40 ms for an ACK.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(BACKLOG)
    return sock


async def serve_site(app: ASGIApp, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve `app` on `sock` until `stop` is set; open requests then have two seconds to finish."""
    server = embedded_server(
        app,
        ws="websockets-sansio",
        ws_max_size=WEBSOCKET_BYTES_MAX,
        ws_per_message_deflate=False,  # the demo measures the tunnel, not zlib
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[sock]), name="sample site")
        await stop.wait()
        server.should_exit = True
