"""Measures the engine's cost of a small request through a relay, in one process and one reactor.

    PORTWAY_ENGINE=portable python -m bench.relays

Each of 64 visitors sends 100 bytes through a relay of two sockets to an origin that echoes them, and repeats when they are
back. It measures CPU time, which a busy machine disturbs little, and prints the best of five runs.
"""

import asyncio
import socket
import time

from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel

VISITORS = 64
REQUESTS = 30_000
RUNS = 5
REQUEST = b"x" * 100


def _pair(reactor: Reactor) -> tuple[SocketChannel, SocketChannel]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    for end in (left, right):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketChannel(reactor, left), SocketChannel(reactor, right)


class Load:
    """Visitors, relays and origins on one reactor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reactor = Reactor(loop)
        self.left = 0
        self.visitors: list[SocketChannel] = []
        for _ in range(VISITORS):
            visitor, near = _pair(self.reactor)
            far, origin = _pair(self.reactor)
            Relay(self.reactor, near, far, lambda relay: None).start()
            visitor.on_readable = lambda channel=visitor: self._echo(channel, counts=True)  # type: ignore[misc]
            origin.on_readable = lambda channel=origin: self._echo(channel, counts=False)  # type: ignore[misc]
            self.visitors.append(visitor)

    def run(self) -> float:
        """Return the CPU time of one request, in seconds."""
        self.left = REQUESTS
        started = time.process_time()
        for visitor in self.visitors:
            visitor.send(REQUEST)
        self.loop.run_forever()
        return (time.process_time() - started) / REQUESTS

    def _echo(self, channel: SocketChannel, *, counts: bool) -> None:
        if not channel.readable or channel.recv_into(self.reactor.scratch_body) <= 0:
            return
        if counts:
            self.left -= 1
            if self.left <= 0:
                self.loop.stop()
                return
        channel.send(REQUEST)


def main() -> None:
    """Measure, and print one line."""
    load = Load(asyncio.new_event_loop())
    costs = sorted(load.run() for _ in range(RUNS))
    name = "epoll" if load.reactor.level_poller is None else "portable"
    print(f"{name}: {costs[0] * 1e6:.1f} us CPU per request (best of {RUNS}; median {costs[RUNS // 2] * 1e6:.1f})")


if __name__ == "__main__":
    main()
