"""Public ports: a visitor becomes a stream, is held while the agent is offline, and is reset if the origin cannot be reached."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from portway.edge.events import RelayDone
from portway.edge.lease import Lease, LeaseKey, OnStatus, Owner
from portway.edge.relaying import RelaySettings
from portway.edge.tcp import TcpEdge
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import scopes_of
from portway.engine.listener import listen
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.engine.policy import Policy
from portway.errors import BrokenChannel, UnavailableError
from portway.protocol.proxy_header import ProxyHeader, decode
from portway.protocol.stream_status import StreamStatus
from portway.server.tunnels.registry import Acquired, Registry
from portway.session.stream_handshake import open_visitor_stream
from tests.kit.loops import EngineLoop
from tests.kit.raw_agent import read_now


@dataclass
class FakeHolder:
    """A session whose streams the test controls."""

    engine: EngineLoop
    session_id: str = "s1"
    streams: list[MemoryChannel] = field(default_factory=list)
    gone: bool = False
    account: Account = field(default_factory=Account)

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        if self.gone:
            raise UnavailableError("no live link")
        near, far = memory_pair(self.engine.reactor)
        self.streams.append(far)

        class Link:
            def open(self, first: bytes = b"") -> Channel:
                near.send(first)
                return near

        return open_visitor_stream(self.engine.reactor, Link(), header, on_status)

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        raise AssertionError("a tcp tunnel has no requests")


class Place:
    """A public port with its lease, and its visitors."""

    def __init__(self, engine: EngineLoop, **settings: float) -> None:
        self.engine = engine
        self.registry = Registry(engine.reactor.call_soon, grace_s=60.0)
        self.sock = listen("127.0.0.1", 0)
        self.port: int = self.sock.getsockname()[1]
        self.others: dict[int, socket.socket] = {}
        self.told: list[RelayDone] = []
        self.edge = TcpEdge(
            engine.reactor,
            lambda port: self.sock if port == self.port else self.others[port],
            lambda n: b"u" * n,
            RelaySettings(**settings),  # type: ignore[arg-type]
            on_relay=self.told.append,
        )
        self.holder = FakeHolder(engine)
        self.lease = self.claim()
        self.edge.open(self.lease)
        self.lease.on_gone = lambda: self.edge.close(self.lease)
        self.visitors: list[socket.socket] = []

    def claim(self, session: str = "s1") -> Lease:
        self.holder.session_id = session
        outcome = self.registry.claim(LeaseKey("tcp", str(self.port)), Owner("t", b"i"), self.holder)
        assert isinstance(outcome, Acquired)
        return outcome.lease

    def neighbour(self) -> int:
        """Open the port of another tenant whose agent is away, and return it."""
        sock = listen("127.0.0.1", 0)
        port: int = sock.getsockname()[1]
        self.others[port] = sock
        outcome = self.registry.claim(LeaseKey("tcp", str(port)), Owner("neighbour", b"j"), FakeHolder(self.engine, "s2"))
        assert isinstance(outcome, Acquired)
        outcome.lease.on_gone = lambda: self.edge.close(outcome.lease)
        self.edge.open(outcome.lease)
        self.registry.session_lost("s2", now=0.0)
        return port

    def visit(self, port: int = 0) -> socket.socket:
        visitor = socket.create_connection(("127.0.0.1", port or self.port))
        visitor.settimeout(5)
        self.visitors.append(visitor)
        self.engine.settle()
        return visitor

    def stream(self, number: int = 0) -> tuple[ProxyHeader, MemoryChannel, bytes]:
        """Return a stream's preamble, the stream behind it, and what followed the preamble so far."""
        far = self.holder.streams[number]
        wire = read_now(far)
        found = decode(wire)
        assert found is not None
        return found[0], far, wire[found[1] :]

    def until(self, wanted: Callable[[], bool]) -> None:
        self.engine.run_until(wanted)

    def close(self) -> None:
        for visitor in self.visitors:
            visitor.close()
        for stream in self.holder.streams:
            stream.abort()
        self.edge.close(self.lease)
        self.engine.settle()


@pytest.fixture
def place(engine: EngineLoop) -> Iterator[Place]:
    place = Place(engine, hold_s=0.3)
    yield place
    place.close()


