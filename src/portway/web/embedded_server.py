"""Runs a web application with uvicorn inside another program, on a socket that is already bound."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from threading import Thread

import uvicorn
from starlette.types import ASGIApp

STOP_S_MAX = 3.0
"""How long `ServerThread.stop` waits for open requests; the process then goes on without them."""


class EmbeddedServer(uvicorn.Server):
    """A uvicorn server without signal handlers: the program that contains it decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave all signals to the program."""
        yield


def embedded_server(app: ASGIApp, **options: object) -> EmbeddedServer:
    """Return a server for `app` that logs nothing but errors and trusts no forwarding fields; `options` are those of uvicorn."""
    defaults: dict[str, object] = {
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "lifespan": "off",
        "ws": "none",
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": 2,
    }
    return EmbeddedServer(uvicorn.Config(app, **{**defaults, **options}))  # type: ignore[arg-type]


class ServerThread:
    """Serves an application in a thread with a loop of its own, so that neither disk nor application delays the program's loop."""

    def __init__(self, app: ASGIApp, sock: socket.socket, name: str) -> None:
        """Serve `app` on `sock`, a listening socket, from now on; connections wait in its queue until the thread accepts."""
        self._server = embedded_server(app)
        self._sock = sock
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait a bounded time for open requests. Blocks."""
        self._server.should_exit = True
        self._thread.join(STOP_S_MAX)
        self._sock.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._sock]))
