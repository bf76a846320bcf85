"""Attacks of visitors on each other through shared connections to the origin of one tunnel."""

import contextlib
import http.client
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.attacks.attack import Outcome, attack
from tests.attacks.context import AttackContext

SLOW_S = 0.3
"""Delay of the origin's slow page, during which the next visitor's request waits."""
BODY = b"POST /comment HTTP/1.1\r\nHost: %b\r\nContent-Length: 110\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: %b\r\n\r\n"


class Careless(BaseHTTPRequestHandler):
    """A typical origin: some responses do not wait for the request body, and it authenticates connections."""

    protocol_version = "HTTP/1.1"
    server: "CarelessServer"
    user = ""
    """User who logged in on this connection (RFC 4559 section 6)."""

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def _respond(self, text: str, status: int = 200, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def handle_expect_100(self) -> bool:
        """Send no 100: the handler responds at once."""
        return True

    def do_POST(self) -> None:
        """Respond to /hook without reading its body; store the body of /comment."""
        if self.path == "/comment":
            self.server.comments.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._respond("thanks")

    def do_GET(self) -> None:
        """Show the user of the request: by cookie, or by the login of this connection."""
        if self.path == "/slow":
            time.sleep(SLOW_S)
            self._respond("a slow page")
        elif self.path.startswith("/private"):
            self._private()
        else:
            self._respond(f"account of {self.headers.get('Cookie', 'nobody')}")

    def _private(self) -> None:
        """Require a login per connection, in two steps like NTLM."""
        given = self.headers.get("Authorization", "")
        if given == "Negotiate step1":
            self._respond("", 401, ("WWW-Authenticate", "Negotiate step2"))
        elif given.startswith("Negotiate "):
            self.user = given.removeprefix("Negotiate ")
            self._respond(f"private page of {self.user}")
        elif self.user:
            self._respond(f"private page of {self.user}")
        else:
            self._respond("", 401, ("WWW-Authenticate", "Negotiate"))


class CarelessServer(ThreadingHTTPServer):
    """Stores comments."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.comments: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Careless)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: visitors break off on purpose."""


def _agent(context: AttackContext) -> tuple[CarelessServer, str]:
    """Start the origin and its agent; return the origin and the tunnel's host."""
    origin = CarelessServer()
    _, host = context.agent("http", str(origin.server_address[1]))
    return origin, host


def ask(context: AttackContext, host: str, path: str, *, number: int = 0, **fields: str) -> tuple[int, str]:
    """Make a request on a new connection; return status and body of the response."""
    client = http.client.HTTPConnection("127.0.0.1", context.http_port, timeout=5, source_address=(context.source(number), 0))
    with contextlib.closing(client):
        client.request("GET", path, headers={"Host": host, **fields})
        response = client.getresponse()
        return response.status, response.read().decode()


def _poison(context: AttackContext, *, expect: bool) -> Generator[None, None, Outcome]:
    origin, host = _agent(context)
    yield
    crossed = failed = 0
    rounds = context.size(20, 3)
    for number in range(rounds):
        hidden = (BODY if number % 2 else SLOW) % host.encode()
        head = b"POST /hook HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n" % (host.encode(), len(hidden))
        head += b"Expect: 100-continue\r\n" if expect else b""
        with context.visitor() as hostile:
            hostile.sendall(head + b"\r\n" + hidden)
            hostile.recv(4096)
            time.sleep(0.02)
            secret = f"session={number}"
            try:
                status, text = ask(context, host, "/account", number=1, Cookie=secret)
                crossed += status == 200 and text != f"account of {secret}"
                failed += status != 200
            except (OSError, http.client.HTTPException):
                failed += 1
        if context.over:
            break
    crossed += sum(b"session=" in comment for comment in origin.comments)
    return Outcome("free" if crossed else "harmless", crossed=crossed, counts={"rounds": number + 1, "failed": failed})


@attack("poison-body", "S3", seconds=20.0)
def poison_body(context: AttackContext) -> Generator[None, None, Outcome]:
    """A request hidden in a body that the origin does not read, to be parsed on a shared connection."""
    return _poison(context, expect=False)


@attack("poison-expect", "S3", seconds=20.0)
def poison_expect(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with `Expect: 100-continue`, to which the origin sends a final response at once."""
    return _poison(context, expect=True)


@attack("borrowed-login", "S3", seconds=10.0)
def borrowed_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """A visitor without credentials makes a request after another one has logged in on a connection (Negotiate, NTLM)."""
    _, host = _agent(context)
    yield
    crossed = rounds = 0
    for rounds in range(1, context.size(20, 3) + 1):
        ask(context, host, "/private", Authorization="Negotiate step1")
        ask(context, host, "/private", Authorization=f"Negotiate alice{rounds}")
        status, text = ask(context, host, "/private", number=1)
        crossed += status == 200 and "alice" in text
        if context.over:
            break
    return Outcome("free" if crossed else "harmless", crossed=crossed, counts={"rounds": rounds})
