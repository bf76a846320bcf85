"""A long head is buffered once, and only for as long as it may have to be sent."""

import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Caller, Origin, Request, Stage, chunked

CROWD = 32
PADDING = b"".join(b"X-Padding-%d: %b\r\n" % (number, b"v" * 420) for number in range(70))
HEAD = b"GET /1 HTTP/1.1\r\nHost: a.localhost\r\n" + PADDING + b"\r\n"
REST_BYTES = 4 * 1024
"""What the edge keeps of a request besides its head: the exchange, the stream and their ends."""

Make = Callable[[HttpEdgeSettings], Stage]


@pytest.fixture(params=["one process", "workers"])
def patient(stage_with: Make, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """An edge with long deadlines; like a worker's it may have to hand each visitor off with the head that it sent."""
    stage = stage_with(HttpEdgeSettings(hold_s=30, head_s=30))
    if request.param == "workers":
        stage.edge.hand_off = lambda _lease, _channel, _journey: False
    yield stage
    tracemalloc.stop()


@contextmanager
def crowd(stage: Stage) -> Iterator[list[Caller]]:
    """Visitors without a request yet; memory allocated by the edge from now on is traced."""
    with ExitStack() as stack:
        visitors = [stack.enter_context(stage.caller()) for _ in range(CROWD)]
        stage.eventually(lambda: stage.edge.visitors == CROWD)
        tracemalloc.start()
        yield visitors


def kept_bytes() -> int:
    """Return what the edge's own code has allocated and still keeps, for each visitor."""
    own = [tracemalloc.Filter(True, f"*/portway/{folder}/*") for folder in ("server", "protocol/http1")]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(own).traces) // CROWD


def test_a_request_that_waits_for_its_answer_keeps_its_head_once(patient: Stage, origin: Origin) -> None:
    agent = patient.publish(origin)
    agent.silent = True

    def story() -> None:
        with crowd(patient) as visitors:
            for visitor in visitors:
                visitor.send(HEAD)
            patient.eventually(lambda: agent.opened == CROWD)
            patient.eventually(lambda: kept_bytes() < len(HEAD) + REST_BYTES, f"{kept_bytes()} bytes are kept once all is sent")

    patient.play(story)


def test_a_request_that_waits_for_its_agent_keeps_its_head_once(patient: Stage, origin: Origin) -> None:
    agent = patient.publish(origin)

    def story() -> int:
        patient.on_loop(lambda: patient.lose(agent))
        with crowd(patient) as visitors:
            for visitor in visitors:
                visitor.send(HEAD)
            patient.eventually(lambda: patient.edge.held == CROWD)
            took = patient.on_loop(kept_bytes)
            patient.on_loop(lambda: patient.publish(origin))
            assert [visitor.answer().body for visitor in visitors] == [b"/1"] * CROWD, "all of it is still known"
            return took

    assert patient.play(story) < len(HEAD) + REST_BYTES


def test_a_request_whose_answer_has_begun_keeps_no_head(patient: Stage) -> None:
    def begin(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(chunked([b"first"], end=False))
        sock.recv(1)
        return None

    def story() -> int:
        with crowd(patient) as visitors:
            for visitor in visitors:
                visitor.send(HEAD)
            for visitor in visitors:
                assert b"200 OK" in visitor.read_head()
            return patient.on_loop(kept_bytes)

    with Origin(begin) as origin:
        patient.publish(origin)
        assert patient.play(story) < 2 * REST_BYTES


def test_a_head_in_pieces_is_kept_once(patient: Stage) -> None:
    piece = HEAD[:-2]

    def story() -> int:
        with crowd(patient) as visitors:
            for visitor in visitors:
                visitor.send(piece)
            patient.eventually(lambda: kept_bytes() > len(piece))
            return patient.on_loop(kept_bytes)

    assert patient.play(story) < len(HEAD) * 9 / 8 + REST_BYTES, "a bytearray grows by an eighth at a time"


def test_a_second_attempt_sends_the_whole_head_again(patient: Stage, origin: Origin) -> None:
    agent = patient.publish(origin)
    agent.rude = True

    def once_rude(tunnel_id: int, header: bytes, on_status: object) -> object:
        agent.rude = agent.opened == 0
        return opening(tunnel_id, header, on_status)  # type: ignore[arg-type]

    opening, agent.open = agent.open, once_rude  # type: ignore[method-assign, assignment]

    def story() -> None:
        with patient.caller() as visitor:
            visitor.send(HEAD)
            assert visitor.answer().body == b"/1"

    patient.play(story)
    assert agent.opened == 2
    assert [request.all("x-padding-69") for request in origin.requests] == [["v" * 420]]
