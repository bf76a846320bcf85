"""Edges that hand a visitor off: when, how often, and what happens if no worker accepts it."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from portway.edge.handoff import HANDOFFS_MAX, HandoffState
from portway.edge.http.edge import HttpEdge
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.lease import Kind, Lease, LeaseKey, Owner
from portway.edge.relaying import RelaySettings
from portway.edge.tcp import TcpEdge
from portway.engine.channel import Channel
from portway.engine.socket_channel import SocketChannel
from tests.kit.loops import EngineLoop
from tests.kit.sockets import free_port, tcp_pair

REQUEST = b"POST /a HTTP/1.1\r\nHost: App.localhost\r\nContent-Length: 5\r\n\r\nhello"


class Passing:
    """Two edges whose leases are another worker's."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.leases = {kind: Lease(key, Owner("", b"")) for kind, key in KEYS.items()}
        for lease in self.leases.values():
            lease.remote_worker = 2
        self.passed: list[tuple[Lease, HandoffState]] = []
        self.taken: list[socket.socket] = []
        self.willing = True
        self.http = HttpEdge(engine.reactor, self, HttpEdgeSettings(hold_s=0.3), hand_off=self._pass_on)
        self.tcp = TcpEdge(engine.reactor, self._listen, bytes, RelaySettings(hold_s=0.3), hand_off=self._pass_on)
        self.tcp.open(self.leases["tcp"])

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        return self.leases[kind] if address == self.leases[kind].address else None

    def visitor(self, data: bytes = b"", handoffs: int = 0, server_name: str = "", scheme: str = "") -> socket.socket:
        """Return the far end of a visitor's connection at the HTTP edge, decrypted for `server_name` if there is one."""
        far, near = tcp_pair()
        near.setblocking(False)
        if server_name:
            self.http.serve(SocketChannel(self.engine.reactor, near), ("192.0.2.7", 0), "https", server_name)
        else:
            self.http.accept_handoff(near, HandoffState(("192.0.2.7", 0), b"", handoffs, scheme))
        far.sendall(data)
        return far

    @property
    def connected(self) -> int:
        """Number of HTTP visitors whose connection neither lingers nor was handed off."""
        return len(self.http._visitors)

    def until_passed(self, count: int = 1) -> HandoffState:
        self.engine.run_until(lambda: len(self.passed) >= count, what="a visitor who is passed on")
        return self.passed[count - 1][1]

    def _pass_on(self, lease: Lease, channel: Channel, state: HandoffState) -> bool:
        if self.willing:
            assert isinstance(channel, SocketChannel)
            assert channel.detach(self._keep)
            self.passed.append((lease, state))
        return self.willing

    def _keep(self, sock: socket.socket) -> bool:
        self.taken.append(sock)
        return True

    def _listen(self, port: int) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", port))
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        for sock in self.taken:
            sock.close()
        for lease in self.leases.values():
            self.tcp.close(lease)
        self.http.close()
        self.engine.settle()


KEYS: dict[Kind, LeaseKey] = {"http": LeaseKey("http", "app.localhost"), "tcp": LeaseKey("tcp", str(free_port()))}


@pytest.fixture
def passing(engine: EngineLoop) -> Iterator[Passing]:
    passing = Passing(engine)
    yield passing
    passing.close()


@pytest.mark.parametrize("cut", [len(REQUEST), 10, len(REQUEST) - 3])
def test_a_request_goes_along_with_all_that_was_read_and_the_rest_stays_in_the_socket(passing: Passing, cut: int) -> None:
    with passing.visitor(REQUEST[:cut]) as far:
        passing.engine.settle()
        far.sendall(REQUEST[cut:])
        state = passing.until_passed()
        passing.engine.settle()
        with passing.taken[0] as sock:
            sock.setblocking(True)
            far.shutdown(socket.SHUT_WR)
            assert state.buffered + b"".join(iter(lambda: sock.recv(100), b"")) == REQUEST
            sock.sendall(b"answer")
            assert far.recv(100) == b"answer"

    assert state == HandoffState(("192.0.2.7", 0), state.buffered, 1, "http")
    assert passing.http.visitors == 0


