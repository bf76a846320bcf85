"""An end arrives as an end and a break as a break, whichever program ends or dies."""

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import mortal_origin
from tests.e2e.curl import PARTIAL_FILE, RECV_ERROR, Curl
from tests.e2e.stack import Stack, Tunnel
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import HalfCloseRecorder, RawOrigin, echo
from tests.kit.programs import Program
from tests.kit.sockets import read_exactly, read_to_end
from tests.kit.streams import blocks, stream_hash

pytestmark = pytest.mark.timeout(180)

SIZE = 32 << 20
UP, DOWN = 3, 4
"""Seeds of what goes up and of what comes down."""

CUT = {PARTIAL_FILE, RECV_ERROR}


def read_all_then_answer(sock: socket.socket) -> None:
    """Read to the visitor's end; answer with the hash of that, and much more."""
    digest = hashlib.sha256()
    while data := sock.recv(1 << 20):
        digest.update(data)
    sock.sendall(digest.hexdigest().encode())
    for block in blocks(SIZE, DOWN):
        sock.sendall(block)


def send_stream(sock: socket.socket, *, end: bool = True) -> None:
    for block in blocks(SIZE, UP):
        sock.sendall(block)
    if end:
        sock.shutdown(socket.SHUT_WR)


def rest_of(sock: socket.socket) -> tuple[int, str]:
    """Return size and hash of all until the end."""
    digest, size = hashlib.sha256(), 0
    while data := sock.recv(1 << 20):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- what ends


def test_a_visitor_that_ends_first_still_gets_the_whole_reply(stack: Stack) -> None:
    with RawOrigin(read_all_then_answer) as origin, stack.tunnel("tcp", origin.port).connect() as visitor:
        send_stream(visitor)
        assert read_exactly(visitor, 64).decode() == stream_hash(SIZE, UP)
        assert rest_of(visitor) == (SIZE, stream_hash(SIZE, DOWN))
    stack.healthy()


def test_both_directions_end_independently(stack: Stack) -> None:
    with RawOrigin(echo) as origin, stack.tunnel("tcp", origin.port).connect() as visitor:
        sender = threading.Thread(target=send_stream, args=(visitor,))
        sender.start()
        assert rest_of(visitor) == (SIZE, stream_hash(SIZE, UP))
        sender.join(10)
    stack.healthy()


def test_an_origin_that_ends_first_still_receives_all_bytes_of_the_visitor(stack: Stack) -> None:
    ledger = HalfCloseRecorder()
    with RawOrigin(ledger) as origin, stack.tunnel("tcp", origin.port).connect() as visitor:
        assert read_to_end(visitor) == b"that is all from me\n"
        send_stream(visitor)
        assert ledger.finished.wait(60)
        assert not ledger.broken
        assert hashlib.sha256(ledger.received).hexdigest() == stream_hash(SIZE, UP)
    stack.healthy()


def test_an_http_visitor_that_ends_after_its_request_gets_the_whole_response(stack: Stack, http_origin: HttpOrigin) -> None:
    tunnel = stack.tunnel("http", http_origin.port)
    with tunnel.connect() as visitor:
        visitor.sendall(f"GET /bytes?n={SIZE}&seed={DOWN} HTTP/1.1\r\nHost: {tunnel.host}\r\nConnection: close\r\n\r\n".encode())
        visitor.shutdown(socket.SHUT_WR)
        assert read_head(visitor).startswith(b"HTTP/1.1 200")
        assert rest_of(visitor) == (SIZE, stream_hash(SIZE, DOWN))
    stack.healthy()


