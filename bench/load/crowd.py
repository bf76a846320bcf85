"""Visitors that come, make one small exchange each, stay silent, and then all make one request at once.

`python -m bench.load.crowd PORT AUTHORITY COUNT` prints a JSON object:
arrived (with their exchange made), lost (of COUNT, those without the second answer), took_s (until the last answer).
"""

import json
import select
import signal
import socket
import sys
import time

from bench.load.http import HEAD_BYTES_MAX, answer_bytes, small_request
from bench.parent_death import die_with_parent

AT_ONCE = 64  # who arrive at a time: below every system's backlog, and enough to hide round trips
ARRIVE_S = 60.0  # rathole makes a thousand TLS connections a second
ANSWER_S = 30.0  # for the requests of all; whoever has no answer then is lost
SECONDS_SILENT = 2.0
SECONDS_MAX = 180


class Visitor:
    """One of the crowd: connects, and asks whenever told to."""

    def __init__(self, port: int, request: bytes) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", port))
        self._request = request
        self._unsent = request
        self._data = b""
        self.answers = 0

    def ask_again(self) -> None:
        """Send the request once more, as soon as the socket takes it."""
        self._unsent = self._request

    def go_on(self) -> bool:
        """Send and read what can be now; True when the answer that was asked for is there.

        Raises:
            OSError: the connection broke.
            ValueError: the answer is not the origin's.
        """
        if self._unsent:
            self._unsent = self._unsent[self.sock.send(self._unsent) :]
        try:
            piece = self.sock.recv(HEAD_BYTES_MAX)
        except BlockingIOError:
            return False
        if not piece:
            raise ConnectionError("closed without an answer")
        self._data += piece
        whole = answer_bytes(self._data)
        if whole is None or len(self._data) < whole:
            return False
        self._data = self._data[whole:]
        self.answers += 1
        return True


class Crowd:
    """All visitors and one poller."""

    def __init__(self, port: int, authority: str) -> None:
        self._port, self._request = port, small_request(authority)
        self._poller = select.epoll()
        self._asking: dict[int, Visitor] = {}
        self.there: list[Visitor] = []
        self.failures = 0

    def arrive(self, count: int, until: float) -> None:
        """Let `count` come, a few at a time, and make their exchange; stops at `until` (monotonic seconds)."""
        started = 0
        while (started < count or self._asking) and time.monotonic() < until:
            while started < count and len(self._asking) < AT_ONCE:
                started += 1
                self._expect(Visitor(self._port, self._request))
            self._turn(until)
        for visitor in self._asking.values():
            self._lose(visitor)
        self._asking.clear()

    def ask(self, until: float) -> int:
        """Let all who are there ask at once; returns how many have their answer by `until`."""
        before = sum(visitor.answers for visitor in self.there)
        everybody, self.there = self.there, []
        for visitor in everybody:
            visitor.ask_again()
            self._expect(visitor)
        while self._asking and time.monotonic() < until:
            self._turn(until)
        return sum(visitor.answers for visitor in everybody) - before

    def leave(self) -> None:
        """All go."""
        for visitor in [*self.there, *self._asking.values()]:
            visitor.sock.close()
        self._poller.close()

    def _lose(self, visitor: Visitor) -> None:
        self.failures += 1
        visitor.sock.close()  # which takes it from the poller too

    def _expect(self, visitor: Visitor) -> None:
        self._asking[visitor.sock.fileno()] = visitor
        # edge triggered: ready to send once, then only when there is something new to read
        self._poller.register(visitor.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _turn(self, until: float) -> None:
        for fd, _ in self._poller.poll(max(until - time.monotonic(), 0.001), 512):
            visitor = self._asking.get(fd)
            if visitor is None:
                continue
            try:
                if not visitor.go_on():
                    continue
                self.there.append(visitor)
            except BlockingIOError:
                continue
            except (OSError, ValueError):
                self._lose(visitor)
                del self._asking[fd]
                continue
            del self._asking[fd]
            self._poller.unregister(fd)


def main() -> None:
    """Arrive, be silent, ask, print."""
    port, authority, count = sys.argv[1:]
    die_with_parent()
    signal.alarm(SECONDS_MAX)
    crowd = Crowd(int(port), authority)
    crowd.arrive(int(count), time.monotonic() + ARRIVE_S)
    arrived = len(crowd.there)
    time.sleep(SECONDS_SILENT)
    start = time.monotonic()
    answered = crowd.ask(start + ANSWER_S)
    took_s = time.monotonic() - start
    print(json.dumps({"arrived": arrived, "lost": int(count) - answered, "took_s": took_s}), flush=True)


if __name__ == "__main__":
    main()
