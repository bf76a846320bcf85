"""Error responses: every failure has its status, its code and its next step."""

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Owner
from portway.protocol.stream_status import StreamStatus
from tests.edge.http.kit import Origin, Request, Stage, say
from tests.kit.sockets import free_port


def test_an_origin_that_refuses_is_unreachable(stage: Stage) -> None:
    agent = stage.publish(free_port())

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(2):
                answer = visitor.get()
                assert (answer.status, answer.code) == (502, "origin_unreachable")
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 3\r\n\r\nabc")
            assert visitor.answer().code == "origin_unreachable"

    stage.play(story)
    assert agent.notes == [("GET", "/", 502), ("GET", "/", 502), ("POST", "/", 502)]


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (StreamStatus.REFUSED, 502, "origin_unreachable"),
        (StreamStatus.UNRESOLVABLE, 502, "origin_unreachable"),
        (StreamStatus.TIMED_OUT, 504, "origin_timeout"),
        (StreamStatus.FORBIDDEN, 403, "origin_forbidden"),
        (StreamStatus.UNKNOWN_TUNNEL, 503, "agent_offline"),
        (StreamStatus.OVERLOADED, 503, "overloaded"),
    ],
)
def test_every_stream_status_has_its_answer(stage: Stage, origin: Origin, status: StreamStatus, expected: int, code: str) -> None:
    stage.publish(origin).status = status

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get()
            assert (answer.status, answer.code) == (expected, code)
            assert ("retry-after" in answer.headers) is (expected == 503)

    stage.play(story)


def test_an_origin_that_stays_silent_has_timed_out(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(response_s=0.3))
    over = threading.Event()

    def answer(_request: Request, _sock: socket.socket) -> bytes | None:
        over.wait(10)
        return None

    with Origin(answer) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert (answer.status, answer.code) == (504, "origin_timeout")
                agent.silent = True
                assert visitor.get().code == "origin_timeout"
            over.set()

        stage.play(story)
        assert agent.notes == [("GET", "/", 504), ("GET", "/", 504)]


def test_an_origin_that_pauses_too_long_in_mid_answer_is_cut(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(silence_s=0.3))
    over = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        over.wait(10)
        return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                with pytest.raises(ConnectionResetError):
                    visitor.rest()
            over.set()

        stage.play(story)


def test_an_origin_that_closes_without_a_response_is_reported(stage: Stage) -> None:
    with Origin(lambda _request, _sock: None) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert (answer.status, answer.code) == (502, "origin_closed")
                assert visitor.get().status == 502  # the visitor's own connection is fine

        stage.play(story)


def test_an_origin_s_own_errors_pass_untouched_and_no_origin_can_speak_for_the_edge(stage: Stage) -> None:
    with Origin(lambda _request, _sock: say(b"mine", b"PORTWAY-error: agent_offline", status=b"503 Service Unavailable")) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert (answer.status, answer.code, answer.body) == (503, "", b"mine")

        stage.play(story)


# ------------------------------------------------------------------------------------------------------------ the hold


