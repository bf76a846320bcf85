"""A long line for TCP connections: every byte takes its time, all connections of a direction share one rate, in turns.

`python -m bench.load.wan_link HERE_HOST HERE_PORT HOST PORT DELAY_S RATE_BYTES_PER_S` prints the port on which it listens; both figures are for
each direction. TCP ends at both sides of the relay, so that there is neither loss nor slow start: what it shows is whether a tunnel's
windows fill the line and how much it queues before it. The rate is spent where bytes enter, behind a receive buffer as small as a
router's queue should be; what does not fit waits at the sender, as it does before a real line.
"""

import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable

from bench.parent_death import die_with_parent, wake_on_time

PIECE_BYTES = 16 * 1024  # 0.7 ms of 200 Mbit/s: what a small request waits for at least when it meets a bulk
QUEUE_BYTES = 128 * 1024  # Linux doubles it for its own overhead: 5 to 10 ms of 200 Mbit/s, a router without bloat
BURST_S = 0.003  # rate that a late wake-up may catch up
SECONDS_MAX = 60 * 60


class Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.waiting = b""
        """Came out of the line and did not fit into `sink`."""
        self.over = False
        """Nothing more is read."""
        self.ending = False
        """The end has come out of the line."""
        self.other = self
        """The same connection's other direction."""

    def ended(self) -> bool:
        """Whether this way is done."""
        return self.ending and not self.waiting

    def give(self) -> bool:
        """Hand on what waits; False when the sink is broken."""
        try:
            while self.waiting:
                self.waiting = self.waiting[self.sink.send(self.waiting) :]
            if self.ending:
                self.sink.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Direction:
    """What all connections share one way: the rate, and the bytes in flight."""

    def __init__(self, delay_s: float, rate_bytes_per_s: float) -> None:
        self.delay_s, self.rate_bytes_per_s = delay_s, rate_bytes_per_s
        self.free_at = 0.0
        self.ways: deque[Way] = deque()
        self.flying: deque[tuple[float, Way, bytes | None]] = deque()  # in order of their arrival, for the delay is one for all

    def sources(self, now: float) -> list[socket.socket]:
        """Who may send now; nobody while the line is taken."""
        if self.free_at > now:
            return []
        return [way.source for way in self.ways if not way.over and not way.waiting]

    def take(self, ready: set[socket.socket], now: float) -> None:
        """Let a piece of each ready connection enter, one after the other, until the line is taken."""
        for _ in range(len(self.ways)):
            if self.free_at > now:
                return  # whoever was left out comes first next time
            way = self.ways[0]
            self.ways.rotate(-1)
            if way.source in ready and not way.over:
                self._enter(way, now)

    def _enter(self, way: Way, now: float) -> None:
        try:
            data: bytes | None = way.source.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = None  # broken: so will the other side be, after the delay
        way.over = not data
        self.free_at = max(self.free_at, now - BURST_S) + len(data or b"") / self.rate_bytes_per_s
        self.flying.append((max(now, self.free_at) + self.delay_s, way, data))

    def land(self, now: float) -> list[Way]:
        """Hand out what has arrived; returns the ways that are broken."""
        broken = []
        while self.flying and self.flying[0][0] <= now:
            _, way, data = self.flying.popleft()
            way.ending = way.ending or data == b""
            way.waiting += data or b""
            if data is None or not way.give():
                broken.append(way)
        return broken

    def wake_at(self, now: float) -> float:
        """When it next has something to do by itself."""
        landing = self.flying[0][0] if self.flying else float("inf")
        return min(landing, self.free_at if self.free_at > now else float("inf"))


class Relay:
    """Accepts, and carries both ways."""

    def __init__(self, listener: socket.socket, target: tuple[str, int], delay_s: float, rate_bytes_per_s: float) -> None:
        self._listener, self._target = listener, target
        self._directions = (Direction(delay_s, rate_bytes_per_s), Direction(delay_s, rate_bytes_per_s))

    def serve(self) -> None:
        """Serve until killed."""
        while True:
            self.turn(1.0)

    def turn(self, wait_s_max: float) -> None:
        """Wait for something to do, at most so long, and do it."""
        now = time.monotonic()
        wanted = [source for direction in self._directions for source in direction.sources(now)]
        stuck = [way for direction in self._directions for way in direction.ways if way.waiting]
        wait_s = min([wait_s_max, *(direction.wake_at(now) - now for direction in self._directions)])
        # select, not epoll: its timeout is in microseconds, and the connections are few
        readable, writable, _ = select.select([self._listener, *wanted], [way.sink for way in stuck], [], max(wait_s, 0))
        now = time.monotonic()
        if self._listener in readable:
            self._accept()
        broken = [way for way in stuck if way.sink in writable and not way.give()]
        for direction in self._directions:
            broken += direction.land(now)
            direction.take(set(readable), now)
        self._close(broken, broken=True)
        self._close([way for way in self._directions[0].ways if way.ended() and way.other.ended()], broken=False)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.socket()
        try:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        there, back = Way(near, far), Way(far, near)
        there.other, back.other = back, there
        self._directions[0].ways.append(there)
        self._directions[1].ways.append(back)

    def _close(self, ways: Iterable[Way], *, broken: bool) -> None:
        gone = {sock for way in ways for sock in (way.source, way.sink)}
        for direction in self._directions:
            direction.ways = deque(way for way in direction.ways if way.source not in gone)
            direction.flying = deque(each for each in direction.flying if each[1].source not in gone)
        for sock in gone:
            if broken:  # close with a reset, so that a broken side is never taken for an end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def listen(host: str, port: int) -> socket.socket:
    """A listener whose connections have the line's small queue."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)  # accepted sockets inherit it
    listener.bind((host, port))
    listener.listen(1024)
    return listener


def main() -> None:
    """Listen, print the port, serve."""
    here_host, here_port, host, port, delay_s, rate = sys.argv[1:]
    die_with_parent()
    wake_on_time()
    signal.alarm(SECONDS_MAX)
    if float(delay_s) < 0 or float(rate) <= 0:
        sys.exit(f"expected a delay of 0 s or more and a rate above 0, got {delay_s} and {rate}")
    listener = listen(here_host, int(here_port))
    print(listener.getsockname()[1], flush=True)
    Relay(listener, (host, int(port)), float(delay_s), float(rate)).serve()


if __name__ == "__main__":
    main()