def switch_then(handler: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Return an origin's handler that takes an upgrade to a WebSocket first."""

    def serve(sock: socket.socket) -> None:
        fields = dict(line.split(b": ", 1) for line in read_head(sock).split(b"\r\n")[1:] if line)
        key = next(value for name, value in fields.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        handler(sock)

    return serve


def test_half_close_works_after_an_upgrade(stack: Stack) -> None:
    with RawOrigin(switch_then(read_all_then_answer)) as origin:
        tunnel = stack.tunnel("http", origin.port)
        with tunnel.connect() as visitor:
            visitor.sendall(
                f"GET / HTTP/1.1\r\nHost: {tunnel.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert read_head(visitor).startswith(b"HTTP/1.1 101")
            send_stream(visitor)
            assert read_exactly(visitor, 64).decode() == stream_hash(SIZE, UP)
            assert rest_of(visitor) == (SIZE, stream_hash(SIZE, DOWN))
    stack.healthy()


def read_head(sock: socket.socket) -> bytes:
    """Return an HTTP head, and leave what follows it unread."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(sock, 1)
    return bytes(head)


# ------------------------------------------------------------------------------------------------------------ what breaks


@pytest.mark.parametrize("end", ["reset", "fin"])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_truncated_response_is_an_error_to_curl(stack: Stack, http_origin: HttpOrigin, how: str, end: str) -> None:
    path = f"/broken?n=20000000&how={how}&end={end}"
    for kind in ("http", "tcp"):
        with Curl(stack.tunnel(kind, http_origin.port).http(path)) as curl:
            got = curl.finish()
        assert got.code in CUT, (kind, got)
    stack.healthy()


class RawVisitor:
    """A visitor without any protocol: only TCP itself distinguishes an end from a reset."""

    def __init__(self, tunnel: Tunnel, request: str) -> None:
        self._sock = tunnel.connect()
        self._sock.sendall(f"GET {request} -\r\n\r\nwhat the origin never reads".encode())

    def read(self, size: int) -> None:
        while size > 0:
            piece = self._sock.recv(1 << 16)
            assert piece, "an end before the middle"
            size -= len(piece)

    def saw_a_break(self) -> bool:
        with self._sock:
            try:
                while self._sock.recv(1 << 20):
                    pass
            except ConnectionResetError:
                return True
            return False


class CurlVisitor(Curl):
    """A visitor that uses HTTP. The origin never reads what it posts."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("-d", "what the origin never reads", *arguments)

    def saw_a_break(self) -> bool:
        with self:
            return self.finish().code in CUT


def downloads(http: Tunnel, tcp: Tunnel) -> Iterator[tuple[str, RawVisitor | CurlVisitor]]:
    """Start visitors whose answers never end: each framing, flowing and pausing, over both kinds of tunnel."""
    for going_on in ("pours", "pauses"):
        yield f"tcp, no framing, {going_on}", RawVisitor(tcp, f"/raw/{going_on}")
        for framing in ("length", "chunked", "close"):
            for kind, tunnel in (("http", http), ("tcp", tcp)):
                yield f"{kind}, {framing}, {going_on}", CurlVisitor(tunnel.http(f"/{framing}/{going_on}"))
        yield f"http to an HTTP/1.0 visitor, {going_on}", CurlVisitor("--http1.0", http.http(f"/close/{going_on}"))


@pytest.mark.parametrize("victim", ["origin", "agents", "server"])
def test_any_program_killed_during_a_response_is_a_break_for_the_visitor(fresh_stack: Stack, victim: str) -> None:
    origin, port = mortal_origin.start()
    with origin:
        http, tcp = fresh_stack.tunnel("http", port), fresh_stack.tunnel("tcp", port)
        visitors = dict(downloads(http, tcp))
        for visitor in visitors.values():
            visitor.read(mortal_origin.FIRST_BYTES // 2)
        victims: dict[str, list[Program]] = {
            "origin": [origin],
            "agents": [http.program, tcp.program],
            "server": [fresh_stack.server],
        }
        for program in victims[victim]:
            program.kill()
        deceived = [name for name, visitor in visitors.items() if not visitor.saw_a_break()]
        assert deceived == []


class Uploads:
    """An origin's handler that records whether an upload ends or breaks."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.over = threading.Event()
        self.broke = False

    def __call__(self, sock: socket.socket) -> None:
        try:
            size = 0
            while data := sock.recv(1 << 20):
                size += len(data)
                if size > 1_000_000:
                    self.flowing.set()
        except ConnectionResetError:
            self.broke = True
        self.over.set()


def send_until_broken(sock: socket.socket) -> None:
    with sock:
        try:
            while True:
                sock.sendall(bytes(1 << 20))
        except OSError:
            pass


@pytest.mark.parametrize("victim", ["agent", "server"])
def test_any_program_killed_during_an_upload_is_a_break_for_the_origin(fresh_stack: Stack, victim: str) -> None:
    uploads = Uploads()
    with RawOrigin(uploads) as origin:
        tunnel = fresh_stack.tunnel("tcp", origin.port)
        visitor = threading.Thread(target=send_until_broken, args=(tunnel.connect(),))
        visitor.start()
        assert uploads.flowing.wait(60)
        (tunnel.program if victim == "agent" else fresh_stack.server).kill()
        assert uploads.over.wait(60)
        assert uploads.broke
        visitor.join(60)
