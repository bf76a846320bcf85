"""WebSockets: a relay after the origin's own, correct 101, and not before."""

import base64
import hashlib
import socket
import threading

import pytest

from portway.engine.limits import scopes_of
from portway.engine.policy import Policy
from tests.edge.http.kit import Caller, Origin, Request, Stage, say
from tests.kit.sockets import reset
from tests.kit.streams import blocks, stream_hash
from tests.protocol.http1.corpus import KEY

ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
ASK = (
    b"GET /ws HTTP/1.1\r\nHost: a.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Protocol: chat\r\nOrigin: http://a.localhost\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)


def echoing(_request: Request, sock: socket.socket) -> bytes | None:
    """Switch, then send everything back until the visitor ends."""
    sock.sendall(SWITCH)
    while data := sock.recv(1 << 16):
        sock.sendall(data)
    return None


def switched(visitor: Caller) -> bytes:
    visitor.send(ASK)
    head = visitor.read_head()
    assert head.startswith(b"HTTP/1.1 101 ")
    return head


def test_after_the_origin_s_101_bytes_flow_in_both_directions(stage: Stage) -> None:
    with Origin(echoing) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                head = switched(visitor)
                assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in head
                assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
                size = 5 << 20
                sender = threading.Thread(target=visitor.send, args=(b"".join(blocks(size)),))
                sender.start()
                digest = hashlib.sha256()
                for _ in range(5):
                    digest.update(visitor.read(1 << 20))
                sender.join()
                assert digest.hexdigest() == stream_hash(size)
                visitor.end()
                assert visitor.rest() == b""
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)
        request = origin.requests[0]
        assert request.all("connection") == ["Upgrade"]
        assert request.all("upgrade") == ["websocket"]
        assert request.all("x-forwarded-for") == ["127.0.0.1"]
        assert agent.notes == [("GET", "/ws", 101)]
        assert stage.idle_streams == 0


def test_what_either_side_sent_too_early_is_not_lost(stage: Stage) -> None:
    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(SWITCH + b"from the origin")
        return None if sock.recv(100) != b"from the visitor" else b"heard"

    with Origin(answer) as origin:
        stage.publish(origin)
        origin._next = _first_head  # type: ignore[method-assign]

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(ASK + b"from the visitor")
                visitor.read_head()
                assert visitor.read(20) == b"from the originheard"

        stage.play(story)


def _first_head(sock: socket.socket, wire: bytearray, connection: int) -> Request | None:
    if b"\r\n\r\n" in wire:
        return None
    while not wire.endswith(b"\r\n\r\n"):
        wire += sock.recv(1)
    return Request("GET", "/ws", [], b"", connection)


@pytest.mark.parametrize(
    "reply",
    [
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
        SWITCH.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        SWITCH.replace(b"Connection: Upgrade", b"Connection: keep-alive"),
    ],
)
def test_a_101_that_is_not_ours_is_refused(stage: Stage, reply: bytes) -> None:
    with Origin(lambda _request, _sock: reply + b"EVIL") as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(ASK + b"early frame")
                answer = visitor.answer()
                assert (answer.status, answer.code, answer.headers["connection"]) == (502, "origin_invalid", "close")
                assert visitor.rest() == b""
            stage.eventually(lambda: origin.ended == 1)

        stage.play(story)
        assert b"early frame" not in origin.wires[0]


def test_a_101_to_an_ordinary_request_is_refused(stage: Stage) -> None:
    with Origin(lambda _request, _sock: SWITCH) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get().code == "origin_invalid"

        stage.play(story)


def test_what_follows_a_refused_upgrade_is_dropped(stage: Stage) -> None:
    """The next request may be meant for the origin alone (threats S4): it is not read at all."""
    with Origin(lambda _request, _sock: say(b"no", status=b"426 Upgrade Required")) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(ASK + b"GET /smuggled HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                answer = visitor.answer()
                assert (answer.status, answer.headers["connection"]) == (426, "close")
                assert visitor.rest() == b""

        stage.play(story)
        assert [request.target for request in origin.requests] == ["/ws"]


@pytest.mark.parametrize("who", ["origin", "agent", "visitor"])
def test_a_websocket_that_breaks_breaks_for_the_other_side_too(stage: Stage, who: str) -> None:
    gone = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(SWITCH)
        try:
            while data := sock.recv(100):
                if data.endswith(b"die"):
                    reset(sock)
                    break
        except OSError:
            pass
        gone.set()
        return None

    with Origin(answer) as origin:
        agent = stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                switched(visitor)
                visitor.send(b"frame")
                stage.eventually(lambda: stage.edge.visitors == 1)
                if who == "visitor":
                    visitor.reset()
                elif who == "agent" and stage.kind == "mux":
                    stage.on_loop(agent.die)
                else:
                    visitor.send(b"die")
                if who != "visitor":
                    with pytest.raises(ConnectionResetError):
                        visitor.rest()
                assert gone.wait(10)
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)


def test_an_origin_that_ends_its_side_lets_the_visitor_finish(stage: Stage) -> None:
    said = bytearray()

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(SWITCH + b"bye")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(100):
            said.extend(data)
        return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                switched(visitor)
                assert visitor.rest() == b"bye"
                visitor.send(b"last words")
                visitor.end()
                stage.eventually(lambda: bytes(said) == b"last words")
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)


def test_the_edge_s_end_ends_websockets(stage: Stage) -> None:
    with Origin(echoing) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                switched(visitor)
                stage.on_loop(stage.edge.close)
                with pytest.raises(ConnectionResetError):
                    visitor.rest()

        stage.play(story)


def test_a_websocket_is_held_to_the_limits_of_its_token(stage: Stage) -> None:
    with Origin(echoing) as origin:
        stage.publish(origin)
        lease = stage.registry.lookup("http", "a.localhost")
        assert lease is not None
        lease.scopes = scopes_of(stage.engine.reactor, Policy(max_total_payload=1000))

        def story() -> None:
            with stage.caller() as visitor:
                switched(visitor)
                visitor.send(b"x" * 600)
                assert visitor.read(400) == b"x" * 400, "600 there and 400 back are all that may pass"
                with pytest.raises(ConnectionResetError):
                    visitor.read(1)
            stage.eventually(lambda: stage.edge.visitors == 0)

        stage.play(story)
