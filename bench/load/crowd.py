"""Visitors that connect, make one request each, stay idle, and then all make one request at once.

`python -m bench.load.crowd PORT AUTHORITY COUNT` prints a JSON object:
arrived (with a first response), lost (of COUNT, those without a second response), took_s (until the last response).
"""

import json
import select
import signal
import socket
import sys
import time

from bench.load.http import HEAD_BYTES_MAX, response_bytes, small_request
from bench.parent_death import die_with_parent

AT_ONCE = 64  # connections opened at a time: below every system's backlog, and enough to hide round trips
CONNECT_S = 60.0  # rathole makes a thousand TLS connections a second
RESPONSE_S = 30.0  # for all requests; a visitor without a response by then is lost
SECONDS_SILENT = 2.0
SECONDS_MAX = 180


class Visitor:
    """One visitor of the crowd: connects, and sends a request whenever `restart` is called."""

    def __init__(self, port: int, request: bytes) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", port))
        self._request = request
        self._unsent = request
        self._data = b""
        self.responses = 0

    def restart(self) -> None:
        """Send the request once more, as soon as the socket accepts it."""
        self._unsent = self._request

    def advance(self) -> bool:
        """Send and read what is possible now; return True once the response is complete.

        Raises:
            OSError: the connection broke.
            ValueError: not the origin's response.
        """
        if self._unsent:
            self._unsent = self._unsent[self.sock.send(self._unsent) :]
        try:
            piece = self.sock.recv(HEAD_BYTES_MAX)
        except BlockingIOError:
            return False
        if not piece:
            raise ConnectionError("closed without a response")
        self._data += piece
        whole = response_bytes(self._data)
        if whole is None or len(self._data) < whole:
            return False
        self._data = self._data[whole:]
        self.responses += 1
        return True


class Crowd:
    """All visitors, on one poller."""

    def __init__(self, port: int, authority: str) -> None:
        self._port, self._request = port, small_request(authority)
        self._poller = select.epoll()
        self._waiting: dict[int, Visitor] = {}
        self.idle: list[Visitor] = []
        self.failures = 0

    def connect_all(self, count: int, until: float) -> None:
        """Connect `count` visitors, a few at a time, and make one request on each; stop at `until` (monotonic seconds)."""
        started = 0
        while (started < count or self._waiting) and time.monotonic() < until:
            while started < count and len(self._waiting) < AT_ONCE:
                started += 1
                self._watch(Visitor(self._port, self._request))
            self._poll(until)
        for visitor in self._waiting.values():
            self._fail(visitor)
        self._waiting.clear()

    def request_all(self, until: float) -> int:
        """Send a request from all idle visitors at once; return how many have their response by `until`."""
        before = sum(visitor.responses for visitor in self.idle)
        visitors, self.idle = self.idle, []
        for visitor in visitors:
            visitor.restart()
            self._watch(visitor)
        while self._waiting and time.monotonic() < until:
            self._poll(until)
        return sum(visitor.responses for visitor in visitors) - before

    def close(self) -> None:
        """Close all connections."""
        for visitor in [*self.idle, *self._waiting.values()]:
            visitor.sock.close()
        self._poller.close()

    def _fail(self, visitor: Visitor) -> None:
        self.failures += 1
        visitor.sock.close()  # this also removes it from the poller

    def _watch(self, visitor: Visitor) -> None:
        self._waiting[visitor.sock.fileno()] = visitor
        # edge triggered: ready to send once, then only when there is something new to read
        self._poller.register(visitor.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _poll(self, until: float) -> None:
        for fd, _ in self._poller.poll(max(until - time.monotonic(), 0.001), 512):
            visitor = self._waiting.get(fd)
            if visitor is None:
                continue
            try:
                if not visitor.advance():
                    continue
                self.idle.append(visitor)
            except BlockingIOError:
                continue
            except (OSError, ValueError):
                self._fail(visitor)
                del self._waiting[fd]
                continue
            del self._waiting[fd]
            self._poller.unregister(fd)


def main() -> None:
    """Connect all, wait, request all, print the counts."""
    port, authority, count = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    crowd = Crowd(int(port), authority)
    crowd.connect_all(int(count), time.monotonic() + CONNECT_S)
    arrived = len(crowd.idle)
    time.sleep(SECONDS_SILENT)
    start = time.monotonic()
    answered = crowd.request_all(start + RESPONSE_S)
    took_s = time.monotonic() - start
    print(json.dumps({"arrived": arrived, "lost": int(count) - answered, "took_s": took_s}), flush=True)


if __name__ == "__main__":
    main()
