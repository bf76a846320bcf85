"""A visitor that makes small requests at a fixed rate over a few connections and measures each from the time it was due.

`python -m bench.load.latency PORT AUTHORITY RATE_PER_S SECONDS CONNECTIONS [PROTOCOL: TARGET]` prints a JSON object: sent, lost, p50_ms, p99_ms, max_ms.
"""

import gc
import json
import select
import signal
import socket
import sys
import time
from collections import deque

from bench.load.http import HEAD_BYTES_MAX, exchange, response_bytes, small_request
from bench.load.open_loop import OpenLoop
from bench.load.tls import Dialler
from bench.parent_death import die_with_parent, wake_on_time
from bench.percentiles import percentile

GRACE_S = 2.0  # for responses that are outstanding when the last request is sent
SECONDS_MAX = 120


class Connection:
    """One connection and its current request."""

    def __init__(self, dialler: Dialler, authority: str) -> None:
        self.sock = dialler.connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange(self.sock, authority)  # connected and warm before the measurement starts
        self.sock.setblocking(False)
        self.due = 0.0
        self._data = b""

    def response_done(self) -> bool:
        """Read; return True once the response is complete.

        Raises:
            OSError: the connection broke.
            ValueError: not the origin's response.
        """
        piece = self.sock.recv(HEAD_BYTES_MAX)
        if not piece:
            raise ConnectionError("connection closed under a request")
        self._data += piece
        whole = response_bytes(self._data)
        if whole is None or len(self._data) < whole:
            return False
        self._data = self._data[whole:]
        return True


def run_schedule(dialler: Dialler, authority: str, rate_per_s: float, seconds: float, connections: int) -> tuple[OpenLoop, int]:
    """Run the schedule to its end; return it and the number of requests without a response."""
    request = small_request(authority)
    idle = deque(Connection(dialler, authority) for _ in range(connections))
    busy: dict[socket.socket, Connection] = {}
    start = time.perf_counter() + 0.05
    schedule = OpenLoop(start, rate_per_s, int(rate_per_s * seconds))
    end = start + seconds + GRACE_S
    while (now := time.perf_counter()) < end:
        while idle and (due := schedule.take(now)) is not None:
            connection = idle.popleft()
            connection.due = due
            connection.sock.send(request)
            busy[connection.sock] = connection
        next_due = schedule.next_due()
        if next_due is None and not busy:
            break
        wait_s = end - now if next_due is None or not idle else max(next_due - now, 0)
        # select, not epoll: its timeout is in microseconds, and the connections are few
        for sock in select.select(list(busy), [], [], wait_s)[0]:
            if busy[sock].response_done():
                connection = busy.pop(sock)
                schedule.record_response(connection.due, time.perf_counter())
                idle.append(connection)
    return schedule, schedule.count_lost(time.perf_counter(), [connection.due for connection in busy.values()])


def main() -> None:
    """Run the schedule and print the percentiles."""
    port, authority, rate, seconds, connections, *words = sys.argv[1:]
    die_with_parent()
    wake_on_time()
    signal.alarm(SECONDS_MAX)
    gc.disable()  # the delay of a collection would count as the system's
    schedule, lost = run_schedule(Dialler(int(port), *words), authority, float(rate), float(seconds), int(connections))
    took_ms = [1000 * each for each in schedule.latencies_s]
    figures = {"p50_ms": percentile(took_ms, 50), "p99_ms": percentile(took_ms, 99), "max_ms": max(took_ms)}
    print(json.dumps({"sent": len(took_ms), "lost": lost, **figures}), flush=True)


if __name__ == "__main__":
    main()
