"""Idle streams: kept, reused, closed; and what is retried."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Origin, Request, Stage, say


def test_a_stream_serves_one_visitor_after_the_other(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)

    def story() -> None:
        for turn in range(10):
            with stage.caller() as visitor:
                assert visitor.get(f"/{turn}").body == f"/{turn}".encode()
                assert visitor.get("/x", method="PUT").body == b"/x"
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)
    assert agent.opened == 1
    assert stage.idle_streams == 1


def test_visitors_at_the_same_time_get_streams_of_their_own(stage: Stage) -> None:
    together = threading.Barrier(5)

    def answer(request: Request, _sock: socket.socket) -> bytes:
        together.wait(10)
        return say(request.target.encode())

    with Origin(answer) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            visitors = [stage.caller() for _ in range(5)]
            for turn, visitor in enumerate(visitors):
                visitor.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % turn)
            for turn, visitor in enumerate(visitors):
                assert visitor.answer().body == b"/%d" % turn
                visitor.sock.close()

        stage.play(story)
        assert agent.opened == 5
        assert stage.idle_streams == 5


def test_no_more_than_the_bound_are_kept(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(pool_idle_max=2))
    together = threading.Barrier(5)

    def answer(request: Request, _sock: socket.socket) -> bytes:
        together.wait(10)
        return say(request.target.encode())

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            visitors = [stage.caller() for _ in range(5)]
            for visitor in visitors:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            for visitor in visitors:
                visitor.answer()
                visitor.sock.close()
            stage.eventually(lambda: origin.live == 2)

        stage.play(story)
        assert stage.idle_streams == 2


def test_idle_streams_grow_old(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(pool_idle_s=0.3))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.get()
            stage.eventually(lambda: stage.idle_streams == 1)
            stage.eventually(lambda: origin.live == 0)
            stage.eventually(lambda: len(stage.edge.pools) == 0)
            assert visitor.get("/again").body == b"/again"

    stage.play(story)
    assert len(origin.wires) == 2


def test_an_origin_sees_an_idle_stream_end_and_not_break(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(pool_idle_s=0.3))
    ends: list[bytes | None] = []

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(say(b"x"))
        try:
            ends.append(sock.recv(100))
        except ConnectionResetError:
            ends.append(None)
        return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.get()
            stage.eventually(lambda: ends == [b""])

        stage.play(story)


def test_a_stream_that_the_origin_closes_is_forgotten(stage: Stage) -> None:
    def answer(request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(say(request.target.encode()))
        return None  # closes, without announcing it

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for turn in range(10):
                    assert visitor.get(f"/{turn}").body == f"/{turn}".encode()
                    stage.eventually(lambda: stage.idle_streams == 0)

        stage.play(story)
        assert len(origin.requests) == 10


@pytest.mark.parametrize(
    "reply",
    [
        say(b"x", b"Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        say(b"x") + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
        b"HTTP/1.1 204 No Content\r\n\r\nEVIL!",
    ],
)
def test_a_stream_is_not_kept_when_its_answer_did_not_end_cleanly(stage: Stage, reply: bytes) -> None:
    with Origin(lambda _request, _sock: reply) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for turn in range(1, 6):
                    assert b"EVIL" not in visitor.get(f"/{turn}").body
                    stage.eventually(lambda: stage.idle_streams == 0)
                    assert len(origin.requests) == turn

        stage.play(story)
        assert len(origin.wires) == 5


def test_bytes_after_the_response_reach_no_visitor(stage: Stage) -> None:
    """An origin that ignores a body takes it for a request (threats S3, CL.0): its second response must reach no visitor."""
    late = threading.Event()

    def answer(request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(say(request.target.encode()))
        if request.target == "/first":
            late.wait(10)
            sock.sendall(say(b"EVIL!"))
        return b""

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get("/first").body == b"/first"
                stage.eventually(lambda: stage.idle_streams == 1)
                late.set()
                stage.eventually(lambda: stage.idle_streams == 0)
                assert visitor.get("/second").body == b"/second"

        stage.play(story)
        assert len(origin.wires) == 2


def test_after_a_body_the_connection_is_not_used_again(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            for method in (b"GET", b"POST", b"HEAD", b"OPTIONS", b"BREW"):
                visitor.send(method + b" / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 3\r\n\r\nabc")
                assert visitor.answer(method.decode()).status == 200 if method != b"HEAD" else visitor.read_head()

    stage.play(story)
    assert len(origin.wires) == 5
    assert all(request.all("connection") == ["close"] for request in origin.requests)


def dying_on_second(request: Request, sock: socket.socket) -> bytes | None:
    """Answer the first request of a connection, and close at the second one."""
    return None if "/again" in request.target else say(request.target.encode())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_an_idempotent_request_without_body_is_retried_once_on_a_new_stream(stage: Stage, method: str) -> None:
    deaths: list[Request] = []

    def answer(request: Request, _sock: socket.socket) -> bytes | None:
        if request.target == "/again" and not deaths:
            deaths.append(request)
            return None
        return say(b"" if request.method == "HEAD" else request.target.encode())

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.get("/first")
                heard = visitor.get("/again", method=method)
                assert heard.status == 200

        stage.play(story)
        assert [request.target for request in origin.requests] == ["/first", "/again", "/again"]
        assert origin.requests[2].connection == 1


def test_it_is_retried_only_once(stage: Stage) -> None:
    with Origin(dying_on_second) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.get("/first")
                heard = visitor.get("/again")
                assert (heard.status, heard.code) == (502, "origin_closed")
                assert visitor.get("/first").status == 200

        stage.play(story)
        assert [request.target for request in origin.requests] == ["/first", "/again", "/again", "/first"]


@pytest.mark.parametrize(
    "wire",
    [
        b"POST /again HTTP/1.1\r\nHost: a.localhost\r\n\r\n",
        b"PUT /again HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\n\r\n.",
        b"PATCH /again HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n",
        b"BREW /again HTTP/1.1\r\nHost: a.localhost\r\n\r\n",
    ],
)
def test_what_cannot_be_repeated_is_not_retried(stage: Stage, wire: bytes) -> None:
    with Origin(dying_on_second) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.get("/first")
                visitor.send(wire)
                heard = visitor.answer()
                assert (heard.status, heard.code) == (502, "origin_closed")

        stage.play(story)
        assert [request.target for request in origin.requests] == ["/first", "/again"]


def test_a_fresh_stream_is_not_retried_either(stage: Stage) -> None:
    with Origin(dying_on_second) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get("/again").code == "origin_closed"

        stage.play(story)
        assert len(origin.requests) == 1


def test_after_the_first_byte_of_an_answer_nothing_is_retried(stage: Stage) -> None:
    def answer(request: Request, sock: socket.socket) -> bytes | None:
        if request.target == "/again":
            sock.sendall(b"HTTP/1.1 2")
            return None
        return say(b"x")

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.get("/first")
                assert visitor.get("/again").code == "origin_invalid"

        stage.play(story)
        assert len(origin.requests) == 2


def test_what_cannot_be_repeated_takes_a_new_stream_until_one_has_survived_as_long_a_rest(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.get()
            assert visitor.get("/", method="POST").status == 200
            assert agent.opened == 2
            time.sleep(0.1)
            visitor.get()
            assert agent.opened == 2, "what may be repeated tries one that rested, and it has survived"
            assert visitor.get("/", method="POST").status == 200
            assert agent.opened == 2
            time.sleep(0.3)
            assert visitor.get("/", method="POST").status == 200
            assert agent.opened == 3, "so long a rest has not been survived yet"

    stage.play(story)


def test_an_origin_that_closes_after_its_answers_is_not_pooled(stage: Stage) -> None:
    def answer(request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(say(request.target.encode()))
        return None  # closes, without announcing it

    with Origin(answer) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get().status == 200
                stage.eventually(lambda: stage.idle_streams == 0)
                for turn in range(1, 100):
                    method = ("GET", "POST")[turn % 2]
                    assert visitor.get(f"/{turn}", method=method).body == f"/{turn}".encode()
                    assert stage.idle_streams == 0
                    assert agent.opened == turn + 1

        stage.play(story)
        assert len(origin.requests) == 100, "nothing is sent twice"


def test_a_new_grant_starts_with_an_empty_pool(stage: Stage) -> None:
    """Streams that were opened for one session are never used for another one's tunnel."""
    with Origin(lambda _r, _s: say(b"old")) as old, Origin(lambda _r, _s: say(b"new")) as new:
        stage.publish(old)

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get().body == b"old"
                stage.on_loop(lambda: stage.publish(new))
                assert visitor.get().body == b"new"
                stage.eventually(lambda: old.live == 0)

        stage.play(story)


def test_nonces_of_many_visitors_never_cross(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def visit(number: int) -> None:
        with stage.caller() as visitor:
            for turn in range(30):
                target = f"/{number}/{turn}"
                if turn % 3 == 0:
                    visitor.send(f"POST {target} HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 3\r\n\r\nabc".encode())
                    assert visitor.answer().body == target.encode()
                else:
                    assert visitor.get(target).body == target.encode()

    def story() -> None:
        threads = [threading.Thread(target=visit, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
            assert not thread.is_alive()

    stage.play(story)
    assert len(origin.requests) == 16 * 30
    assert len(origin.wires) <= 16 * 10 + 32, "those with a body end their connection, the others share"
