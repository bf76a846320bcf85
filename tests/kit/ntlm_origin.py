"""An origin that authenticates connections, like IIS with NTLM and Negotiate: later requests on one belong to its user."""

import base64
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_SIGNATURE = b"NTLMSSP\0"
_FLAGS = 0x00000001 | 0x00000200 | 0x00008000 | 0x00000004 | 0x00800000
"""Unicode, NTLM, always sign, request target, target information."""


def ntlm_challenge() -> bytes:
    """Return a CHALLENGE_MESSAGE (MS-NLMP section 2.2.1.2) without names."""
    head = _SIGNATURE + struct.pack("<I", 2)
    names = struct.pack("<HHI", 0, 0, 48)
    information = struct.pack("<HH", 0, 0)
    return head + names + struct.pack("<I", _FLAGS) + b"challeng" + bytes(8) + struct.pack("<HHI", 4, 4, 48) + information


class _Handler(BaseHTTPRequestHandler):
    """One object per connection, so it can store the user."""

    protocol_version = "HTTP/1.1"
    server: "_Server"
    user = ""
    challenged = False

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """Respond with the user of this connection, or require a login."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        self.server.seen.append((self.server.number(self), scheme, self.headers.get("Connection", "")))
        if scheme == "Negotiate":
            self.user = "alice"
        elif scheme == "NTLM":
            kind = base64.b64decode(token)[8]
            if kind == 1:
                self.challenged = True
                self._respond(401, b"", ("WWW-Authenticate", "NTLM " + base64.b64encode(ntlm_challenge()).decode()))
                return
            self.user = "bob" if self.challenged else ""
        if self.path == "/persistent":
            self.user = "carol"
            self._respond(200, b"hello carol", ("Persistent-Auth", "true"))
        elif self.path == "/public":
            self._respond(200, b"public")
        elif self.path == "/leave":
            self._respond(200, b"bye")
            self.close_connection = True
        elif self.user:
            self._respond(200, f"private page of {self.user}".encode() + body)
        else:
            self._respond(401, b"who are you", ("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM"))

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server looks for

    def _respond(self, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*fields, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, str]] = []
        self._handlers: list[object] = []
        self.open = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    def number(self, handler: object) -> int:
        """Return the number of a connection, from 0."""
        if handler not in self._handlers:
            self._handlers.append(handler)
        return self._handlers.index(handler)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Count the open connections."""
        self.open += 1
        super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        self.open -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent."""


class NtlmOrigin:
    """The origin, listening on a free port until the end of the `with` block."""

    def __init__(self) -> None:
        """Serve at once."""
        self._server = _Server()
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def seen(self) -> list[tuple[int, str, str]]:
        """Connection, scheme of the credentials, and Connection field of each request."""
        return self._server.seen

    @property
    def open(self) -> int:
        """Number of open connections."""
        return self._server.open

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
