"""A visitor that makes small requests at a fixed rate over a few connections and prints how long each took from when it was due.

`python -m bench.load.latency PORT AUTHORITY RATE_PER_S SECONDS CONNECTIONS` prints a JSON object: sent, lost, p50_ms, p99_ms, max_ms.
"""

import gc
import json
import select
import signal
import socket
import sys
import time
from collections import deque

from bench.load.http import HEAD_BYTES_MAX, answer_bytes, exchange, small_request
from bench.load.open_loop import OpenLoop
from bench.parent_death import die_with_parent, wake_on_time
from bench.percentiles import percentile

GRACE_S = 2.0  # for the answers still on their way when the last request was sent
SECONDS_MAX = 120


class Flight:
    """One connection and the request it carries."""

    def __init__(self, port: int, authority: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange(self.sock, authority)  # connected, routed and warm before the clock runs
        self.sock.setblocking(False)
        self.due = 0.0
        self._data = b""

    def landed(self) -> bool:
        """Read; True once the whole answer is there.

        Raises:
            OSError: the connection broke.
            ValueError: the answer is not what the origin gave.
        """
        piece = self.sock.recv(HEAD_BYTES_MAX)
        if not piece:
            raise ConnectionError("connection closed under a request")
        self._data += piece
        whole = answer_bytes(self._data)
        if whole is None or len(self._data) < whole:
            return False
        self._data = self._data[whole:]
        return True


def fly(port: int, authority: str, rate_per_s: float, seconds: float, connections: int) -> tuple[OpenLoop, int]:
    """Run the schedule to its end; returns it and how many requests were never answered."""
    request = small_request(authority)
    idle = deque(Flight(port, authority) for _ in range(connections))
    busy: dict[socket.socket, Flight] = {}
    start = time.perf_counter() + 0.05
    loop = OpenLoop(start, rate_per_s, int(rate_per_s * seconds))
    end = start + seconds + GRACE_S
    while (now := time.perf_counter()) < end:
        while idle and (due := loop.take(now)) is not None:
            flight = idle.popleft()
            flight.due = due
            flight.sock.send(request)
            busy[flight.sock] = flight
        next_due = loop.next_due()
        if next_due is None and not busy:
            break
        wait_s = end - now if next_due is None or not idle else max(next_due - now, 0)
        # select, not epoll: its timeout is in microseconds, and the connections are few
        for sock in select.select(list(busy), [], [], wait_s)[0]:
            if busy[sock].landed():
                flight = busy.pop(sock)
                loop.answered(flight.due, time.perf_counter())
                idle.append(flight)
    return loop, loop.lost(time.perf_counter(), [flight.due for flight in busy.values()])


def main() -> None:
    """Fly and print."""
    port, authority, rate, seconds, connections = sys.argv[1:]
    die_with_parent()
    wake_on_time()
    signal.alarm(SECONDS_MAX)
    gc.disable()  # a collection would look like the system's delay
    loop, lost = fly(int(port), authority, float(rate), float(seconds), int(connections))
    took_ms = [1000 * each for each in loop.latencies_s]
    figures = {"p50_ms": percentile(took_ms, 50), "p99_ms": percentile(took_ms, 99), "max_ms": max(took_ms)}
    print(json.dumps({"sent": len(took_ms), "lost": lost, **figures}), flush=True)


if __name__ == "__main__":
    main()