def is_reset(place: Place, visitor: socket.socket) -> bool:
    place.engine.settle()
    visitor.settimeout(5)
    try:
        while visitor.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return False


def test_a_visitor_becomes_a_stream_with_its_address_and_first_bytes(place: Place) -> None:
    visitor = place.visit()
    visitor.send(b"early")
    place.engine.settle()
    header, stream, rest = place.stream()
    assert header.source == visitor.getsockname()
    assert header.destination == ("127.0.0.1", place.port)
    assert header.tunnel_id == place.lease.tunnel_id
    assert header.unique_id == b"u" * 16
    place.until(lambda: bool(rest) or read_now(stream) == b"early")
    stream.send(b"\0and the origin's")
    place.engine.settle()
    assert visitor.recv(100) == b"and the origin's"


def test_the_origins_bytes_wait_for_the_status_byte_only(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    stream.send(b"\0")
    place.engine.settle()
    stream.send(b"late bytes")
    place.engine.settle()
    assert visitor.recv(100) == b"late bytes"


def test_a_half_close_goes_through_in_both_directions(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    visitor.send(b"all")
    visitor.shutdown(socket.SHUT_WR)
    stream.send(b"\0")
    got = bytearray()

    def ended() -> bool:
        got.extend(read_now(stream))
        return stream.ended

    place.until(ended)
    assert got == b"all"
    stream.send(b"the whole reply")
    stream.shutdown_write()
    place.engine.settle()
    assert visitor.recv(100) == b"the whole reply"
    assert visitor.recv(100) == b""
    place.until(lambda: place.edge.visitors == 0)


@pytest.mark.parametrize("status", [status for status in StreamStatus if status is not StreamStatus.CONNECTED])
def test_a_visitor_without_an_origin_is_reset(place: Place, status: StreamStatus) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    stream.send(bytes((status,)))
    assert is_reset(place, visitor)
    assert place.edge.visitors == 0


def test_a_stream_that_breaks_or_ends_before_its_status_resets_the_visitor(place: Place) -> None:
    for number, end in enumerate((MemoryChannel.abort, MemoryChannel.shutdown_write)):
        visitor = place.visit()
        end(place.stream(number)[1])
        assert is_reset(place, visitor)


def test_a_stream_that_breaks_in_mid_answer_is_seen_as_an_error(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    stream.send(b"\0half of the ans")
    place.engine.settle()
    assert visitor.recv(100) == b"half of the ans"
    stream.abort()
    assert is_reset(place, visitor)


def test_a_visitor_that_resets_breaks_its_stream_even_before_the_status(place: Place) -> None:
    visitor = place.visit()
    _, stream, _ = place.stream()
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    visitor.close()
    place.until(lambda: place.edge.visitors == 0)
    with pytest.raises(BrokenChannel):
        stream.send(b"\0")
    place.engine.settle()


def test_a_visitor_is_held_until_the_agent_is_back(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    visitor = place.visit()
    visitor.send(b"patient")
    assert place.holder.streams == []
    place.claim("s2")
    place.engine.settle()
    header, stream, rest = place.stream()
    assert header.tunnel_id == place.lease.tunnel_id
    assert rest == b"patient"
    stream.send(b"\0welcome back")
    place.engine.settle()
    assert visitor.recv(100) == b"welcome back"
    assert not place.lease.waiters


def test_a_visitor_is_reset_after_the_hold_time(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    visitor = place.visit()
    place.until(lambda: place.edge.visitors == 0)
    assert is_reset(place, visitor)
    assert not place.lease.waiters


def test_a_held_visitor_that_leaves_is_forgotten(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    visitor = place.visit()
    assert place.edge.visitors == 1
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    visitor.close()
    place.engine.settle()
    assert place.edge.visitors == 0
    assert not place.lease.waiters


def test_a_port_that_is_free_again_is_closed_and_its_held_visitors_are_reset(place: Place) -> None:
    place.registry.session_lost("s1", now=0.0)
    visitor = place.visit()
    place.registry.expire(now=60.0)
    assert is_reset(place, visitor)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", place.port))


def test_a_session_without_a_live_link_resets_at_once(place: Place) -> None:
    place.holder.gone = True
    assert is_reset(place, place.visit())


def test_visitors_over_the_cap_are_reset_and_those_within_it_are_not(engine: EngineLoop) -> None:
    place = Place(engine, visitors_max=2)
    first, second, third = place.visit(), place.visit(), place.visit()
    assert is_reset(place, third)
    place.stream(0)[1].send(b"\0one")
    place.stream(1)[1].send(b"\0two")
    engine.settle()
    assert (first.recv(10), second.recv(10)) == (b"one", b"two")
    place.close()


def test_few_visitors_are_held_and_none_when_the_hold_is_off(engine: EngineLoop) -> None:
    for held_max, hold_s in ((1, 5.0), (256, 0.0)):
        place = Place(engine, held_max=held_max, hold_s=hold_s)
        place.registry.session_lost("s1", now=0.0)
        if hold_s:
            place.visit()
        assert is_reset(place, place.visit())
        place.close()


def test_visitors_of_one_tenant_cannot_take_every_hold(engine: EngineLoop) -> None:
    place = Place(engine, held_all_max=3, hold_s=60.0)
    port = place.neighbour()
    place.registry.session_lost("s1", now=0.0)
    crowd = [place.visit() for _ in range(3)]
    calm = place.visit(port)
    assert is_reset(place, crowd[0]), "who has waited longest gives way"
    assert len(place.edge.holds) == 3
    for visitor in (calm, *crowd[1:]):
        visitor.setblocking(False)
        with pytest.raises(BlockingIOError):
            visitor.recv(1)
    place.registry.expire(float("inf"))
    engine.settle()
    assert len(place.edge.holds) == 0
    place.close()


def test_stopping_takes_no_new_visitors_and_lets_the_others_finish(place: Place) -> None:
    visitor = place.visit()
    place.edge.stop_listening()
    place.engine.settle()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", place.port))
    place.stream()[1].send(b"\0still here")
    place.engine.settle()
    assert visitor.recv(100) == b"still here"


def test_a_visitor_is_held_to_the_limits_of_the_leases_token(place: Place) -> None:
    place.lease.scopes = scopes_of(place.engine.reactor, Policy(max_total_payload=20))
    visitor = place.visit()
    _, stream, _ = place.stream()
    stream.send(b"\0" + b"exactly twenty bytes, and no more")
    place.until(lambda: place.edge.visitors == 0)
    assert visitor.recv(100) == b"exactly twenty bytes"
    with pytest.raises(ConnectionResetError):
        visitor.recv(100)


def test_an_idle_visitor_is_reset_also_while_the_origin_is_not_reached_yet(place: Place) -> None:
    place.lease.scopes = scopes_of(place.engine.reactor, Policy(idle_timeout_s=0.1))
    assert is_reset_in_time(place, place.visit())


def is_reset_in_time(place: Place, visitor: socket.socket) -> bool:
    place.until(lambda: place.edge.visitors == 0)
    return is_reset(place, visitor)


def speak(place: Place) -> RelayDone:
    """Let a visitor send five bytes and get ten, and return the event of its relay."""
    visitor = place.visit()
    header, stream, _ = place.stream()
    visitor.send(b"hello")
    visitor.shutdown(socket.SHUT_WR)
    stream.send(b"\0hello back")
    stream.shutdown_write()
    place.until(lambda: place.edge.visitors == 0)
    (done,) = place.told
    assert header.unique_id is not None
    assert done.relay == header.unique_id.hex()
    return done


def test_an_ended_relay_is_reported_with_both_directions_and_without_the_visitor(place: Place) -> None:
    done = speak(place)
    assert (done.tunnel, done.port, done.visitor, done.why) == (place.lease.tunnel_id, place.port, None, "")
    assert (done.forward.total_bytes, done.forward.shutdown_reason) == (5, "ended")
    assert (done.backward.total_bytes, done.backward.shutdown_reason) == (10, "ended")
    assert done.forward.event_count >= 1
    assert 0 <= done.forward.duration < 5
    assert "127.0.0.1" not in repr(done)


def test_the_visitors_address_is_reported_if_configured(engine: EngineLoop) -> None:
    place = Place(engine, log_visitors=True)
    assert speak(place).visitor == "127.0.0.1"
    place.close()
