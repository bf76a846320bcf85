"""Visitors of the largest sources with the least progress are shed when connections or streams run short, and none before."""

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.world import World, event
from tests.kit.altered import altered
from tests.kit.origins import RawOrigin, echo

pytestmark = pytest.mark.timeout(120)

DESCRIPTORS = 512
"""Of the server: half of them are for visitors, and seven eighths of these for HTTP, about 200 places."""
FLOOD = 400
FLOODERS, CALM = ("127.0.0.2", "127.0.0.3"), "127.0.0.9"
FINISH_S_MAX = 20.0

HOST = b"crowd.localhost"
GET = b"GET /hello HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST
SLOW_POST = b"POST /swallow HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % HOST
POUR = b"GET /pour HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST
WAIT = b"GET /wait HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Origin(RawOrigin):
    """Answers hello at once or when released, swallows bodies, and pours answers without end."""

    def __init__(self) -> None:
        """Serve at once."""
        self.go = threading.Event()
        self.waiting = 0
        super().__init__(self._serve_one)

    def _serve_one(self, sock: socket.socket) -> None:
        wire = b""
        while piece := sock.recv(65536):
            wire += piece
            while b"\r\n\r\n" in wire:
                head, _, wire = wire.partition(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    while sock.recv(65536):
                        pass
                elif head.startswith(b"GET /pour"):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    while True:
                        sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                elif head.startswith(b"GET /wait"):
                    self.waiting += 1
                    self.go.wait(FINISH_S_MAX)
                sock.sendall(HELLO)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@contextmanager
def world_of(origin_port: int, before: tuple[str, ...], kind: str = "http") -> Iterator[tuple[World, int]]:
    """A server with a tunnel, and the port that leads there."""
    with World(server_before=before) as world:
        world.start_server()
        name = ("--name", "crowd") if kind == "http" else ()
        up = event(world.agent(world.token(), kind, str(origin_port), *name, "--max-links", "1"), "tunnel_up")
        yield world, world.http_port if kind == "http" else up["port"]


def limited(descriptors: int) -> tuple[str, ...]:
    """Return the words before a program that may have so many descriptors."""
    return ("sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh")


CROWDED = limited(DESCRIPTORS)


def connect(port: int, source: str, first: bytes = b"", receive_bytes: int = 0) -> socket.socket:
    """Connect from an address of the test's choice."""
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(FINISH_S_MAX)
    sock.bind((source, 0))
    with contextlib.suppress(OSError):  # rejected already
        sock.connect(("127.0.0.1", port))
        sock.send(first)
    return sock


@contextmanager
def flood(port: int, sources: Iterable[str], count: int, first: bytes = b"", receive_bytes: int = 0) -> Iterator[list[socket.socket]]:
    """Connect `count` visitors from these addresses in turn; each sends `first`."""
    addresses = list(sources)
    with ExitStack() as stack:
        yield [stack.enter_context(connect(port, addresses[number % len(addresses)], first, receive_bytes)) for number in range(count)]


def answer(sock: socket.socket) -> bytes:
    """Return what is answered, until it is all there or the connection ends; a reset is an answer, too."""
    wire = b""
    try:
        while not (b"\r\n\r\n" in wire and (wire.endswith(b"hello") or b"hello" in wire)):
            piece = sock.recv(65536)
            if not piece:
                break
            wire += piece
    except ConnectionResetError:
        wire += b"(reset)"
    return wire


def served(port: int, source: str) -> bool:
    """Be a new visitor; return whether there is an answer."""
    with connect(port, source, GET) as sock:
        return answer(sock) == HELLO


def ended(sockets: list[socket.socket]) -> list[bytes]:
    """Return the answers of those answered or cut by now."""
    poll = select.poll()
    by_number = {sock.fileno(): sock for sock in sockets}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [answer(by_number[number]) for number, _ in poll.poll(0)]


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nX-Half: "])
def test_silent_visitors_of_two_addresses_cannot_keep_others_out(origin: Origin, first: bytes) -> None:
    with world_of(origin.port, CROWDED) as (world, port):
        with flood(port, FLOODERS, FLOOD, first):
            assert [served(port, CALM) for _ in range(40)] == [True] * 40
            assert [served(port, FLOODERS[0]) for _ in range(40)] == [True] * 40, "an honest visitor behind the same address"
        told = event(world.programs[0], "connections_shed")
        assert told["last"] == "http"
        lines = [line for line in world.programs[0].out.lines if "connections_shed" in line]
        assert len(lines) <= 3, lines


def test_many_waiting_visitors_behind_one_address_all_get_responses(origin: Origin) -> None:
    with world_of(origin.port, CROWDED) as (_, port), flood(port, FLOODERS, 60, WAIT) as crowd:
        wait_until(lambda: origin.waiting == 60)
        with flood(port, FLOODERS, FLOOD):
            assert [served(port, CALM) for _ in range(20)] == [True] * 20
            assert [served(port, FLOODERS[0]) for _ in range(20)] == [True] * 20
            origin.go.set()
            assert [answer(sock) for sock in crowd] == [HELLO] * 60


def test_silent_visitors_of_a_tcp_port_cannot_keep_others_out() -> None:
    with RawOrigin(echo) as origin, world_of(origin.port, CROWDED, "tcp") as (_, port), flood(port, FLOODERS, FLOOD):
        for source in (CALM, FLOODERS[0]) * 20:
            with connect(port, source, b"hello") as sock:
                assert sock.recv(5) == b"hello", source


def test_slow_bodies_are_shed_with_408_and_faster_ones_stay(origin: Origin) -> None:
    with world_of(origin.port, CROWDED) as (_, port), ExitStack() as stack:
        mover = stack.enter_context(connect(port, CALM, SLOW_POST))
        stop = threading.Event()
        moving = threading.Thread(target=move, args=(mover, stop))
        moving.start()
        stack.callback(moving.join)
        stack.callback(stop.set)
        slow = stack.enter_context(flood(port, [f"127.0.1.{number}" for number in range(1, 65)], FLOOD, SLOW_POST))
        wait_until(lambda: served(port, CALM))  # slow requests are detected after a quarter of a second
        assert [served(port, f"127.0.2.{number}") for number in range(1, 41)] == [True] * 40
        cut = ended(slow)
        told = Counter(heard[9:12] for heard in cut)
        assert told[b"408"] > 0, told  # how many depends on how fast they came
        assert ended([mover]) == []


def move(sock: socket.socket, stop: threading.Event) -> None:
    """Send two kilobytes a second."""
    while not stop.wait(0.1):
        sock.send(bytes(200))


def test_visitors_that_read_nothing_are_shed(origin: Origin) -> None:
    few = limited(160)  # as each of them fills megabytes of buffers before it stands still
    with world_of(origin.port, few) as (_, port), flood(port, [f"127.0.1.{number}" for number in range(1, 17)], 60, POUR, 16384) as readers:
        begun = [reader for reader in readers if begins(reader)]
        wait_until(lambda: served(port, CALM))  # stalled readers are detected after some seconds
        assert [served(port, CALM) for _ in range(20)] == [True] * 20
        assert 0 < sum(map(was_reset, begun)) < len(begun)


def begins(sock: socket.socket) -> bool:
    """Return whether an answer begins, and not a refusal."""
    try:
        return sock.recv(12) == b"HTTP/1.1 200"
    except ConnectionResetError:
        return False


def was_reset(sock: socket.socket) -> bool:
    """Return whether the connection was broken off."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def test_no_connection_is_shed_below_capacity(origin: Origin) -> None:
    with world_of(origin.port, CROWDED) as (_, port), flood(port, FLOODERS, 60, SLOW_POST) as slow, flood(port, FLOODERS, 60) as silent:
        until = time.monotonic() + 3.0  # longer than a slow body is given where there is none
        while time.monotonic() < until:
            assert served(port, CALM)
        assert ended([*slow, *silent]) == []


def test_slow_bodies_that_use_up_the_streams_of_a_tunnel_are_shed(origin: Origin) -> None:
    few = altered(portway__server__control__session__STREAMS_MAX=64, portway__server__control__session__SHED_STREAMS_MIN=48)
    with world_of(origin.port, few) as (_, port), flood(port, [f"127.0.1.{number}" for number in range(1, 65)], 80, SLOW_POST) as slow:
        assert [served(port, CALM) for _ in range(20)] == [True] * 20
        wait_until(lambda: sum(b"408" in heard for heard in ended(slow)) > 0)


def wait_until(wanted: Callable[[], bool]) -> None:
    """Wait for a condition that has no event."""
    until = time.monotonic() + FINISH_S_MAX
    while not wanted():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
