"""Expectations, interim responses, responses without a body, and early responses."""

import socket
import threading

import pytest

from tests.edge.http.kit import Origin, Request, Stage, judge, say
from tests.kit.streams import blocks


class Hesitant(Origin):
    """An origin that answers after the head alone, by the target: /continue, /reject, /early."""

    def _next(self, sock: socket.socket, wire: bytearray, connection: int) -> Request | None:
        while b"\r\n\r\n" not in wire:
            data = sock.recv(1 << 16)
            if not data:
                return None
            wire += data
        if b"/continue" in wire:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif b"/reject" in wire:
            sock.sendall(say(b"too large", status=b"413 Content Too Large"))
        elif b"/early" in wire:
            sock.sendall(say(b"enough"))
            return None
        while True:
            found, rest = judge(bytes(wire), connection)
            if found:
                self.requests.append(found[0])
                del wire[: len(wire) - len(rest)]
                return found[0]
            data = sock.recv(1 << 16)
            if not data:
                return None
            wire += data


def test_100_continue_goes_end_to_end(stage: Stage) -> None:
    with Hesitant() as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(3):
                    visitor.send(b"POST /continue HTTP/1.1\r\nHost: a.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
                    assert visitor.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
                    visitor.send(b"hello")
                    assert visitor.answer().body == b"/continue"

        stage.play(story)
        assert len(origin.wires) == 3
        assert origin.requests[0].body == b"hello"
        assert origin.requests[0].all("expect") == ["100-continue"]


def test_an_expectation_that_is_rejected_ends_both_connections(stage: Stage) -> None:
    """The body was announced and never sent: a server that reads on would take the next request for it."""
    with Hesitant() as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST /reject HTTP/1.1\r\nHost: a.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
                answer = visitor.answer()
                assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too large", "close")
                visitor.send(b"GET /smuggled HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                assert visitor.rest() == b""
            stage.eventually(lambda: origin.ended == 1)
            assert stage.idle_streams == 0

        stage.play(story)
        assert b"smuggled" not in origin.wires[0]


@pytest.mark.parametrize("framing", [b"Content-Length: 20000000", b"Transfer-Encoding: chunked"])
def test_an_early_answer_arrives_although_the_body_was_not_read(stage: Stage, framing: bytes) -> None:
    with Hesitant() as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST /early HTTP/1.1\r\nHost: a.localhost\r\n" + framing + b"\r\n\r\n")
                try:
                    for block in blocks(20_000_000):
                        visitor.send(block if b"chunked" not in framing else b"%x\r\n%b\r\n" % (len(block), block))
                except OSError:
                    pass  # the edge gives up reading after a while
                answer = visitor.answer()
                assert (answer.status, answer.body) in ((200, b"enough"), (502, answer.body))
            stage.eventually(lambda: stage.edge.visitors == 0)
            assert stage.idle_streams == 0

        stage.play(story)


def test_an_early_answer_closes_what_still_has_unread_bytes(stage: Stage) -> None:
    with Hesitant() as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST /early HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 20\r\n\r\n")
                answer = visitor.answer()
                assert (answer.body, answer.headers["connection"]) == (b"enough", "close")
                visitor.send(b"GET /smuggled HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                assert visitor.rest() == b""
            stage.eventually(lambda: origin.ended == 1)

        stage.play(story)
        assert stage.idle_streams == 0
        assert b"smuggled" not in origin.wires[0]


def test_head_and_304_and_204_have_no_body_and_the_connection_goes_on(stage: Stage) -> None:
    replies = {
        "/head": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "/304": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1000\r\n\r\n",
        "/204": b"HTTP/1.1 204 No Content\r\n\r\n",
    }
    with Origin(lambda request, _sock: replies[request.target]) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(3):
                    assert visitor.get("/head", method="HEAD").headers["content-length"] == "1000"
                    assert visitor.get("/304").status == 304
                    assert visitor.get("/204").status == 204

        stage.play(story)
        assert [request.connection for request in origin.requests] == [0, 1, 1, 1, 2, 2, 2, 3, 3], "HEAD ends its connection"


def test_interim_responses_are_forwarded_except_to_http_1_0_visitors(stage: Stage) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: 4\r\n\r\n"
    with Origin(lambda _request, _sock: hints * 9 + say(b"done")) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert (answer.interim, answer.body) == ([103] * 9, b"done")
                visitor.send(b"GET / HTTP/1.0\r\nHost: a.localhost\r\n\r\n")
                assert visitor.read_head().startswith(b"HTTP/1.1 200 ")

        stage.play(story)


def test_a_flood_of_interim_answers_ends(stage: Stage) -> None:
    stop = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        try:
            while not stop.is_set():
                sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
        except OSError:
            stop.set()
        return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert (answer.status, answer.code) == (502, "origin_head_too_large")
                assert b"--max-answer-head" in answer.body
                assert 4000 < len(answer.interim) < 5000, "128 KiB of them"
            assert stop.wait(10)

        stage.play(story)