def test_a_visitor_is_held_while_the_agent_is_away_and_served_when_it_is_back(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)

    def story() -> None:
        with stage.caller() as one, stage.caller() as two:
            assert one.get().status == 200
            stage.on_loop(lambda: stage.lose(agent))
            one.send(b"GET /held HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            two.send(b"POST /held HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 3\r\n\r\nabc")
            stage.eventually(lambda: stage.edge.held == 2)
            stage.on_loop(lambda: stage.publish(origin))
            assert one.answer().body == b"/held"
            assert two.answer().body == b"/held"
        assert stage.edge.held == 0

    stage.play(story)
    assert [request.body for request in origin.requests if request.method == "POST"] == [b"abc"]


def test_a_hold_ends_with_agent_offline(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(hold_s=0.3))
    agent = stage.publish(origin)
    stage.lose(agent)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get()
            assert (answer.status, answer.code) == (503, "agent_offline")
            assert int(answer.headers["retry-after"]) > 0
            answer = visitor.get("/", "a.localhost", "Accept: text/html")
            assert b"<h1>" in answer.body
            lease = stage.registry.lookup("http", "a.localhost")
            assert lease is not None
            assert not lease.waiters

    stage.play(story)


def test_no_request_is_held_when_holds_are_off(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    for settings in (HttpEdgeSettings(hold_s=0.0), HttpEdgeSettings(held_max=0, hold_s=60.0)):
        stage = stage_with(settings)
        stage.lose(stage.publish(origin))

        def story(stage: Stage = stage) -> None:
            with stage.caller() as visitor:
                assert visitor.get().code == "agent_offline"

        stage.play(story)


def test_a_held_visitor_gets_an_error_when_the_name_is_freed(stage: Stage, origin: Origin) -> None:
    stage.lose(stage.publish(origin))

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            stage.eventually(lambda: stage.edge.held == 1)
            stage.on_loop(lambda: stage.registry.expire(float("inf")))
            assert visitor.answer().code == "unknown_host"

    stage.play(story)


def test_a_held_visitor_that_leaves_is_forgotten(stage: Stage, origin: Origin) -> None:
    stage.lose(stage.publish(origin))

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            stage.eventually(lambda: stage.edge.held == 1)
            visitor.reset()
        stage.eventually(lambda: stage.edge.visitors == 0)
        assert stage.edge.held == 0

    stage.play(story)
    lease = stage.registry.lookup("http", "a.localhost")
    assert lease is not None
    assert not lease.waiters


def test_a_link_that_was_lost_unnoticed_holds_the_visitor_too(stage: Stage, origin: Origin) -> None:
    """The session still counts as live, but opens no stream."""
    agent = stage.publish(origin)
    agent.gone = True

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET /held HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
            stage.eventually(lambda: len(pool.queue) == 1)
            stage.on_loop(lambda: stage.publish(origin))
            assert visitor.answer().body == b"/held"

    stage.play(story)


def test_an_agent_that_dies_before_it_answers_costs_an_idempotent_request_nothing(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)
    agent.silent = True

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET /again HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            stage.eventually(lambda: agent.opened == 1)
            if stage.kind != "mux":
                return  # a bare socket cannot report that the agent is gone

            def come_back() -> None:
                stage.lose(agent)
                stage.publish(origin)

            stage.on_loop(come_back)
            answer = visitor.answer()
            assert (answer.status, answer.body) == (200, b"/again")

    stage.play(story)


def test_a_stream_that_breaks_before_the_agent_s_word_is_tried_once_more(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)
    agent.rude = True

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get().code == "origin_closed"
            assert agent.opened == 2
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            assert visitor.answer().code == "origin_closed"
            assert agent.opened == 3

    stage.play(story)


def test_visitors_of_one_tenant_cannot_take_every_hold(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(held_max=8, hold_s=60.0))
    flooded, calm = stage.publish(origin), stage.publish(origin, "b.localhost", Owner("another", b"j" * 32))

    def story() -> None:
        for agent in (flooded, calm):
            stage.on_loop(partial(stage.lose, agent))
        with ExitStack() as stack:
            flood = [stack.enter_context(stage.caller()) for _ in range(8)]
            for number, visitor in enumerate(flood):
                visitor.send(b"GET /a HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                stage.eventually(lambda number=number: stage.edge.held == number + 1)  # type: ignore[misc]
            neighbour = stack.enter_context(stage.caller())
            neighbour.send(b"GET /b HTTP/1.1\r\nHost: b.localhost\r\n\r\n")

            assert flood[0].answer().code == "agent_offline", "who has waited longest gives way"
            stage.on_loop(lambda: stage.publish(origin, "b.localhost", Owner("another", b"j" * 32)))
            assert neighbour.answer().body == b"/b"
            stage.on_loop(lambda: stage.publish(origin))
            assert [visitor.answer().body for visitor in flood[1:]] == [b"/a"] * 7

    stage.play(story)
