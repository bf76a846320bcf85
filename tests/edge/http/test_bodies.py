"""Bodies arrive whole in both directions, in every framing, and are never buffered whole."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Origin, Request, Stage, chunked, say
from tests.kit.sockets import tcp_listener
from tests.kit.streams import blocks, stream_hash

MIB = 1 << 20


class Sink:
    """An origin that hashes a body of any size and framing as it comes, and answers with the hash."""

    def __init__(self) -> None:
        self._listener = tcp_listener()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._digest, args=(sock,), daemon=True).start()

    def _digest(self, sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), sock, sock.makefile("rb") as stream:
            while line := stream.readline():
                assert line.startswith(b"POST ")
                fields = {}
                while (line := stream.readline()) != b"\r\n":
                    name, _, value = line.partition(b": ")
                    fields[name.lower()] = value.strip()
                digest, count = hashlib.sha256(), 0
                for piece in self._pieces(stream, fields):
                    digest.update(piece)
                    count += len(piece)
                sock.sendall(say(f"{count} {digest.hexdigest()}".encode()))

    @staticmethod
    def _pieces(stream: BinaryIO, fields: dict[bytes, bytes]) -> Iterator[bytes]:
        if b"content-length" in fields:
            left = int(fields[b"content-length"])
            while left:
                piece = stream.read(min(left, MIB))
                left -= len(piece)
                yield piece
            return
        while size := int(stream.readline(), 16):
            yield stream.read(size)
            stream.read(2)
        stream.read(2)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 70_000, 30 * MIB])
def test_a_counted_body_goes_up_whole(stage: Stage, sink: Sink, size: int) -> None:
    stage.publish(sink.port)

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(2):
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: %d\r\n\r\n" % size)
                for block in blocks(size):
                    visitor.send(block)
                assert visitor.answer().body.decode() == f"{size} {stream_hash(size)}"

    stage.play(story)
    assert stage.agents[0].opened == 2, "a connection that carried a body carries nothing else"


@pytest.mark.parametrize("piece", [1, 100, 5000, MIB])
def test_a_chunked_body_goes_up_whole(stage: Stage, sink: Sink, piece: int) -> None:
    stage.publish(sink.port)
    size = min(piece * 3000, 20 * MIB)

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(2):
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
                for block in blocks(size):
                    visitor.send(
                        b"".join(
                            b"%X;x=y\r\n%b\r\n" % (len(part), part) for part in (block[i : i + piece] for i in range(0, len(block), piece))
                        )
                    )
                visitor.send(b"0\r\nTrailer: dropped\r\n\r\n")
                assert visitor.answer().body.decode() == f"{size} {stream_hash(size)}"

    stage.play(story)
    assert stage.agents[0].opened == 2, "a connection that carried a body carries nothing else"


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 70_000, 30 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked", "until end", "1.0"])
def test_an_answer_comes_down_whole(stage: Stage, size: int, framing: str) -> None:
    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        if framing == "length":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        elif framing == "chunked":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            sock.sendall(b"HTTP/1.%d 200 OK\r\n\r\n" % (0 if framing == "1.0" else 1))
        for block in blocks(size):
            sock.sendall(block if framing != "chunked" else b"%x\r\n%b\r\n" % (len(block), block))
        if framing == "chunked":
            sock.sendall(b"0\r\n\r\n")
        return b"" if framing in ("length", "chunked") else None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(2):
                    heard = visitor.get()
                    assert len(heard.body) == size
                    assert hashlib.sha256(heard.body).hexdigest() == stream_hash(size)
                    assert ("content-length" in heard.headers) is (framing == "length")
                visitor.send(b"GET / HTTP/1.0\r\nHost: a.localhost\r\n\r\n")
                head = visitor.read_head()
                assert b"Transfer-Encoding" not in head
                assert b"\r\nConnection: close\r\n" in head
                assert hashlib.sha256(visitor.rest()).hexdigest() == stream_hash(size)

        stage.play(story)
        reused = framing in ("length", "chunked")
        assert len(origin.wires) == (1 if reused else 3)


def test_chunks_are_forwarded_as_they_arrive(stage: Stage) -> None:
    gate = threading.Event()

    def answer(_request: Request, sock: socket.socket) -> bytes:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert gate.wait(10)
        return b"4\r\nlast\r\n0\r\n\r\n"

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                assert visitor.read(10) == b"5\r\nfirst\r\n"
                gate.set()
                assert visitor.read(14) == b"4\r\nlast\r\n0\r\n\r\n"

        stage.play(story)


def test_an_answer_cut_anywhere_arrives_whole(stage: Stage) -> None:
    whole = [say(b"hello" * 10, b"A: b"), chunked([b"x" * 20, b"y", b"z" * 5])]

    def answer(request: Request, sock: socket.socket) -> bytes:
        turn, cut = divmod(int(request.target[1:]), 200)
        wire = whole[turn]
        sock.sendall(wire[: cut % len(wire)])
        return wire[cut % len(wire) :]

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for cut in range(0, 400, 3):
                    assert visitor.get(f"/{cut}").body == (b"hello" * 10 if cut < 200 else b"x" * 20 + b"y" + b"z" * 5)

        stage.play(story)
        assert len(origin.wires) == 1


def test_both_directions_may_flow_at_once(stage: Stage) -> None:
    """An origin that answers while it still reads: the answer flows, and neither connection is used again."""

    def answer(request: Request, sock: socket.socket) -> bytes:
        raise AssertionError("the request never ends")

    with Origin(answer) as origin:
        origin._next = lambda sock, wire, number: _duplex(sock)  # type: ignore[method-assign,assignment]
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 30\r\n\r\n")
                head = visitor.read_head()
                assert b"\r\nConnection: close\r\n" in head
                for turn in range(3):
                    visitor.send(b"%010d" % turn)
                    assert visitor.read(15) == b"a\r\n%010d\r\n" % turn
                assert visitor.rest() == b"0\r\n\r\n"
            stage.eventually(lambda: stage.idle_streams == 0)

        stage.play(story)


def _duplex(sock: socket.socket) -> None:
    wire = b""
    while b"\r\n\r\n" not in wire:
        wire += sock.recv(1000)
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        data = b""
        while len(data) < 10:
            data += sock.recv(10 - len(data))
        sock.sendall(b"a\r\n%b\r\n" % data)
    sock.sendall(b"0\r\n\r\n")


def test_a_body_beyond_the_limit_is_refused(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(body_bytes_max=10))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10\r\n\r\n0123456789")
            assert visitor.answer().status == 200
            visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 11\r\n\r\n01234567890")
            answer = visitor.answer()
            assert (answer.status, answer.code, answer.headers["connection"]) == (413, "body_too_large", "close")
            assert visitor.rest() == b""
        with stage.caller() as visitor:
            visitor.send(
                b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n"
            )
            assert visitor.answer().status == 413

    stage.play(story)
    assert len(origin.requests) == 1
