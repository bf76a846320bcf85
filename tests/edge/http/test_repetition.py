"""Repeated bytes: their parsed form is cached, and everything else is decided for each request."""

import socket
import time
from itertools import pairwise

from tests.edge.http.kit import Caller, Origin, Request, Stage, say

ASK = b"GET /same HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


def repeated(visitor: Caller, times: int = 4) -> bytes:
    """Ask the same `times` times, and return the last answer's body."""
    body = b""
    for _ in range(times):
        visitor.send(ASK)
        body = visitor.answer().body
    return body


def test_every_repetition_is_sent_with_its_own_start(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(5):
                visitor.send(ASK)
                assert visitor.answer().body == b"/same"
                time.sleep(0.002)

    stage.play(story)
    assert agent.notes == [("GET", "/same", 200)] * 5
    starts = [int(said.removeprefix("t=")) for request in origin.requests for said in request.all("x-request-start")]
    assert len(starts) == 5
    assert all(later - earlier >= 2000 for earlier, later in pairwise(starts))


def test_a_tunnel_that_is_taken_over_serves_the_next_repetition(stage: Stage) -> None:
    with Origin(lambda _r, _s: say(b"old")) as old, Origin(lambda _r, _s: say(b"new")) as new:
        stage.publish(old)

        def story() -> None:
            with stage.caller() as visitor:
                assert repeated(visitor) == b"old"
                stage.on_loop(lambda: stage.publish(new))
                assert repeated(visitor, 1) == b"new"

        stage.play(story)
        assert len(new.requests) == 1


def test_a_tunnel_that_is_revoked_serves_no_more_repetitions(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            assert repeated(visitor) == b"/same"
            stage.on_loop(lambda: stage.registry.token_revoked("token"))
            visitor.send(ASK)
            answer = visitor.answer()
            assert (answer.status, answer.code) == (404, "unknown_host")

    stage.play(story)
    assert len(origin.requests) == 4


def test_a_repetition_is_held_while_the_agent_is_away(stage: Stage) -> None:
    with Origin(lambda _r, _s: say(b"old")) as old, Origin(lambda _r, _s: say(b"new")) as new:
        agent = stage.publish(old)

        def story() -> None:
            with stage.caller() as visitor:
                assert repeated(visitor) == b"old"
                stage.on_loop(lambda: stage.lose(agent))
                visitor.send(ASK)
                stage.eventually(lambda: stage.edge.held == 1)
                stage.on_loop(lambda: stage.publish(new))
                assert visitor.answer().body == b"new"
                assert repeated(visitor) == b"new"

        stage.play(story)


def test_visitors_with_the_same_head_are_distinguished(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        callers = [stage.caller() for _ in range(2)]
        callers[1].sock.close()
        callers[1].sock = socket.create_connection(("127.0.0.1", stage.port), source_address=("127.0.0.77", 0))
        for _ in range(3):
            for visitor in callers:
                repeated(visitor, 1)
        for visitor in callers:
            visitor.sock.close()

    stage.play(story)
    assert [request.all("x-forwarded-for") for request in origin.requests] == [["127.0.0.1"], ["127.0.0.77"]] * 3


def test_a_body_is_another_each_time(stage: Stage) -> None:
    with Origin(lambda request, _s: say(request.body)) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for turn in range(5):
                    visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 6\r\n\r\nbody %d" % turn)
                    assert visitor.answer().body == b"body %d" % turn
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 7\r\n\r\nlonger.")
                assert visitor.answer().body == b"longer."

        stage.play(story)


def test_get_and_head_get_the_same_head_and_not_the_same_body(stage: Stage) -> None:
    def answer(request: Request, _sock: socket.socket) -> bytes:
        return say(b"here")[:-4] if request.method == "HEAD" else say(b"here")

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(4):
                    assert visitor.get("/", method="HEAD").body == b""
                    assert visitor.get("/").body == b"here"

        stage.play(story)
        assert [request.connection for request in origin.requests] == [0, 1, 1, 2, 2, 3, 3, 4], "HEAD ends its connection"


def test_a_repetition_that_asks_for_the_end_gets_it(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        for _ in range(3):
            with stage.caller() as visitor:
                repeated(visitor, 3)
                visitor.send(b"GET /same HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n")
                assert visitor.answer().headers["connection"] == "close"
                assert visitor.rest() == b""

    stage.play(story)


def test_an_absolute_target_means_its_own_host_and_the_next_one_without_means_the_field_s(stage: Stage) -> None:
    with Origin(lambda _r, _s: say(b"a")) as first, Origin(lambda _r, _s: say(b"b")) as second:
        stage.publish(first, "a.localhost")
        stage.publish(second, "b.localhost")

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(3):
                    for target, body in ((b"http://b.localhost/same", b"b"),) * 3 + ((b"/same", b"a"),) * 3:
                        visitor.send(ASK.replace(b"/same", target))
                        assert visitor.answer().body == body

        stage.play(story)
