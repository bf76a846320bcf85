"""A server and an agent with an inspector in a thread, and an origin that records raw requests; for tests without a loop of their own."""

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from portway.agent.events import InspectorUp, TunnelUp
from portway.agent.settings import TunnelRequest
from portway.config.values import ListenAddress
from portway.inspector.settings import InspectorSettings
from tests.kit.origins import RawOrigin
from tests.kit.pair import http_tunnel, running_agent, running_server

DEADLINE_S = 15.0


@dataclass
class Reply:
    """A response of API or tunnel."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class RecordingOrigin:
    """Records the bytes of each request, and sends `response` to each; several requests per connection."""

    def __init__(self, response: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello") -> None:
        self.requests: list[bytes] = []
        self.response = response
        self.respond: Callable[[bytes], bytes] = lambda _request: self.response
        self._origin = RawOrigin(self._serve)
        self.port = self._origin.port

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        while True:
            while (size := _request_size(data)) is None:
                piece = sock.recv(65536)
                if not piece:
                    return
                data += piece
            request, data = data[:size], data[size:]
            self.requests.append(request)
            response = self.respond(request)
            sock.sendall(response)
            if b"content-length" not in response.lower() and b"chunked" not in response.lower():
                return

    def close(self) -> None:
        """Stop listening."""
        self._origin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request_size(data: bytes) -> int | None:
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    parts = [line.lower().partition(b":") for line in head.split(b"\r\n")[1:]]
    fields = {name: value.strip() for name, _, value in parts}
    size = len(head) + 4
    if fields.get(b"transfer-encoding") == b"chunked":
        at = rest.find(b"0\r\n\r\n")
        return None if at < 0 else size + at + 5
    size += int(fields.get(b"content-length", b"0"))
    return size if len(data) >= size else None


@dataclass
class Inspected:
    """One tunnel, `app`, whose agent has an inspector."""

    folder: Path
    tunnel: TunnelRequest
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server and agent", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - raised in the test
            self._failure = exc
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        defaults: dict[str, Any] = {
            "listen": ListenAddress("127.0.0.1", 0),
            "data_dir": self.folder,
            "runtime_dir": self.folder / "run",
        }
        inspector = InspectorSettings(**(defaults | self.settings))
        async with (
            running_server(self.folder) as server,
            running_agent(self.folder, server.token(secrets.token_hex(4)), self.tunnel, inspector=inspector) as agent,
        ):
            self.up = await agent.events.wait(TunnelUp)
            self.inspector = await agent.events.wait(InspectorUp)
            self.events = agent.events
            self.http_port = server.http_port
            self.key = self.inspector.page_url.partition("key=")[2]
            self.api_port = int(self.inspector.url.rstrip("/").rpartition(":")[2])
            self._ready.set()
            await self._stop.wait()

    @property
    def host(self) -> str:
        """Host of the tunnel, with the port."""
        return f"app.localhost:{self.http_port}"

    def visit(self, method: str = "GET", path: str = "/", body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Send a request to the tunnel, on a connection of its own."""
        return request(self.http_port, method, path, body, {"Host": self.host} | (headers or {}))

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request to the API, with the key."""
        given = {"Authorization": f"Bearer {self.key}"} | headers
        if body is not None and not isinstance(body, bytes):
            body, given["Content-Type"] = json.dumps(body), "application/json"
        return request(self.api_port, method, path, body, given)

    def requests(self, count: int = 1, query: str = "") -> list[dict[str, Any]]:
        """Wait until at least `count` exchanges that match are done, and return them, newest first."""
        until = time.monotonic() + DEADLINE_S
        while True:
            found = self.api("GET", f"/api/requests?q={quote(query)}").json["requests"]
            if len(found) >= count and all(one["state"] != "open" for one in found):
                return list(found)
            assert time.monotonic() < until, found
            time.sleep(0.03)

    def detail(self, number: int) -> dict[str, Any]:
        """Return one exchange."""
        found: dict[str, Any] = self.api("GET", f"/api/requests/{number}").json
        return found

    def database(self) -> bytes:
        """Return all bytes of the store's files."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("captures.db*")))


def request(port: int, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
    """Send one request to a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def inspected(folder: Path, origin_port: int, **settings: Any) -> Inspected:
    """Return an inspected tunnel to a local port, to be used in `with`."""
    return Inspected(folder, http_tunnel(origin_port, name="app"), settings)
