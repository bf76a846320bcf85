"""Measures the engine's cost of a relay between two sockets, in one process and one reactor.

    PORTWAY_ENGINE=portable python -m bench.relays
    python -m bench.relays --bulk

Each of 64 visitors sends 100 bytes through a relay of two sockets to an origin that echoes them, and repeats when they are
back. It measures CPU time, which a busy machine disturbs little, and prints the best of five runs.

`--bulk`: one and eight transfers between other processes, copied and spliced in turns: the rate, and the relays' CPU time.
"""

import asyncio
import multiprocessing
import socket
import sys
import time
from multiprocessing import Value
from statistics import median

from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel

VISITORS = 64
REQUESTS = 30_000
RUNS = 5
REQUEST = b"x" * 100

BULK_RUNS = 5
WARM_UP_S = 0.5
BULK_S = 1.5


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


def _plain_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    return left, right


def _send_endlessly(sock: socket.socket) -> None:
    piece = bytes(1 << 20)
    while True:
        sock.sendall(piece)


def _receive_endlessly(sock: socket.socket, total: Value) -> None:  # type: ignore[type-arg]  # not generic at run time
    buffer = bytearray(1 << 20)
    while count := sock.recv_into(buffer):
        total.value += count


def bulk(transfers: int, *, splice: bool) -> tuple[float, float]:
    """Return GB/s of all transfers together, and the relays' CPU time in s/GiB."""
    loop = asyncio.new_event_loop()
    reactor = Reactor(loop)
    if not splice:
        reactor.pipes.disable()
    processes: list[multiprocessing.Process] = []
    totals = []
    for _ in range(transfers):
        (sender, near), (far, receiver) = _plain_pair(), _plain_pair()
        totals.append(Value("Q", 0, lock=False))
        processes.append(multiprocessing.Process(target=_send_endlessly, args=(sender,), daemon=True))
        processes.append(multiprocessing.Process(target=_receive_endlessly, args=(receiver, totals[-1]), daemon=True))
        for process in processes[-2:]:
            process.start()
        sender.close()
        receiver.close()
        for end in (near, far):
            end.setblocking(False)
        Relay(reactor, SocketChannel(reactor, near), SocketChannel(reactor, far), lambda relay: None).start()
    loop.call_later(WARM_UP_S, loop.stop)
    loop.run_forever()
    began, used, before = time.perf_counter(), time.process_time(), sum(total.value for total in totals)
    loop.call_later(BULK_S, loop.stop)
    loop.run_forever()
    duration, cpu, moved = time.perf_counter() - began, time.process_time() - used, sum(total.value for total in totals) - before
    for process in processes:
        process.kill()
        process.join()
    reactor.close()
    loop.close()
    return moved / duration / 1e9, cpu * 2**30 / moved


def compare_bulk() -> None:
    """Measure copied and spliced transfers in turns, and print the medians."""
    for transfers in (1, 8):
        runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(BULK_RUNS):
            for splice, results in runs.items():
                results.append(bulk(transfers, splice=splice))
        for splice, results in runs.items():
            rate, cost = (median(values) for values in zip(*results, strict=True))
            print(f"{transfers} transfers, {'spliced' if splice else 'copied'}: {rate:.2f} GB/s, {cost:.3f} s CPU per GiB")


def main() -> None:
    """Measure, and print the result."""
    if "--bulk" in sys.argv[1:]:
        compare_bulk()
        return
    load = Load(asyncio.new_event_loop())
    costs = sorted(load.run() for _ in range(RUNS))
    name = "epoll" if load.reactor.level_poller is None else "portable"
    print(f"{name}: {costs[0] * 1e6:.1f} us CPU per request (best of {RUNS}; median {costs[RUNS // 2] * 1e6:.1f})")


if __name__ == "__main__":
    main()
