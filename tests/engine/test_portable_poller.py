"""Emulated edges: events reported once, not repeated, and breaks without a reader."""

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from portway.engine.poller import BROKEN, READABLE, WRITABLE
from portway.engine.portable_poller import PortablePoller
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from tests.kit.certificates import Identity
from tests.kit.channels import pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import reset, tcp_pair, unix_pair

MIB = 1024 * 1024
SELECTORS = [selectors.DefaultSelector, selectors.PollSelector, selectors.SelectSelector]
"""One that nests by its descriptor, two that need a thread."""


@pytest.fixture(params=SELECTORS)
def portable(request: pytest.FixtureRequest) -> Iterator[EngineLoop]:
    engine = EngineLoop(PortablePoller(request.param()))
    yield engine
    engine.close()


@pytest.fixture
def nested() -> Iterator[EngineLoop]:
    engine = EngineLoop(PortablePoller())
    yield engine
    engine.close()


class Ear:
    """Records the events of one end of a pair, without reading."""

    def __init__(self, engine: EngineLoop) -> None:
        self.near, self.far = tcp_pair(64 * 1024)
        self.near.setblocking(False)
        self.fd = self.near.fileno()
        self.masks: list[int] = []
        engine.reactor.watch(self.fd, self.masks.append)

    def close(self, engine: EngineLoop) -> None:
        engine.reactor.discard(self.near)
        self.far.close()
        engine.settle()


def test_unread_bytes_are_reported_once(nested: EngineLoop) -> None:
    ear = Ear(nested)
    nested.settle()
    assert ear.masks == [WRITABLE]
    ear.far.sendall(b"first")
    nested.settle()
    ear.far.sendall(b"second")
    nested.settle()
    assert ear.masks == [WRITABLE, READABLE]
    ear.close(nested)


def test_a_reader_that_rearms_gets_the_remaining_bytes_reported(nested: EngineLoop) -> None:
    ear = Ear(nested)
    ear.far.sendall(b"some bytes")
    nested.settle()
    before = len(ear.masks)
    assert nested.reactor.level_poller is not None
    nested.reactor.level_poller.want_read(ear.fd)
    nested.settle()
    assert ear.masks[before:] == [READABLE]
    ear.close(nested)


def test_room_is_reported_only_to_a_writer_that_rearmed(nested: EngineLoop) -> None:
    ear = Ear(nested)
    nested.settle()
    with pytest.raises(BlockingIOError):
        while True:
            ear.near.send(bytes(65536))
    ear.masks.clear()
    assert nested.reactor.level_poller is not None
    nested.reactor.level_poller.want_write(ear.fd)
    nested.settle()
    assert ear.masks == []
    while not ear.masks:
        ear.far.recv(MIB)
        nested.settle()
    assert ear.masks == [WRITABLE]
    ear.close(nested)


def test_a_paused_reader_costs_no_wake_ups(nested: EngineLoop) -> None:
    ear = Ear(nested)
    ear.far.sendall(b"unread")
    nested.settle()
    checks = 0

    def count() -> bool:
        nonlocal checks
        checks += 1
        return False

    with pytest.raises(AssertionError, match="not within"):
        nested.run_until(count, deadline_s=0.5)
    assert checks < 10
    ear.close(nested)


def test_a_reset_is_reported_to_a_paused_reader(nested: EngineLoop) -> None:
    ear = Ear(nested)
    ear.far.sendall(b"unread")
    nested.settle()
    before = len(ear.masks)
    reset(ear.far)
    nested.run_until(lambda: len(ear.masks) > before)
    assert ear.masks[-1] & BROKEN
    nested.settle()
    assert len(ear.masks) == before + 1
    ear.close(nested)


def test_a_reset_before_any_data_is_reported_without_delay(nested: EngineLoop) -> None:
    ear = Ear(nested)
    nested.settle()
    reset(ear.far)
    nested.settle()
    assert [mask & BROKEN for mask in ear.masks].count(BROKEN) == 1
    ear.close(nested)


def test_a_number_that_is_used_again_starts_afresh(nested: EngineLoop) -> None:
    first = Ear(nested)
    first.far.sendall(b"unread")
    nested.settle()
    number = first.fd
    first.close(nested)
    second = Ear(nested)
    assert second.fd == number
    second.far.sendall(b"x")
    nested.settle()
    assert [mask & READABLE for mask in second.masks] in ([0, READABLE], [READABLE])
    second.close(nested)


def test_descriptors_watched_by_a_coroutine_are_reported_too(portable: EngineLoop) -> None:
    near, far = unix_pair()
    near.setblocking(False)
    far.sendall(b"x")
    portable.run_until(lambda: True)
    channel = SocketChannel(portable.reactor, near)
    probe = Probe(channel).read()
    portable.run_until(lambda: probe.received == b"x")
    far.sendall(b"y")
    portable.run_until(lambda: probe.received == b"xy")
    probe.close()
    far.close()
    portable.settle()


def test_a_relay_passes_bulk_data_in_both_directions_and_ends(portable: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        left = stack.enter_context(pair_of("tls-server", portable, identity))
        right = stack.enter_context(pair_of("tcp", portable, identity))
        done: list[Relay] = []
        Relay(portable.reactor, left.near, right.near, done.append).start()
        visitor, origin = Probe(left.far).read(), Probe(right.far).read()
        there, back = b"there" * MIB, b"back" * MIB
        visitor.feed(there, end=True)
        origin.feed(back, end=True)
        portable.run_until(lambda: bool(done) and visitor.ended and origin.ended, deadline_s=20)
        assert origin.received == there
        assert visitor.received == back


def test_many_sockets_come_and_go_while_others_wait(portable: EngineLoop) -> None:
    idle: list[tuple[SocketChannel, socket.socket]] = []
    for _ in range(50):
        near, far = unix_pair()
        near.setblocking(False)
        idle.append((SocketChannel(portable.reactor, near), far))
        probe = Probe(idle[-1][0]).read()
        far.sendall(b"hello")
        portable.run_until(lambda probe=probe: probe.received == b"hello")  # type: ignore[misc]
        if len(idle) > 5:
            channel, far = idle.pop(0)
            channel.close()
            far.close()
    for channel, far in idle:
        channel.close()
        far.close()
    portable.settle()
