"""Full links: visitors queue for a stream, for a bounded time, and then get an error."""

import socket
import struct
import threading
from collections.abc import Callable

import pytest

import portway.edge.http.origin.pool as pool_module
from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Origin, Request, Stage, say

GET = b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


@pytest.mark.parametrize("idle_max", [0, 64], ids=["nothing is kept", "idle streams are kept"])
def test_visitors_queue_for_the_only_stream(stage_with: Callable[[HttpEdgeSettings], Stage], idle_max: int) -> None:
    stage = stage_with(HttpEdgeSettings(pool_idle_max=idle_max))
    go_on = threading.Event()
    served: list[int] = []

    def answer(request: Request, _sock: socket.socket) -> bytes:
        go_on.wait(10)
        served.append(int(request.target[1:]))
        return say(request.target.encode())

    with Origin(answer) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            visitors = [stage.caller() for _ in range(20)]
            visitors[0].send(GET % 0)
            stage.eventually(lambda: agent.opened == 1)
            agent.streams_max = 1
            for turn, visitor in enumerate(visitors[1:], start=1):
                visitor.send(GET % turn)
            pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
            stage.eventually(lambda: len(pool.queue) == 19)
            leaver = visitors.pop(7)
            leaver.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaver.sock.close()
            stage.eventually(lambda: len(pool.queue) == 18)
            go_on.set()
            for visitor in visitors:
                assert visitor.answer().status == 200
            for visitor in visitors:
                visitor.sock.close()
            assert not pool.queue

        stage.play(story)
        assert agent.opened == 1
        assert served == [0, *range(1, 7), *range(8, 20)], "in their order, and nobody for the one who left"


def test_a_link_with_a_free_stream_serves_the_queue(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings())
    agent = stage.publish(origin)
    agent.streams_max = 0

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(GET % 1)
            pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
            stage.eventually(lambda: len(pool.queue) == 1)
            agent.streams_max = 1
            assert visitor.answer().body == b"/1"

    stage.play(story)


def test_the_queue_keeps_its_order(
    stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "QUEUE_POLL_S", 0.5)
    stage = stage_with(HttpEdgeSettings())
    agent = stage.publish(origin)
    agent.streams_max = 0

    def story() -> None:
        with stage.caller() as first, stage.caller() as newcomer:
            first.send(GET % 1)
            pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
            stage.eventually(lambda: len(pool.queue) == 1)
            agent.streams_max = 1
            newcomer.send(GET % 2)
            stage.eventually(lambda: len(pool.queue) == 2)
            assert (first.answer().body, newcomer.answer().body) == (b"/1", b"/2")

    stage.play(story)


def test_a_request_that_may_not_reuse_a_stream_gets_its_slot_on_the_link(
    stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin
) -> None:
    """A POST takes no stream of an origin that may be closing it just then."""
    stage = stage_with(HttpEdgeSettings())
    agent = stage.publish(origin)
    agent.streams_max = 1

    def story() -> None:
        with stage.caller() as visitor:
            visitor.get("/warm")
            assert visitor.get("/again", method="POST").status == 200

    stage.play(story)
    assert agent.opened == 2


def test_no_request_waits_for_ever(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(hold_s=0.2))
    agent = stage.publish(origin)
    agent.streams_max = 0

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(GET % 1)
            refused = visitor.answer()
            assert (refused.status, refused.code) == (503, "overloaded")
            agent.streams_max = 1
            visitor.send(GET % 2)
            assert visitor.answer().body == b"/2", "the connection lives on"

    stage.play(story)


def test_queued_requests_are_served_by_the_next_agent_of_the_name(
    stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_with(HttpEdgeSettings())
    monkeypatch.setattr(pool_module, "QUEUE_POLL_S", 60)
    first = stage.publish(origin)
    first.streams_max = 0

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(GET % 1)
            pool = stage.edge.pools.for_lease(*stage.lease_and_holder("a.localhost"))
            stage.eventually(lambda: len(pool.queue) == 1)
            stage.on_loop(lambda: stage.publish(origin))
            with stage.caller() as newcomer:
                assert newcomer.get("/2").body == b"/2"
            assert visitor.answer().body == b"/1"

    stage.play(story)
    assert first.opened == 0
