"""A truncated message never ends cleanly (threats B1)."""

import socket
import threading

import h11
import pytest

from tests.edge.http.kit import Caller, Origin, Request, Stage, say
from tests.kit.sockets import reset

HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n",
    "until end": b"HTTP/1.1 200 OK\r\n\r\n",
}


def broken(visitor: Caller) -> bool:
    """Return whether the answer is seen as incomplete: reset, or cut short by its own framing."""
    try:
        visitor.answer()
    except ConnectionResetError:
        return True
    except h11.RemoteProtocolError:
        return True
    return False


@pytest.mark.parametrize("how", ["reset", "agent"])
@pytest.mark.parametrize("framing", HEADS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("sent", [0, 100, 200_000])
def test_an_answer_that_breaks_off_resets_the_visitor(stage: Stage, framing: str, how: str, version: bytes, sent: int) -> None:
    with_agent = how == "agent" and stage.kind == "mux"
    go = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        head = HEADS[framing].replace(b"1000", b"1000000").replace(b"1f4", b"f4240")
        sock.sendall(head + b"x" * sent)
        assert go.wait(10)
        if with_agent:
            stage.on_loop(stage.agents[0].die)
        else:
            reset(sock)
        return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/" + version + b"\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                while len(visitor.pending) < sent:
                    visitor.pending += visitor.sock.recv(1 << 16)
                go.set()
                with pytest.raises(ConnectionResetError):
                    visitor.rest()
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)
        why = "the link to the agent was lost" if with_agent else "the origin reset the connection"
        assert [cut.partition(": ")[2] for cut in stage.agents[0].cuts] == [why]
        assert stage.idle_streams == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_origin_that_ends_properly_but_early_is_no_end_for_the_visitor(stage: Stage, framing: str) -> None:
    with Origin(lambda _request, sock: sock.sendall(HEADS[framing] + b"x" * 10)) as origin:
        stage.publish(origin)

        def story() -> None:
            for keep in (b"keep-alive", b"close"):
                with stage.caller() as visitor:
                    visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: " + keep + b"\r\n\r\n")
                    visitor.read_head()
                    with pytest.raises(ConnectionResetError):
                        visitor.rest()

        stage.play(story)
        assert stage.agents[0].notes == [("GET", "/", 200)] * 2


def test_chunks_that_are_wrong_break_the_answer_off(stage: Stage) -> None:
    go = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert go.wait(10)
        return b"0x3\r\nabc\r\n0\r\n\r\n"

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                go.set()
                with pytest.raises(ConnectionResetError):
                    visitor.rest()

        stage.play(story)


@pytest.mark.parametrize("cut", range(0, 49, 4))
def test_wherever_an_answer_is_cut_it_is_not_complete(stage: Stage, cut: int) -> None:
    whole = say(b"0123456789")

    with Origin(lambda _request, sock: sock.sendall(whole[:cut])) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                try:
                    answer = visitor.answer()
                except (ConnectionResetError, h11.RemoteProtocolError):
                    assert cut >= len(whole) - 10
                else:
                    assert answer.status == 502
                    assert cut < len(whole) - 10

        stage.play(story)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_visitor_that_leaves_in_mid_answer_ends_the_stream(stage: Stage, how: str) -> None:
    gone = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        try:
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                sock.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        except OSError:
            gone.set()
            return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read(100_000)
                if how == "reset":
                    visitor.reset()
            assert gone.wait(10)
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)
        assert stage.agents[0].notes == [("GET", "/", 499)]


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_visitor_that_leaves_in_mid_body_never_makes_a_whole_request(stage: Stage, origin: Origin, how: str, framing: bytes) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\n" + framing + b"\r\n\r\n3\r\nabc\r\n")
            stage.eventually(lambda: bool(origin.wires) and origin.wires[0].endswith(b"abc\r\n"))
            if how == "reset":
                visitor.reset()
            else:
                visitor.end()
                assert visitor.answer().status == 400
        stage.eventually(lambda: origin.ended == 1)
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)
    assert not origin.requests


@pytest.mark.parametrize("body", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloxx", b"-1\r\n"])
def test_an_answer_that_goes_wrong_before_any_of_it_was_sent_is_answered_502_with_the_reason(stage: Stage, body: bytes) -> None:
    with Origin(lambda _request, sock: sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                answer = visitor.get()
                assert answer.code == "origin_invalid"
                assert b"chunk" in answer.body

        stage.play(story)
        assert stage.agents[0].notes == [("GET", "/", 502)]
        assert stage.idle_streams == 0


def test_the_agent_gets_how_far_a_response_came_and_why(stage: Stage) -> None:
    with Origin(lambda _request, sock: sock.sendall(HEADS["length"] + b"x" * 10)) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                with pytest.raises(ConnectionResetError):
                    visitor.rest()

        stage.play(story)
        assert stage.agents[0].cuts == ["cut after 10 B: the origin ended too early"]
