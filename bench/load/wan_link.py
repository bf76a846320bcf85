"""Emulates a long network path for TCP connections: a delay for every byte, and one rate per direction that all connections share.

`python -m bench.load.wan_link HERE_HOST HERE_PORT HOST PORT DELAY_S RATE_BYTES_PER_S` prints the port on which it listens; both figures are for
each direction. TCP ends at both sides of the relay, so there is neither loss nor slow start: a measurement shows whether a tunnel's
windows fill the path and how much it queues in front of it. The rate applies where bytes enter, behind a receive buffer as small as a
router's queue should be; the rest waits at the sender, as in front of a real bottleneck.
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

PIECE_BYTES = 16 * 1024  # 0.7 ms at 200 Mbit/s: the minimum wait of a small request beside a bulk transfer
QUEUE_BYTES = 128 * 1024  # Linux doubles it for its own overhead: 5 to 10 ms at 200 Mbit/s, a router without bufferbloat
BURST_S = 0.003  # how much a late wake-up may catch up
SECONDS_MAX = 60 * 60


class HalfConnection:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.pending = b""
        """Delivered, but not yet accepted by `sink`."""
        self.source_ended = False
        """True once `source` has ended or broken."""
        self.end_arrived = False
        """True once the end of `source` was delivered."""
        self.opposite = self
        """The other direction of the same connection."""

    def ended(self) -> bool:
        """Return whether this direction is done."""
        return self.end_arrived and not self.pending

    def flush(self) -> bool:
        """Send what is pending; return False when the sink is broken."""
        try:
            while self.pending:
                self.pending = self.pending[self.sink.send(self.pending) :]
            if self.end_arrived:
                self.sink.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Direction:
    """The shared state of one direction: its rate, and the bytes in flight."""

    def __init__(self, delay_s: float, rate_bytes_per_s: float) -> None:
        self.delay_s, self.rate_bytes_per_s = delay_s, rate_bytes_per_s
        self.free_at = 0.0
        self.halves: deque[HalfConnection] = deque()
        self.in_flight: deque[tuple[float, HalfConnection, bytes | None]] = deque()  # in order of arrival: the delay is the same for all

    def readable_sources(self, now: float) -> list[socket.socket]:
        """Return the sockets to read from now; none while the rate is used up."""
        if self.free_at > now:
            return []
        return [half.source for half in self.halves if not half.source_ended and not half.pending]

    def read_from(self, ready: set[socket.socket], now: float) -> None:
        """Read a piece from each ready connection in turn, until the rate is used up."""
        for _ in range(len(self.halves)):
            if self.free_at > now:
                return  # the next call continues here
            half = self.halves[0]
            self.halves.rotate(-1)
            if half.source in ready and not half.source_ended:
                self._enter(half, now)

    def _enter(self, half: HalfConnection, now: float) -> None:
        try:
            data: bytes | None = half.source.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = None  # broken: the delay applies to this, too
        half.source_ended = not data
        self.free_at = max(self.free_at, now - BURST_S) + len(data or b"") / self.rate_bytes_per_s
        self.in_flight.append((max(now, self.free_at) + self.delay_s, half, data))

    def deliver(self, now: float) -> list[HalfConnection]:
        """Deliver what has arrived; return the directions that are broken."""
        broken = []
        while self.in_flight and self.in_flight[0][0] <= now:
            _, half, data = self.in_flight.popleft()
            half.end_arrived = half.end_arrived or data == b""
            half.pending += data or b""
            if data is None or not half.flush():
                broken.append(half)
        return broken

    def next_event(self, now: float) -> float:
        """Return when the next timed event is due."""
        arrival = self.in_flight[0][0] if self.in_flight else float("inf")
        return min(arrival, self.free_at if self.free_at > now else float("inf"))


class Relay:
    """Accepts connections and relays both directions."""

    def __init__(self, listener: socket.socket, target: tuple[str, int], delay_s: float, rate_bytes_per_s: float) -> None:
        self._listener, self._target = listener, target
        self._directions = (Direction(delay_s, rate_bytes_per_s), Direction(delay_s, rate_bytes_per_s))

    def serve(self) -> None:
        """Serve until killed."""
        while True:
            self.turn(1.0)

    def turn(self, wait_s_max: float) -> None:
        """Wait for an event, at most `wait_s_max` seconds, and handle it."""
        now = time.monotonic()
        wanted = [source for direction in self._directions for source in direction.readable_sources(now)]
        stuck = [half for direction in self._directions for half in direction.halves if half.pending]
        wait_s = min([wait_s_max, *(direction.next_event(now) - now for direction in self._directions)])
        # select, not epoll: its timeout is in microseconds, and the connections are few
        readable, writable, _ = select.select([self._listener, *wanted], [half.sink for half in stuck], [], max(wait_s, 0))
        now = time.monotonic()
        if self._listener in readable:
            self._accept()
        broken = [half for half in stuck if half.sink in writable and not half.flush()]
        for direction in self._directions:
            broken += direction.deliver(now)
            direction.read_from(set(readable), now)
        self._close(broken, broken=True)
        self._close([half for half in self._directions[0].halves if half.ended() and half.opposite.ended()], broken=False)

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
        there, back = HalfConnection(near, far), HalfConnection(far, near)
        there.opposite, back.opposite = back, there
        self._directions[0].halves.append(there)
        self._directions[1].halves.append(back)

    def _close(self, halves: Iterable[HalfConnection], *, broken: bool) -> None:
        gone = {sock for half in halves for sock in (half.source, half.sink)}
        for direction in self._directions:
            direction.halves = deque(half for half in direction.halves if half.source not in gone)
            direction.in_flight = deque(each for each in direction.in_flight if each[1].source not in gone)
        for sock in gone:
            if broken:  # reset, so that a broken connection never looks like a proper end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listener whose connections have a small receive buffer."""
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
