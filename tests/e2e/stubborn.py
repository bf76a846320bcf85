"""An HTTP origin for visitors that stall: it notices which do not read, and leaves bodies unread until released."""

import hashlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.kit.origins import RawOrigin
from tests.kit.streams import blocks

STILL_S = 0.5
"""A socket that takes nothing for this time has a peer that does not read."""

HELLO = b"hello\n"


class StubbornOrigin:
    """GET /hello, GET /pour/SIZE/SEED, POST /swallow (answers with the hash), POST /ignore (the same, after `release`)."""

    def __init__(self) -> None:
        """Serve at once, each connection in a thread."""
        self.release = threading.Event()
        self.hellos = 0
        self.poured = 0
        """Bytes that all answers of /pour together have handed to the kernel."""
        self._stalled: set[int] = set()
        self._swallowed: dict[int, int] = {}
        self._wait_for_change = threading.Condition()
        self._origin = RawOrigin(self._serve)
        self.port = self._origin.port

    def wait_for_stalled(self, count: int, deadline_s: float = 60.0) -> None:
        """Wait until so many answers do not move any more."""
        self._wait(lambda: len(self._stalled) >= count, deadline_s)

    def wait_for_swallowed(self, count: int, size: int, deadline_s: float = 60.0) -> None:
        """Wait until `size` bytes have come of each of `count` bodies."""
        self._wait(lambda: sum(got >= size for got in self._swallowed.values()) >= count, deadline_s)

    def _wait(self, wanted: Callable[[], bool], deadline_s: float) -> None:
        with self._wait_for_change:
            assert self._wait_for_change.wait_for(wanted, deadline_s), (len(self._stalled), self._swallowed)

    def _serve(self, sock: socket.socket) -> None:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, buffer, 256 * 1024)
        while head := _head(sock):
            path = head.split(b" ")[1].decode()
            if path == "/hello":
                with self._wait_for_change:
                    self.hellos += 1
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(HELLO), HELLO))
            elif path.startswith("/pour/"):
                self._pour(sock, *map(int, path.split("/")[2:]))
            else:
                if path == "/ignore":
                    assert self.release.wait(120)
                self._swallow(sock, head)

    def _pour(self, sock: socket.socket, size: int, seed: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sock.setblocking(False)
        writable = select.poll()
        writable.register(sock, select.POLLOUT)
        for block in blocks(size, seed):
            rest = memoryview(block)
            while rest:
                if not writable.poll(STILL_S * 1000):
                    self._note_stalled(sock, True)
                    writable.poll()
                    self._note_stalled(sock, False)
                sent = sock.send(rest)
                rest = rest[sent:]
                with self._wait_for_change:
                    self.poured += sent
        sock.setblocking(True)

    def _note_stalled(self, sock: socket.socket, stalled: bool) -> None:
        with self._wait_for_change:
            (self._stalled.add if stalled else self._stalled.discard)(sock.fileno())
            self._wait_for_change.notify_all()

    def _swallow(self, sock: socket.socket, head: bytes) -> None:
        left = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        digest, name = hashlib.sha256(), sock.fileno()
        self._swallowed[name] = 0
        while left:
            data = sock.recv(min(left, 1 << 20))
            if not data:
                raise ConnectionError("the body broke off")
            digest.update(data)
            left -= len(data)
            with self._wait_for_change:
                self._swallowed[name] += len(data)
                self._wait_for_change.notify_all()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._origin.close()


def _head(sock: socket.socket) -> bytes:
    """Return a request's head and leave its body in the kernel; nothing at the end."""
    while data := sock.recv(65536, socket.MSG_PEEK):
        at = data.find(b"\r\n\r\n")
        if at >= 0:
            return sock.recv(at + 4)
    return b""
