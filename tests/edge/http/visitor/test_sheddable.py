"""How a connection is shed, by its state: as gently as possible, and at once."""

import socket
from collections.abc import Callable, Iterator

import pytest

from portway.edge.connection_state import ConnectionState
from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Caller, Origin, Request, Stage, chunked, say

Make = Callable[[HttpEdgeSettings], Stage]


def behave(request: Request, sock: socket.socket) -> bytes | None:
    """Answer, or begin an answer, or do nothing until the connection ends."""
    if request.target == "/begin":
        sock.sendall(chunked([b"first"], end=False))
    elif request.target == "/pour":
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            sock.sendall(bytes(65536))
    elif request.target != "/wait":
        return say(b"hello")
    sock.recv(1)
    return None


@pytest.fixture
def crowded(stage_with: Make) -> Iterator[Stage]:
    """An edge whose agent is there, and whose origin behaves as above."""
    stage = stage_with(HttpEdgeSettings(hold_s=60, linger_s=60))
    with Origin(behave) as origin:
        stage.publish(origin)
        yield stage


def state(stage: Stage) -> ConnectionState:
    """Return what the only visitor is doing."""
    [member] = stage.edge._connections()
    return member.state()[0]


def shed(stage: Stage, doing: ConnectionState) -> None:
    """Shed the only visitor once it is in this state; its capacity is free at once."""
    stage.eventually(lambda: stage.edge.visitors == 1 and state(stage) is doing, f"it is never {doing!r}")

    def act() -> None:
        [member] = stage.edge._connections()
        member.shed(doing)
        assert stage.edge.visitors == 0

    stage.on_loop(act)


def is_broken_off(visitor: Caller) -> bool:
    try:
        while visitor.sock.recv(1 << 18):
            pass
    except ConnectionResetError:
        return True
    return False


def test_one_between_requests_sees_a_proper_end(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            assert visitor.get().body == b"hello"
            shed(crowded, ConnectionState.IDLE)
            assert visitor.rest() == b""

    crowded.play(story)


def test_a_silent_connection_sees_a_proper_end(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            shed(crowded, ConnectionState.SILENT)
            assert visitor.rest() == b""

    crowded.play(story)


def test_half_a_head_is_answered_408(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\n")
            crowded.eventually(lambda: all(one._buffer is not None for one in crowded.connections) and crowded.edge.visitors == 1)
            shed(crowded, ConnectionState.SILENT)
            answer = visitor.answer()
            assert (answer.status, answer.code, answer.headers["connection"]) == (408, "request_timeout", "close")
            assert visitor.rest() == b""

    crowded.play(story)


def test_a_body_that_does_not_come_is_answered_408(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            visitor.send(b"POST /wait HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10\r\n\r\nabc")
            shed(crowded, ConnectionState.SLOW)
            answer = visitor.answer("POST")
            assert (answer.status, answer.code, answer.headers["connection"]) == (408, "request_timeout", "close")
            assert visitor.rest() == b""

    crowded.play(story)


def test_one_that_waits_for_its_agent_is_answered_503(crowded: Stage) -> None:
    def story() -> None:
        crowded.on_loop(lambda: crowded.lose(crowded.agents[0]))
        with crowded.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            shed(crowded, ConnectionState.WAITING)
            answer = visitor.answer()
            assert (answer.status, answer.code, answer.headers["connection"]) == (503, "agent_offline", "close")
            assert visitor.rest() == b""
            assert crowded.edge.held == 0

    crowded.play(story)


def test_one_that_waits_for_its_answer_is_answered_503(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            visitor.send(b"GET /wait HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            shed(crowded, ConnectionState.QUIET)
            assert visitor.answer().code == "overloaded"
            assert visitor.rest() == b""

    crowded.play(story)


def test_an_answer_that_pauses_is_broken_off(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            visitor.send(b"GET /begin HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            assert b"200 OK" in visitor.read_head()
            shed(crowded, ConnectionState.QUIET)
            assert is_broken_off(visitor)

    crowded.play(story)


def test_an_answer_that_is_not_read_is_broken_off(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller(16 * 1024) as visitor:
            visitor.send(b"GET /pour HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            shed(crowded, ConnectionState.SLOW)
            assert is_broken_off(visitor)

    crowded.play(story)


def test_one_that_was_answered_and_does_not_close_is_closed(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc")
            assert visitor.answer().code == "unknown_host"
            shed(crowded, ConnectionState.CLOSING)
            assert visitor.rest() == b""

    crowded.play(story)


def test_a_connection_with_unprocessed_input_is_exempt(crowded: Stage) -> None:
    def story() -> None:
        with crowded.caller() as visitor:
            crowded.eventually(lambda: crowded.edge.visitors == 1)

            def told() -> ConnectionState:
                [member] = crowded.edge._connections()
                member.reader.buffered = b"GET"  # type: ignore[attr-defined]
                found = member.state()[0]
                member.reader.buffered = b""  # type: ignore[attr-defined]
                return found

            assert crowded.on_loop(told) is ConnectionState.EXEMPT
            assert visitor.get().status == 200

    crowded.play(story)
