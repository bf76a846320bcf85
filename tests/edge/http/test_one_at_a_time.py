"""Origins with one thread or a few: idle connections do not block them. Python's own http.server is the origin."""

import contextlib
import http.client
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Stage
from tests.kit.sockets import DEADLINE_S


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """Answer with the path, after the body."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for


class _Silent(HTTPServer):
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent."""


class _ManyThreads(ThreadingMixIn, _Silent):
    daemon_threads = True


class _FewThreads(_Silent):
    """Four threads, each of which serves one connection to its end."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._waiting: queue.Queue[tuple[object, object] | None] = queue.Queue()
        for _ in range(4):
            threading.Thread(target=self._work, daemon=True).start()

    def process_request(self, request: object, client_address: object) -> None:
        """Leave it to the next thread that is free."""
        self._waiting.put((request, client_address))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            with contextlib.suppress(OSError):
                self.finish_request(*item)  # type: ignore[arg-type]
            self.shutdown_request(item[0])  # type: ignore[arg-type]

    def server_close(self) -> None:
        """Let the threads end."""
        super().server_close()
        while not self._waiting.empty():
            if (item := self._waiting.get()) is not None:
                self.shutdown_request(item[0])  # type: ignore[arg-type]
        for _ in range(4):
            self._waiting.put(None)


@contextmanager
def serving(kind: type[HTTPServer]) -> Iterator[int]:
    """Yield the port of a server."""
    server = kind(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        threading.Thread(target=server.shutdown, daemon=True).start()
        server.server_close()


@pytest.fixture
def one_thread(stage: Stage) -> Iterator[int]:
    with serving(_Silent) as port:
        stage.publish(port)
        yield port


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 1.5])
def test_a_post_is_answered_after_a_get(stage: Stage, one_thread: int, pause_s: float) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            for turn in range(2):
                assert visitor.get(f"/{turn}").body == f"/{turn}".encode()
                time.sleep(pause_s)
                visitor.send(b"POST /posted HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\n\r\n.")
                assert visitor.answer().body == b"/posted"

    stage.play(story)


def test_visitors_that_arrive_together_are_served_one_after_the_other(stage: Stage, one_thread: int) -> None:
    def story() -> None:
        visitors = [stage.caller() for _ in range(6)]
        for round_number in range(3):
            for number, visitor in enumerate(visitors):
                visitor.send(b"GET /%d/%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % (round_number, number))
            for number, visitor in enumerate(visitors):
                assert visitor.answer().body == b"/%d/%d" % (round_number, number)
        for visitor in visitors:
            visitor.sock.close()

    stage.play(story)


def test_clients_without_portway_are_served_too(stage: Stage, one_thread: int) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            visitor.get()
            direct = http.client.HTTPConnection("127.0.0.1", one_thread, timeout=DEADLINE_S / 2)
            direct.request("GET", "/direct")
            assert direct.getresponse().read() == b"/direct"
            direct.close()

    stage.play(story)


def test_a_few_threads_serve_more_visitors_than_they_are(stage: Stage) -> None:
    with serving(_FewThreads) as port:
        stage.publish(port)

        def story() -> None:
            visitors = [stage.caller() for _ in range(10)]
            for _ in range(3):
                for number, visitor in enumerate(visitors):
                    visitor.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % number)
                for number, visitor in enumerate(visitors):
                    assert visitor.answer().body == b"/%d" % number
            for visitor in visitors:
                visitor.sock.close()

        stage.play(story)


def test_many_threads_are_used(stage: Stage) -> None:
    """An origin that serves many at once keeps its connections: closing them would cost a set-up for each request."""
    with serving(_ManyThreads) as port:
        agent = stage.publish(port)

        def story() -> None:
            visitors = [stage.caller() for _ in range(10)]
            for _ in range(20):
                for number, visitor in enumerate(visitors):
                    visitor.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % number)
                for number, visitor in enumerate(visitors):
                    assert visitor.answer().body == b"/%d" % number
            for visitor in visitors:
                visitor.sock.close()

        stage.play(story)
        assert agent.opened <= 20


def test_an_origin_that_was_replaced_by_one_with_one_thread(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings())
    with serving(_ManyThreads) as many, serving(_Silent) as one:
        agent = stage.publish(many)

        def story() -> None:
            visitors = [stage.caller() for _ in range(5)]

            def ask_all() -> None:
                for number, visitor in enumerate(visitors):
                    visitor.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % number)
                for number, visitor in enumerate(visitors):
                    assert visitor.answer().body == b"/%d" % number

            def end_idle() -> None:
                pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
                while pool._idle:
                    pool._idle.pop().close_gracefully()

            for _ in range(3):
                ask_all()
            agent.port = one
            stage.on_loop(end_idle)
            ask_all()
            for visitor in visitors:
                visitor.sock.close()

        stage.play(story)
