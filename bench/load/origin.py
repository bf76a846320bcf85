"""The benchmark's origin: small responses from one loop, each bulk transfer in its own process, and uploads that it does not read.

`python -m bench.load.origin COUNTERS` prints its port and serves on 127.0.0.1 until it is killed.
"""

import os
import select
import signal
import socket
import sys
from pathlib import Path

from bench.load.counters import Counters
from bench.load.forks import Forks
from bench.load.http import DOWNLOAD_HEAD, HEAD_BYTES_MAX, HEAD_END, SMALL_RESPONSE
from bench.parent_death import die_with_parent

CHUNK_BYTES = 1024 * 1024  # large enough that Python's share of the cost is negligible
SECONDS_MAX = 60 * 60  # longer than any run; then a forgotten origin ends


def send_forever(conn: socket.socket) -> None:
    """Send a download until the visitor disconnects."""
    chunk = os.urandom(CHUNK_BYTES)
    conn.sendall(DOWNLOAD_HEAD)
    while True:
        conn.send(chunk)


def count_forever(conn: socket.socket, counted: int, slot: int, counters: Counters) -> None:
    """Count an upload until the visitor disconnects."""
    chunk = bytearray(CHUNK_BYTES)
    counted += counters.get(slot)
    while got := conn.recv_into(chunk):
        counted += got
        counters.put(slot, counted)


def transfer(conn: socket.socket, head: bytes, slot: int, counters: Counters) -> None:
    """Serve one bulk transfer; runs in its own process."""
    conn.setblocking(True)
    try:
        if head.startswith(b"GET "):
            send_forever(conn)
        else:
            count_forever(conn, len(head) - head.find(HEAD_END) - len(HEAD_END), slot, counters)
    except OSError:
        pass  # the visitor disconnected: every measurement ends like this


class Origin:
    """Accepts connections, responds to small requests, and forks for bulk transfers."""

    def __init__(self, listener: socket.socket, counters: Counters) -> None:
        self._listener = listener
        self._counters = counters
        self._poller = select.epoll()
        self._conns: dict[int, socket.socket] = {}
        self._transfers = 0
        self._forks = Forks()

    def serve(self) -> None:
        """Serve until killed."""
        self._poller.register(self._listener, select.EPOLLIN)
        while True:
            for fd, events in self._poller.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif not events & select.EPOLLIN:
                    self._forget(self._conns[fd])
                else:
                    self._answer(self._conns[fd])

    def _accept(self) -> None:
        conn, _ = self._listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.setblocking(False)
        self._conns[conn.fileno()] = conn
        self._poller.register(conn, select.EPOLLIN)

    def _answer(self, conn: socket.socket) -> None:
        try:
            data = conn.recv(HEAD_BYTES_MAX)
            if data.startswith((b"GET /down ", b"PUT /up ")) and HEAD_END in data:
                self._fork(conn, data)
            elif data.startswith(b"PUT /unread "):
                self._poller.modify(conn, select.EPOLLRDHUP)  # from now on only detect that the visitor disconnected
                return
            elif data:  # our request heads always fit one segment on loopback
                conn.sendall(SMALL_RESPONSE * data.count(HEAD_END))
                return
        except OSError:
            pass  # a reset is handled below, like an end
        self._forget(conn)

    def _fork(self, conn: socket.socket, head: bytes) -> None:
        self._transfers += 1
        self._forks.start(lambda: transfer(conn, head, self._transfers, self._counters), SECONDS_MAX)

    def _forget(self, conn: socket.socket) -> None:
        self._poller.unregister(conn)
        del self._conns[conn.fileno()]
        conn.close()


def main() -> None:
    """Listen, print the port, serve."""
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    Origin(listener, Counters(Path(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
