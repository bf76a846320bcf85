"""Visitors of one tunnel who try to reach each other through the connections to its origin that they share."""

import contextlib
import http.client
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import Ground

SLOW_S = 0.3
"""How long the origin takes for the page behind which the next visitor waits."""
BODY = b"POST /comment HTTP/1.1\r\nHost: %b\r\nContent-Length: 110\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: %b\r\n\r\n"


class Careless(BaseHTTPRequestHandler):
    """An origin as many are: some of its answers do not wait for the body. It knows a connection again that has logged in."""

    protocol_version = "HTTP/1.1"
    server: "CarelessServer"
    user = ""
    """Who logged in on this connection (RFC 4559 section 6)."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, text: str, status: int = 200, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def handle_expect_100(self) -> bool:
        """Send no 100: the handler answers at once."""
        return True

    def do_POST(self) -> None:
        """Answer /hook without reading its body; keep that of a /comment."""
        if self.path == "/comment":
            self.server.comments.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer("thanks")

    def do_GET(self) -> None:
        """Show who asks: by cookie, or by who has logged in on this connection."""
        if self.path == "/slow":
            time.sleep(SLOW_S)
            self._answer("a slow page")
        elif self.path.startswith("/private"):
            self._private()
        else:
            self._answer(f"account of {self.headers.get('Cookie', 'nobody')}")

    def _private(self) -> None:
        """Ask for a login once per connection, with two steps as NTLM has them."""
        given = self.headers.get("Authorization", "")
        if given == "Negotiate step1":
            self._answer("", 401, ("WWW-Authenticate", "Negotiate step2"))
        elif given.startswith("Negotiate "):
            self.user = given.removeprefix("Negotiate ")
            self._answer(f"private page of {self.user}")
        elif self.user:
            self._answer(f"private page of {self.user}")
        else:
            self._answer("", 401, ("WWW-Authenticate", "Negotiate"))


class CarelessServer(ThreadingHTTPServer):
    """Keeps the comments."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.comments: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Careless)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: visitors break off."""


def _agent(ground: Ground) -> tuple[CarelessServer, str]:
    """Start the origin and its agent."""
    origin = CarelessServer()
    _, host = ground.agent("http", str(origin.server_address[1]))
    return origin, host


def ask(ground: Ground, host: str, path: str, *, number: int = 0, **fields: str) -> tuple[int, str]:
    """Be a visitor with a connection of its own; return status and body of the answer."""
    client = http.client.HTTPConnection("127.0.0.1", ground.http_port, timeout=5, source_address=(ground.source(number), 0))
    with contextlib.closing(client):
        client.request("GET", path, headers={"Host": host, **fields})
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def _poison(ground: Ground, *, expect: bool) -> Generator[None, None, Outcome]:
    origin, host = _agent(ground)
    yield
    crossed = failed = 0
    rounds = ground.size(20, 3)
    for number in range(rounds):
        hidden = (BODY if number % 2 else SLOW) % host.encode()
        head = b"POST /hook HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n" % (host.encode(), len(hidden))
        head += b"Expect: 100-continue\r\n" if expect else b""
        with ground.visitor() as hostile:
            hostile.sendall(head + b"\r\n" + hidden)
            hostile.recv(4096)
            time.sleep(0.02)
            secret = f"session={number}"
            try:
                status, text = ask(ground, host, "/account", number=1, Cookie=secret)
                crossed += status == 200 and text != f"account of {secret}"
                failed += status != 200
            except (OSError, http.client.HTTPException):
                failed += 1
        if ground.over:
            break
    crossed += sum(b"session=" in comment for comment in origin.comments)
    return Outcome("free" if crossed else "harmless", crossed=crossed, counts={"rounds": number + 1, "failed": failed})


@attack("poison-body", "S3", seconds=20.0)
def poison_body(ground: Ground) -> Generator[None, None, Outcome]:
    """A request hidden in a body that the origin does not read, for the next visitor to be taken for its rest."""
    return _poison(ground, expect=False)


@attack("poison-expect", "S3", seconds=20.0)
def poison_expect(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with `Expect: 100-continue`, which the origin answers finally without a 100."""
    return _poison(ground, expect=True)


@attack("borrowed-login", "S3", seconds=10.0)
def borrowed_login(ground: Ground) -> Generator[None, None, Outcome]:
    """A visitor without credentials asks on the connection that another one has logged in (Negotiate, NTLM)."""
    _, host = _agent(ground)
    yield
    crossed = rounds = 0
    for rounds in range(1, ground.size(20, 3) + 1):
        ask(ground, host, "/private", Authorization="Negotiate step1")
        ask(ground, host, "/private", Authorization=f"Negotiate alice{rounds}")
        status, text = ask(ground, host, "/private", number=1)
        crossed += status == 200 and "alice" in text
        if ground.over:
            break
    return Outcome("free" if crossed else "harmless", crossed=crossed, counts={"rounds": rounds})
