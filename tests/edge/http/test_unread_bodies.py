"""Unread bytes of one visitor's request reach no other visitor: Python's own http.server as the origin."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.edge.http.kit import Caller, Stage

SMUGGLED = b"POST /comment HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 110\r\n\r\n"
SMUGGLED_GET = b"GET /slow HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


class _Forgetful(BaseHTTPRequestHandler):
    """Answers /hook without reading its body; stores what is sent to /comment; the body of HEAD is sent like GET's."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def handle_expect_100(self) -> bool:
        """Answer finally, without 100 (Continue)."""
        return True

    def do_POST(self) -> None:
        """Read the body of /comment and of nothing else."""
        self.server.seen.append(self.path)
        if self.path == "/comment":
            self.server.comments.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(b"posted")

    do_DELETE = do_POST  # noqa: N815 - the name that http.server looks for

    def do_GET(self) -> None:
        """Answer with the path and the cookie, /slow a little later."""
        self.server.seen.append(self.path)
        if self.path == "/slow":
            self.server.slow.wait(1)
        self._say(f"{self.path} of {self.headers.get('Cookie')}".encode())

    do_HEAD = do_GET  # noqa: N815 - a common mistake: HEAD has no body

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.comments: list[bytes] = []
        self.slow = threading.Event()
        super().__init__(("127.0.0.1", 0), _Forgetful)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: connections are reset on purpose."""


@pytest.fixture
def forgetful() -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.slow.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


def attack(visitor: Caller, smuggled: bytes, *fields: bytes, method: bytes = b"POST", chunked: bool = False) -> None:
    """Send a request whose body is a request."""
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled) if chunked else smuggled
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(smuggled)
    lines = b"".join(field + b"\r\n" for field in (framing, *fields))
    visitor.send(method + b" /hook HTTP/1.1\r\nHost: a.localhost\r\n" + lines + b"\r\n" + body)


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("fields", [(), (b"Expect: 100-continue",)], ids=["plain", "expecting"])
def test_a_body_that_the_origin_did_not_read_is_never_a_request(
    stage: Stage, forgetful: _Server, chunked: bool, fields: tuple[bytes, ...]
) -> None:
    stage.publish(forgetful.server_address[1])

    def story() -> None:
        with stage.caller() as attacker, stage.caller() as visitor:
            for _ in range(10):
                attack(attacker, SMUGGLED, *fields, chunked=chunked)
                answer = attacker.answer()
                assert (answer.status, answer.body) == (200, b"posted")
                assert visitor.get("/account", "a.localhost", "Cookie: session=secret").body == b"/account of session=secret"
                if answer.headers.get("connection") == "close":
                    attacker.sock.close()
                    attacker.__init__(stage.port)  # type: ignore[misc]
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)
    assert forgetful.comments == []
    assert set(forgetful.seen) == {"/hook", "/account"}, "the origin took a body for a request"


@pytest.mark.parametrize("method", [b"POST", b"DELETE"])
def test_a_smuggled_request_is_not_answered_to_another_visitor(stage: Stage, forgetful: _Server, method: bytes) -> None:
    stage.publish(forgetful.server_address[1])

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(5):
                with stage.caller() as attacker:
                    attack(attacker, SMUGGLED_GET, method=method)
                    assert attacker.answer().status == 200
                assert visitor.get("/mine", "a.localhost", "Cookie: b").body == b"/mine of b"

    stage.play(story)
    assert "/slow" not in forgetful.seen


def test_the_body_of_a_response_to_head_is_never_a_response(stage: Stage, forgetful: _Server) -> None:
    stage.publish(forgetful.server_address[1])

    def story() -> None:
        with stage.caller() as one, stage.caller() as other:
            for turn in range(20):
                one.send(b"HEAD /file HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                other.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\nCookie: b\r\n\r\n" % turn)
                assert one.read_head().startswith(b"HTTP/1.1 200 ")
                assert other.answer().body == b"/%d of b" % turn

    stage.play(story)


def test_a_connection_that_carried_a_body_gets_connection_close_and_is_ended(stage: Stage, forgetful: _Server) -> None:
    agent = stage.publish(forgetful.server_address[1])

    def story() -> None:
        with stage.caller() as visitor:
            for turn in range(1, 4):
                visitor.send(b"POST /comment HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 5\r\n\r\nhello")
                answer = visitor.answer()
                assert (answer.body, answer.headers.get("connection")) == (b"posted", None), "the visitor's own stays"
                assert agent.opened == turn
                stage.eventually(lambda: stage.idle_streams == 0)
                stage.eventually(lambda: not stage.edge.pools.closing)

    stage.play(story)
    assert forgetful.comments == [b"hello"] * 3
