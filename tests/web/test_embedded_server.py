"""A web application inside another program."""

import http.client
import signal
import socket

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from portway.web.embedded_server import ServerThread


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(str(scope["client"][0]))(scope, receive, send)


def ask(port: int) -> tuple[str, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request("GET", "/", headers={"X-Forwarded-For": "192.0.2.1"})
    got = line.getresponse()
    text = got.read().decode()
    line.close()
    return text, got.getheader("Server", "")


def test_it_serves_at_once_trusts_no_forwarding_field_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        server = ServerThread(application, sock, "test")
        assert ask(port) == ("127.0.0.1", "")
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        server.stop()
        assert sock.fileno() == -1
