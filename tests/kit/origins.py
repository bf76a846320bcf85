"""Origins for tests: raw TCP services in threads that echo, hash uploads, send streams, half-close first, or reset."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.kit.sockets import reset
from tests.kit.streams import blocks

Handler = Callable[[socket.socket], None]


class RawOrigin:
    """A TCP service on a free port of 127.0.0.1; each connection is served by `handler` in a thread."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        """Listen and serve at once."""
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", port), backlog=2048)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.live: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="origin", daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return ("127.0.0.1", self.port)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self.live.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._handler(sock)
        except OSError:
            pass
        finally:
            with self._lock:
                self.live.discard(sock)
            sock.close()

    def kill_connections(self) -> None:
        """Reset every connection, as a crashed origin would."""
        with self._lock:
            live, self.live = self.live, set()
        for sock in live:
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            reset(sock)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        with contextlib.suppress(OSError):  # closed already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in `accept`, which otherwise keeps the port open
        self._listener.close()
        self.kill_connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo(sock: socket.socket) -> None:
    """Send everything back, and end when the peer has ended."""
    while data := sock.recv(1 << 18):
        sock.sendall(data)


def report_after_end(sock: socket.socket) -> None:
    """Read to the end, then send `COUNT SHA256` and end; needs a half-close of the peer."""
    digest, count = hashlib.sha256(), 0
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while got := sock.recv_into(view):
        digest.update(view[:got])
        count += got
    sock.sendall(f"{count} {digest.hexdigest()}\n".encode())


def send_requested(sock: socket.socket) -> None:
    """Read a line `COUNT SEED`, send that stream, then end."""
    count, seed = _line(sock).split()
    for block in blocks(int(count), int(seed)):
        sock.sendall(block)


def end_first_then_read(sock: socket.socket) -> None:
    """Send a greeting, half-close at once, then read to the end; see also `HalfCloseRecorder`."""
    sock.sendall(b"that is all from me\n")
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1 << 18):
        pass


class HalfCloseRecorder:
    """A handler that half-closes first and then stores what it receives."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self.received = bytearray()
        self.finished = threading.Event()
        self.broken = False

    def __call__(self, sock: socket.socket) -> None:
        """Serve one connection."""
        sock.sendall(b"that is all from me\n")
        sock.shutdown(socket.SHUT_WR)
        try:
            while data := sock.recv(1 << 18):
                self.received += data
        except ConnectionError:
            self.broken = True
        self.finished.set()


def send_half_then_reset(sock: socket.socket) -> None:
    """Read a line `COUNT SEED`, send half of that stream, then reset."""
    count, seed = _line(sock).split()
    for block in blocks(int(count) // 2, int(seed)):
        sock.sendall(block)
    reset(sock)


def _line(sock: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError("the peer ended before a complete line")
        line += byte
    return bytes(line)
