"""Handoff between two edges of one process, by descriptor as between processes."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.edge.handoff import HandoffState
from portway.edge.lease import Lease, LeaseKey, Owner
from portway.engine.memory_channel import memory_pair
from portway.engine.socket_channel import SocketChannel
from portway.protocol.http1.fields import READ_BYTES
from portway.server.settings import REQUEST_HEAD_BYTES_MOST
from portway.server.workers.ipc import ipc_pair
from portway.server.workers.visitor_handoff import HandoffRouter
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair


class Http:
    def __init__(self) -> None:
        self.came: list[tuple[socket.socket, HandoffState]] = []

    def accept_handoff(self, sock: socket.socket, state: HandoffState) -> None:
        self.came.append((sock, state))


class Tcp:
    def __init__(self) -> None:
        self.came: list[tuple[LeaseKey, socket.socket, HandoffState]] = []
        self.is_open = True

    def accept_handoff(self, key: LeaseKey, sock: socket.socket, state: HandoffState) -> bool:
        if self.is_open:
            self.came.append((key, sock, state))
        return self.is_open


class Links:
    def __init__(self) -> None:
        self.came: list[tuple[socket.socket, tuple[str, int], bytes]] = []

    def take(self, sock: socket.socket, address: tuple[str, int], received: bytes) -> None:
        self.came.append((sock, address, received))


@dataclass
class Received:
    """What a process serves."""

    http: Http
    tcp: Tcp
    tls: Http = field(default_factory=Http)
    links: Links = field(default_factory=Links)


class Two:
    """Worker 1 hands off, worker 2 accepts."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        inbox, self.way = ipc_pair()
        self.http, self.tcp, self.drained = Http(), Tcp(), 0
        self.on_drain = self._count
        self.one, self.other = HandoffRouter(engine.reactor), HandoffRouter(engine.reactor)
        self.received = Received(self.http, self.tcp)
        self.other.open(inbox, self.received, self._drain)
        self.one.add_worker(2, self.way)
        self.far, near = tcp_pair()
        self.far.settimeout(5)
        self.channel = SocketChannel(engine.reactor, near)

    def _drain(self) -> None:
        self.on_drain()

    def _count(self) -> None:
        self.drained += 1

    def lease(self, kind: str = "http", worker: int = 2) -> Lease:
        lease = Lease(LeaseKey("http", "app.localhost") if kind == "http" else LeaseKey("tcp", "20000"), Owner("", b""))
        lease.remote_worker = worker
        return lease

    def close(self) -> None:
        for sock in (
            *(came[0] for came in (*self.http.came, *self.received.tls.came)),
            *(came[0] for came in self.received.links.came),
            *(came[1] for came in self.tcp.came),
            self.far,
        ):
            sock.close()
        self.channel.abort()
        self.one.close()
        self.other.close()
        self.engine.settle()


@pytest.fixture
def two(engine: EngineLoop) -> Iterator[Two]:
    two = Two(engine)
    yield two
    two.close()


def test_a_visitor_arrives_with_its_connection_and_buffered_bytes(two: Two) -> None:
    state = HandoffState(("192.0.2.7", 4711), b"GET / HTTP/1.1\r\n\r\n", 2)
    assert two.one.hand_off(two.lease(), two.channel, state)
    two.far.sendall(b"more")
    two.far.shutdown(socket.SHUT_WR)
    two.engine.run_until(lambda: bool(two.http.came), what="the visitor")
    two.engine.settle()

    sock, came = two.http.came[0]
    assert came == state
    assert two.drained == 1  # earlier messages of the supervisor are handled first
    sock.setblocking(True)
    assert sock.recv(100) == b"more"
    assert sock.recv(100) == b""
    sock.sendall(b"answer")
    assert two.far.recv(100) == b"answer"


def test_the_largest_head_goes_along_with_what_was_read_behind_it(two: Two) -> None:
    state = HandoffState(("192.0.2.7", 4711), b"x" * (REQUEST_HEAD_BYTES_MOST + READ_BYTES), 1, "https")
    assert two.one.hand_off(two.lease(), two.channel, state)
    two.engine.run_until(lambda: bool(two.http.came), what="the visitor")
    assert two.http.came[0][1] == state
    two.http.came[0][0].close()


def test_a_visitor_of_the_tls_port_arrives_with_its_hello(two: Two) -> None:
    state = HandoffState(("192.0.2.7", 4711), b"hello" * 20_000, 1, tls=True)
    assert two.one.hand_off(two.lease(), two.channel, state)
    two.engine.run_until(lambda: bool(two.received.tls.came), what="the visitor")
    assert two.received.tls.came[0][1] == state


def test_a_link_arrives_with_its_hello(two: Two) -> None:
    near, far = tcp_pair()
    assert two.one.hand_off_agent(2, near, ("192.0.2.7", 4711), b"hello")
    two.engine.run_until(lambda: bool(two.received.links.came), what="the link")
    sock, address, received = two.received.links.came[0]
    assert (address, received) == (("192.0.2.7", 4711), b"hello")
    far.sendall(b"more")
    sock.setblocking(True)
    assert sock.recv(10) == b"more"
    far.close()


def test_a_link_for_a_worker_that_is_gone_stays(two: Two) -> None:
    near, far = tcp_pair()
    assert not two.one.hand_off_agent(3, near, ("192.0.2.7", 4711), b"hello")
    assert near.fileno() >= 0
    near.close()
    far.close()


def test_a_tcp_visitor_arrives_with_its_lease(two: Two) -> None:
    assert two.one.hand_off(two.lease("tcp"), two.channel, HandoffState(("192.0.2.7", 1)))
    two.engine.run_until(lambda: bool(two.tcp.came), what="the visitor")

    assert two.tcp.came[0][0] == LeaseKey("tcp", "20000")


def test_news_of_a_port_that_came_while_visitors_were_taken_in_count_for_them(two: Two) -> None:
    two.tcp.is_open = False

    def drain() -> None:
        two.drained += 1
        two.tcp.is_open = two.drained == 2  # the first time, the port is not open yet

    two.on_drain = drain
    assert two.one.hand_off(two.lease("tcp"), two.channel, HandoffState(("192.0.2.7", 1)))
    two.engine.run_until(lambda: bool(two.tcp.came), what="the visitor")


def test_a_visitor_for_a_port_that_is_not_open_is_reset(two: Two) -> None:
    two.tcp.is_open = False
    assert two.one.hand_off(two.lease("tcp"), two.channel, HandoffState(("192.0.2.7", 1)))
    two.engine.run_until(lambda: bool(two.drained), what="the visitor")
    two.engine.settle()

    with pytest.raises(ConnectionResetError):
        two.far.recv(1)


def test_a_failed_handoff_changes_nothing(two: Two) -> None:
    state = HandoffState(("192.0.2.7", 1))
    assert not two.one.hand_off(two.lease(worker=3), two.channel, state)
    two.other.close()
    two.engine.settle()
    assert not two.one.hand_off(two.lease(), two.channel, state)
    two.one.remove_worker(2)
    assert not two.one.hand_off(two.lease(), two.channel, state)

    assert two.channel.send(b"still here") == 10
    assert two.far.recv(100) == b"still here"


def test_only_a_socket_has_a_descriptor_to_pass(two: Two) -> None:
    channel, _ = memory_pair(two.engine.reactor)

    assert not two.one.hand_off(two.lease(), channel, HandoffState(("192.0.2.7", 1)))
