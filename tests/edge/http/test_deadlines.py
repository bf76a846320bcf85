"""Stalled visitors are closed in time, delay no others and use little memory."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Caller, Origin, Request, Stage, say
from tests.kit.streams import blocks

MakeStage = Callable[[HttpEdgeSettings], Stage]


def test_half_a_head_is_answered_408_and_closed(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(head_s=0.3))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: a.loc")
            answer = visitor.answer()
            assert (answer.status, answer.code) == (408, "request_timeout")
            assert visitor.rest() == b""

    stage.play(story)
    assert not origin.wires


def test_a_head_s_deadline_does_not_move_with_its_bytes(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(head_s=0.4))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.get()
            began = time.monotonic()
            visitor.sock.settimeout(0.05)
            visitor.send(b"GET / HTTP/1.1\r\n")
            with pytest.raises(OSError):
                while time.monotonic() < began + 5:
                    try:
                        if visitor.sock.recv(1000):
                            raise ConnectionResetError("answered")
                    except TimeoutError:
                        visitor.send(b"A: b\r\n")
            assert time.monotonic() < began + 4

    stage.play(story)
    assert len(origin.requests) == 1


def test_a_silent_visitor_is_closed_without_a_response(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(head_s=0.3, idle_s=0.3))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.rest() == b""
        with stage.caller() as visitor:
            visitor.get()
            assert visitor.rest() == b""
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)


def test_a_body_that_stops_is_answered_408(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(stall_s=0.3))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10\r\n\r\nabc")
            assert visitor.answer().code == "request_timeout"
            assert visitor.rest() == b""
        stage.eventually(lambda: origin.ended == 1)

    stage.play(story)
    assert not origin.requests


def test_a_body_that_is_not_read_is_the_origin_s_fault(stage_with: MakeStage) -> None:
    stage = stage_with(HttpEdgeSettings(response_s=0.3))
    with Origin() as origin:
        origin._next = lambda *_: time.sleep(3)  # type: ignore[method-assign]
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 100000000\r\n\r\n")
                visitor.sock.settimeout(0.2)
                try:
                    for block in blocks(100_000_000):
                        visitor.send(block)
                except TimeoutError:
                    pass
                visitor.sock.settimeout(5)
                assert visitor.answer().code == "origin_timeout"

        stage.play(story)


def test_a_response_that_is_not_read_is_broken(stage_with: MakeStage) -> None:
    stage = stage_with(HttpEdgeSettings(stall_s=0.3))
    with Origin(lambda _request, _sock: say(b"x" * 20_000_000)) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller(receive_buffer=4096) as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                stage.eventually(lambda: stage.edge.visitors == 0)
                with pytest.raises(ConnectionResetError):
                    visitor.rest()

        stage.play(story)
        assert stage.agents[0].notes == [("GET", "/", 200)]


def test_a_visitor_that_left_a_silent_event_stream_frees_it_soon(stage_with: MakeStage) -> None:
    stage = stage_with(HttpEdgeSettings())

    def answer(request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        return b"" if sock.recv(1) else None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
            stage.eventually(lambda: stage.edge.visitors == 0)
            stage.eventually(lambda: origin.ended == 1)

        stage.play(story)


def test_requests_that_are_sent_ahead_wait_their_turn(stage: Stage) -> None:
    """They are read once, at most one head's worth, and not lost."""

    def answer(request: Request, _sock: socket.socket) -> bytes:
        time.sleep(0.05)
        return say(request.target.encode())

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for turn in range(5):
                    visitor.send(b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n\r\n" % turn)
                    time.sleep(0.01)
                visitor.end()
                for turn in range(5):
                    assert visitor.answer().body == b"/%d" % turn
                assert visitor.rest() == b""

        stage.play(story)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def test_slow_readers_delay_no_others_and_memory_stays_flat(stage: Stage) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def answer(request: Request, sock: socket.socket) -> bytes:
        if request.target == "/small":
            return say(b"quick")
        try:
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1000):
                sock.sendall(piece)
        except OSError:
            pass
        return b""

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            before = resident_bytes()
            slow: list[Caller] = []
            for _ in range(40):
                visitor = stage.caller(receive_buffer=4096)
                visitor.send(b"GET /large HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                slow.append(visitor)
            with stage.caller() as quick:
                for _ in range(50):
                    assert quick.get("/small").body == b"quick"
            # 40 answers of 64 MB stand still. Of each a window is kept at most, at either end of the link: both are here.
            assert resident_bytes() - before < 64 * 1024 * 1024
            for visitor in slow:
                visitor.reset()
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)


def test_an_idle_visitor_holds_no_parser_and_no_buffer(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        visitors = [stage.caller() for _ in range(20)]
        for visitor in visitors:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\n")
            visitor.send(b"Content-Length: 70000\r\nCookie: " + b"c" * 8000 + b"\r\n\r\n" + b"x" * 70_000)
            visitor.answer()

        def look() -> None:
            for visitor in stage.connections:
                assert visitor._buffer is None
                assert visitor._exchange is None
                assert visitor._cached_request is None
                assert visitor.reader.buffered == b""
                assert visitor.writer.pending is None

        stage.on_loop(look)
        for visitor in visitors:
            visitor.sock.close()

    stage.play(story)


def test_visitors_beyond_the_bound_are_rejected(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(visitors_max=2))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as one, stage.caller() as two:
            assert one.get().status == 200
            assert two.get().status == 200
            with stage.caller() as three:
                assert three.get().code == "overloaded"
                assert three.rest() == b""
            assert one.get().status == 200

    stage.play(story)


def test_an_answer_that_closes_arrives_even_while_the_visitor_still_sends(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
            for block in blocks(4 << 20):
                visitor.send(block)
            answer = visitor.answer()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
            assert visitor.rest() == b""
            visitor.end()
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)
    assert not origin.wires