def test_a_handed_off_channel_counts_as_drained_until_more_arrives(passing: Passing) -> None:
    far, near = tcp_pair()
    near.setblocking(False)
    with far:
        passing.http.accept_handoff(near, HandoffState(("192.0.2.7", 0), REQUEST[:20]))
        (visitor,) = passing.http._visitors
        assert not visitor.channel.readable
        passing.engine.settle()
        far.sendall(REQUEST[20:])
        assert passing.until_passed().buffered.startswith(REQUEST[:-5])

    far, near = tcp_pair()
    near.setblocking(False)
    with far:
        far.sendall(REQUEST[20:])  # arrives before the visitor
        passing.http.accept_handoff(near, HandoffState(("192.0.2.7", 0), REQUEST[:20]))
        assert passing.until_passed(2).buffered.startswith(REQUEST[:-5])


def test_handoffs_of_one_request_are_bounded(passing: Passing) -> None:
    with passing.visitor(REQUEST, handoffs=HANDOFFS_MAX - 1):
        assert passing.until_passed().handoffs == HANDOFFS_MAX
    with passing.visitor(REQUEST, handoffs=HANDOFFS_MAX) as far:
        passing.engine.run_until(lambda: passing.http.held == 1, what="a visitor who is held")
        passing.engine.run_until(lambda: passing.http.held == 0, what="the end of his hold")
        assert b"agent_offline" in far.recv(4096)


def test_a_visitor_is_held_until_its_handoff_is_possible(passing: Passing) -> None:
    passing.willing = False
    with passing.visitor(REQUEST), socket.create_connection(("127.0.0.1", int(KEYS["tcp"].address))):
        waiting = [lease.waiters for lease in passing.leases.values()]
        passing.engine.run_until(lambda: all(len(waiters) == 1 for waiters in waiting), what="visitors who wait")
        passing.willing = True
        for waiters in waiting:
            (go,) = waiters.values()
            waiters.clear()
            passing.engine.reactor.call_soon(go)
        passing.until_passed(2)

    assert (passing.http.held, passing.http.visitors, passing.tcp.visitors) == (0, 0, 0)


def test_the_scheme_that_a_proxy_reported_is_handed_off_with_a_visitor(passing: Passing) -> None:
    with passing.visitor(REQUEST, scheme="https"):
        assert passing.until_passed().scheme == "https"


def test_a_decrypted_request_that_cannot_be_handed_off_is_misdirected_at_once(passing: Passing) -> None:
    passing.willing = False
    with passing.visitor(REQUEST, server_name="app.localhost") as far:
        passing.engine.run_until(lambda: passing.http.visitors == 1 and not passing.connected, what="the end of the request")
        answer = far.recv(4096)
    assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"moved to another process" in answer
    assert passing.http.held == 0


def test_a_tcp_visitor_is_handed_off_with_its_address(passing: Passing) -> None:
    with socket.create_connection(("127.0.0.1", int(KEYS["tcp"].address))) as far:
        state = passing.until_passed()

        assert state == HandoffState(far.getsockname(), b"", 1)
    assert passing.tcp.visitors == 0


def test_a_paused_port_accepts_none_keeps_its_visitors_and_listens_again(passing: Passing) -> None:
    lease = passing.leases["tcp"]
    passing.willing = False
    with socket.create_connection(("127.0.0.1", int(lease.address))):
        passing.engine.run_until(lambda: bool(lease.waiters), what="a visitor who waits")
        passing.tcp.pause(lease)
        passing.engine.settle()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(lease.address)))
        assert passing.tcp.visitors == 1
        passing.tcp.open(lease)
        with socket.create_connection(("127.0.0.1", int(lease.address))):
            passing.engine.run_until(lambda: len(lease.waiters) == 2, what="two who wait")


def test_a_port_accepts_handoffs(passing: Passing) -> None:
    lease = passing.leases["tcp"]
    far, near = tcp_pair()
    near.setblocking(False)
    with far:
        assert passing.tcp.accept_handoff(lease.key, near, HandoffState(("192.0.2.7", 7), handoffs=1))
        assert passing.until_passed() == HandoffState(("192.0.2.7", 7), handoffs=2)
    other = socket.socket()
    with closing(other):
        assert not passing.tcp.accept_handoff(LeaseKey("tcp", "1"), other, HandoffState(("192.0.2.7", 7)))


def test_one_process_keeps_all_visitors_and_no_heads(passing: Passing) -> None:
    passing.http.hand_off = passing.tcp.hand_off = None
    with passing.visitor(REQUEST), socket.create_connection(("127.0.0.1", int(KEYS["tcp"].address))):
        waiting = [lease.waiters for lease in passing.leases.values()]
        passing.engine.run_until(lambda: all(len(waiters) == 1 for waiters in waiting), what="visitors who wait")
        (visitor,) = passing.http._visitors

        assert isinstance(visitor, VisitorConnection)
        assert visitor._head == b""
    assert passing.passed == []
