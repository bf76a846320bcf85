"""A visitor that ends or breaks during its response: its origin sees the same as without Portway."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.edge.http.kit import Caller, Stage, say
from tests.kit.origins import RawOrigin

GET = b"GET /%b HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
HEADS: dict[str, bytes] = {
    "a request": GET % b"slow",
    "a request with a body": b"POST /slow HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 5\r\n\r\nhello",
    "a request in chunks": b"POST /slow HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "with half of the next one": GET % b"slow" + b"GET /next HT",
    "with the next one": GET % b"slow" + GET % b"next",
    "with many": GET % b"slow" + GET % b"next" * 100,
    "an event stream": GET % b"events",
    "an upgrade": b"GET /slow HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n",
}


class Listening:
    """An origin that responds to /slow on request, begins /events at once, and records how each connection ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()
        self._raw = RawOrigin(self._serve)
        self.port = self._raw.port

    def _serve(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head or (b"Content-Length: 5" in head and not head.endswith(b"hello")) or self._in_chunks(head):
            head += sock.recv(1 << 16)
        if head.startswith(b"GET /next"):
            sock.sendall(say(b"next"))
            return
        if head.startswith(b"GET /events"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        self.asked.release()
        try:
            self.ends.append("ended" if sock.recv(1) == b"" else "went on")
        except ConnectionResetError:
            self.ends.append("reset")
            return
        self.answer.wait(10)
        sock.sendall(say(b"late") if b"/slow" in head else b"last event")

    @staticmethod
    def _in_chunks(head: bytes) -> bool:
        return b"chunked" in head and not head.endswith(b"0\r\n\r\n")

    def close(self) -> None:
        self.answer.set()
        self._raw.close()


@pytest.fixture
def listening(stage: Stage) -> Iterator[Listening]:
    origin = Listening()
    stage.publish(origin.port)
    yield origin
    origin.close()


@pytest.mark.parametrize("at_once", [False, True], ids=["later", "in one segment"])
@pytest.mark.parametrize("wire", HEADS.values(), ids=HEADS)
def test_an_end_goes_on_as_an_end_and_the_answer_is_delivered(stage: Stage, listening: Listening, wire: bytes, at_once: bool) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(wire)
            if not at_once:
                assert listening.asked.acquire(timeout=10)
            visitor.end()
            stage.eventually(lambda: listening.ends == ["ended"])
            listening.answer.set()
            if b"/events" in wire:
                visitor.read_head()
                assert b"last event" in visitor.rest()
                return
            assert visitor.answer().body == b"late"
            for _ in range(wire.count(b"GET /next HTTP/1.1\r\n")):
                assert visitor.answer().body == b"next"
            assert visitor.rest() == b""
        assert stage.idle_streams == 0

    stage.play(story)


@pytest.mark.parametrize("wire", HEADS.values(), ids=HEADS)
def test_a_reset_goes_on_as_a_reset(stage: Stage, listening: Listening, wire: bytes) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(wire)
            assert listening.asked.acquire(timeout=10)
            visitor.reset()
        stage.eventually(lambda: listening.ends == ["reset"])
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)


def test_a_request_whose_visitor_has_ended_is_not_sent_twice(stage: Stage) -> None:
    """An origin that treats the end as an abort closes without an answer: the request must not be sent again."""
    asked: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        while data := sock.recv(1 << 16):
            asked.append(data.split(b" ")[1])
            if b"/first" in data:
                sock.sendall(say(b"first"))

    origin = RawOrigin(serve)
    stage.publish(origin.port)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/first").body == b"first"
            visitor.send(GET % b"second")
            stage.eventually(lambda: b"/second" in asked)
            visitor.end()
            assert visitor.answer().code == "origin_closed"

    stage.play(story)
    origin.close()
    assert asked == [b"/first", b"/second"]


@pytest.mark.parametrize("leave", [Caller.end, Caller.reset])
def test_a_visitor_that_leaves_while_it_is_held_is_left_by_its_origin_too(
    stage: Stage, listening: Listening, leave: Callable[[Caller], None]
) -> None:
    stage.lose(stage.agents[0])

    def story() -> None:
        visitor = stage.caller()
        visitor.send(GET % b"slow")
        stage.eventually(lambda: stage.edge.held == 1)
        leave(visitor)
        stage.eventually(lambda: leave is Caller.end or stage.edge.held == 0)
        stage.on_loop(lambda: stage.publish(listening.port))
        if leave is Caller.end:
            stage.eventually(lambda: listening.ends == ["ended"])
            listening.answer.set()
            assert visitor.answer().body == b"late"
        visitor.sock.close()

    stage.play(story)
