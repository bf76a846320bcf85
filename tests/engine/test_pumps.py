"""Single pumps: bytes per turn, buffers and notifications. Relay tests cover pairs of them."""

import random
import socket
from dataclasses import dataclass, field

import pytest

from portway.engine.accounts import Account
from portway.engine.channel import HEADROOM_BYTES, Channel
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.engine.pumps import LARGE_READ_BYTES, CopyPump, PeekPump, Pump
from portway.engine.reactor import TURN_BYTES
from portway.engine.socket_channel import SocketChannel
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, WRITE_BROKE
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import read_exactly, reset, tcp_pair

Kind = type[CopyPump] | type[PeekPump]
both_kinds = pytest.mark.parametrize("kind", [CopyPump, PeekPump])

MIB = 1024 * 1024


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Owner:
    """The notifications of a pump."""

    events: list[str] = field(default_factory=list)
    account: Account = field(default_factory=Account)

    def pump_ends(self, pump: Pump) -> None:
        """Nothing is to be done before."""

    def pump_ended(self) -> None:
        self.events.append("ended")

    def pump_broke(self) -> None:
        self.events.append("broke")


@dataclass
class Line:
    """writer → source ∙ pump ∙ sink → reader, in memory."""

    writer: MemoryChannel
    source: MemoryChannel
    sink: MemoryChannel
    reader: MemoryChannel
    pump: CopyPump | PeekPump
    owner: Owner

    def start(self) -> None:
        """Run the pump at every event."""
        self.source.on_readable = self.sink.on_writable = self.pump.run
        self.pump.run()

    @property
    def waiting_bytes(self) -> int:
        """Bytes left in the source."""
        return len(self.source._received)


def line(engine: EngineLoop, kind: Kind, *, source_bytes: int = 64 * 1024, sink_bytes: int = 64 * 1024) -> Line:
    writer, source = memory_pair(engine.reactor, source_bytes)
    sink, reader = memory_pair(engine.reactor, sink_bytes)
    owner = Owner(account=engine.reactor.unassigned)
    return Line(writer, source, sink, reader, kind(engine.reactor, source, sink, owner), owner)


def counts(pump: CopyPump | PeekPump) -> tuple[int, int, str]:
    """A pump's flow without the time."""
    flow = pump.flow(0.0)
    return flow.total_bytes, flow.event_count, flow.shutdown_reason


def take(channel: MemoryChannel, at_most: int) -> bytes:
    view = channel.peek()
    assert view is not None
    taken = bytes(view[:at_most])
    channel.consume(len(taken))
    return taken


def full_socket(engine: EngineLoop) -> tuple[SocketChannel, socket.socket, int]:
    """Return a channel whose kernel buffer was filled directly, its peer, and how many bytes are in between."""
    near, far = tcp_pair(16 * 1024)
    near.setblocking(False)
    channel = SocketChannel(engine.reactor, near)
    engine.settle()
    filled = 0
    try:
        while True:
            filled += near.send(bytes(64 * 1024))
    except BlockingIOError:
        return channel, far, filled


@both_kinds
def test_bytes_go_through_and_are_counted(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.start()
    for word in (b"three ", b"short ", b"reads"):
        moving.writer.send(word)
        engine.settle()
    assert take(moving.reader, 100) == b"three short reads"
    assert counts(moving.pump) == (17, 3, "")
    moving.writer.shutdown_write()
    engine.settle()
    assert moving.reader.peek() is None
    assert moving.reader.ended
    assert counts(moving.pump) == (17, 3, ENDED)
    assert moving.owner.events == ["ended"]
    moving.pump.run()
    engine.settle()
    assert moving.owner.events == ["ended"]


class Measured(MemoryChannel):
    """A sink with room for one turn at a time, like sockets and links."""

    def room(self) -> int:
        """Return at most the bytes of one turn."""
        return min(super().room(), TURN_BYTES)


@both_kinds
def test_one_turn_moves_turn_bytes_and_others_run_before_the_next(engine: EngineLoop, kind: Kind) -> None:
    sink, reader = Measured(engine.reactor, 4 * MIB), Measured(engine.reactor, 4 * MIB)
    sink._peer, reader._peer = reader, sink
    writer, _, pump, _ = from_memory(engine, kind, sink)
    engine.settle()
    writer.send(noise(MIB))
    seen: list[int] = []

    def check() -> None:
        seen.append(pump.bytes)
        if len(seen) < 8:
            engine.reactor.call_soon_charged(engine.reactor.unassigned, check)

    pump.run()
    assert pump.bytes == TURN_BYTES
    for _ in range(5):
        pump.run()  # an event for a queued pump adds no turn
    assert pump.bytes == TURN_BYTES
    engine.reactor.call_soon_charged(engine.reactor.unassigned, check)
    engine.settle()
    assert pump.bytes == MIB
    assert seen[:3] == [2 * TURN_BYTES, 3 * TURN_BYTES, 4 * TURN_BYTES]
    assert take(reader, 2 * MIB) == noise(MIB)


@both_kinds
def test_the_bytes_of_a_turn_count_for_the_batch(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind, source_bytes=MIB, sink_bytes=4 * MIB)
    moving.writer.send(noise(TURN_BYTES + 1))
    before = engine.reactor.work.done
    moving.pump.run()
    assert engine.reactor.work.done - before >= TURN_BYTES


@both_kinds
def test_no_more_is_taken_than_the_sink_has_room_for(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind, sink_bytes=10)
    moving.start()
    moving.writer.send(b"0123456789abcdef")
    engine.settle()
    assert moving.pump.bytes == 10
    assert moving.waiting_bytes == 6
    assert take(moving.reader, 4) == b"0123"
    engine.settle()
    assert moving.waiting_bytes == 2
    assert take(moving.reader, 10) == b"456789abcd"
    engine.settle()
    assert take(moving.reader, 10) == b"ef"


def from_memory(engine: EngineLoop, kind: Kind, sink: Channel) -> tuple[MemoryChannel, MemoryChannel, CopyPump | PeekPump, Owner]:
    """Return writer, source, the pump that leads to `sink` and is running, and its owner."""
    writer, source = memory_pair(engine.reactor, 2 * MIB)
    owner = Owner(account=engine.reactor.unassigned)
    pump = kind(engine.reactor, source, sink, owner)
    source.on_readable = sink.on_writable = pump.run
    return writer, source, pump, owner


@both_kinds
def test_bytes_that_a_sink_did_not_accept_are_sent_first_and_then_the_end(engine: EngineLoop, kind: Kind) -> None:
    sink, far, filled = full_socket(engine)
    writer, _, pump, owner = from_memory(engine, kind, sink)
    message = noise(200_000)
    writer.send(message)
    writer.shutdown_write()
    engine.settle()
    assert not owner.events
    assert sink.room() == 0
    assert pump.events == (1 if kind is CopyPump else 0), "a read that brought nothing is none"
    engine.reactor.scratch[:] = b"\xee" * len(engine.reactor.scratch)  # others read meanwhile
    far.setblocking(False)
    got = bytearray()

    def arrived() -> bool:
        try:
            while piece := far.recv(65536):
                got.extend(piece)
        except BlockingIOError:
            return False
        return True

    engine.run_until(arrived)
    assert bytes(got[filled:]) == message
    assert owner.events == ["ended"]
    assert pump.bytes == len(message)
    far.close()
    sink.close()
    engine.settle()


def test_a_copy_pump_buffers_one_read_and_a_peek_pump_nothing(engine: EngineLoop) -> None:
    for kind in (CopyPump, PeekPump):
        sink, far, _ = full_socket(engine)
        writer, source, pump, _ = from_memory(engine, kind, sink)
        writer.send(noise(2 * MIB))
        engine.settle()
        for _ in range(5):
            pump.run()
        held = 2 * MIB - len(source._received)
        assert held <= (TURN_BYTES if kind is CopyPump else 0)
        far.close()
        sink.abort()
        engine.settle()


class Sparing(MemoryChannel):
    """A sink that accepts three bytes at a time and calls back only after `room` returned 0, according to the contract."""

    offered: int = 0
    """The most that was offered at once."""

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Take little."""
        assert self.room() > 0, "a pump asks before it sends"
        self.offered = max(self.offered, len(data))
        return super().send(memoryview(data)[:3])


@both_kinds
def test_a_sink_that_takes_little_at_a_time_gets_everything(engine: EngineLoop, kind: Kind) -> None:
    sink, reader = Sparing(engine.reactor, 7), Sparing(engine.reactor, 7)
    sink._peer, reader._peer = reader, sink
    writer, _, pump, owner = from_memory(engine, kind, sink)
    end = Probe(reader).read()
    pump.run()
    writer.send(noise(5000))
    writer.shutdown_write()
    engine.run_until(lambda: end.ended, deadline_s=2)
    assert end.received == noise(5000)
    assert owner.events == ["ended"]
    assert sink.offered <= 7, "a sink that takes everything, as TLS does, must not be offered more than it has room for"


class Headed(MemoryChannel):
    """A sink that uses headroom, and records how it was served."""

    wants_headroom = True
    served: list[tuple[str, int]]

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Note, and take."""
        self.served.append(("copied", len(data)))
        return super().send(data)

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Note, use the headroom, and take."""
        self.served.append(("headroom", count))
        buffer[:HEADROOM_BYTES] = b"\xee" * HEADROOM_BYTES
        return super().send(buffer[HEADROOM_BYTES : HEADROOM_BYTES + count])


def test_large_reads_go_out_behind_their_headroom_and_small_ones_do_not(engine: EngineLoop) -> None:
    sink, reader = Headed(engine.reactor, MIB), Headed(engine.reactor, MIB)
    sink._peer, reader._peer = reader, sink
    sink.served = []
    writer, _, pump, _ = from_memory(engine, CopyPump, sink)
    pump.run()
    sizes = (10, LARGE_READ_BYTES - 1, LARGE_READ_BYTES, 100_000)
    for seed, size in enumerate(sizes):
        writer.send(noise(size, seed))
        engine.settle()
    assert sink.served == [("copied", 10), ("copied", LARGE_READ_BYTES - 1), ("headroom", LARGE_READ_BYTES), ("headroom", 100_000)]
    assert take(reader, MIB) == b"".join(noise(size, seed) for seed, size in enumerate(sizes))


@both_kinds
def test_a_broken_source_is_reported_once_with_its_reason(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.start()
    moving.writer.send(b"half of it")
    engine.settle()
    moving.writer.abort()
    engine.settle()
    assert moving.owner.events == ["broke"]
    assert counts(moving.pump) == (10, 1, READ_BROKE)
    moving.pump.run()
    moving.pump.abort()
    assert moving.owner.events == ["broke"]
    assert moving.pump.reason == READ_BROKE
    assert not moving.reader.ended, "a break is never an end"


@both_kinds
def test_a_source_that_broke_behind_its_last_bytes_is_a_broken_source_too(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.writer.send(b"half of it")
    moving.writer.close()
    engine.settle()
    moving.start()
    assert counts(moving.pump) == (10, 1, READ_BROKE)
    assert moving.owner.events == ["broke"]
    assert take(moving.reader, 100) == b"half of it"
    assert not moving.reader.ended


@both_kinds
def test_a_broken_sink_is_reported_once_with_its_reason(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.start()
    moving.reader.close()
    moving.writer.send(b"nobody will read this")
    engine.settle()
    assert moving.owner.events == ["broke"]
    assert moving.pump.reason == WRITE_BROKE


@both_kinds
def test_a_sink_that_breaks_with_buffered_bytes_is_reported(engine: EngineLoop, kind: Kind) -> None:
    sink, far, _ = full_socket(engine)
    writer, _, pump, owner = from_memory(engine, kind, sink)
    writer.send(noise(100_000))
    engine.settle()
    assert not owner.events
    far.close()  # with unread bytes: a reset
    engine.run_until(lambda: bool(owner.events))
    assert owner.events == ["broke"]
    assert pump.reason == WRITE_BROKE
    sink.abort()
    engine.settle()


@both_kinds
def test_an_aborted_pump_reports_it_and_moves_nothing_more(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.start()
    moving.pump.abort()
    moving.writer.send(b"too late")
    engine.settle()
    assert counts(moving.pump) == (0, 0, ABORTED)
    assert moving.owner.events == ["broke"]


@both_kinds
def test_an_end_that_was_there_before_the_pump_is_found_by_the_first_run(engine: EngineLoop, kind: Kind) -> None:
    moving = line(engine, kind)
    moving.writer.send(b"all of it")
    moving.writer.shutdown_write()
    engine.settle()
    moving.start()
    engine.settle()
    assert take(moving.reader, 100) == b"all of it"
    assert moving.owner.events == ["ended"]


def test_a_reset_behind_bytes_from_a_real_socket_is_a_break(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    source = SocketChannel(engine.reactor, near)
    sink, reader = memory_pair(engine.reactor, 1000)
    owner = Owner(account=engine.reactor.unassigned)
    pump = CopyPump(engine.reactor, source, sink, owner)
    source.on_readable = sink.on_writable = pump.run
    end = Probe(reader)
    far.sendall(noise(5000))
    engine.run_until(lambda: pump.bytes == 1000)
    reset(far)
    end.read()
    engine.run_until(lambda: bool(owner.events))
    assert owner.events == ["broke"]
    assert pump.reason == READ_BROKE
    assert noise(5000).startswith(end.received)
    assert not end.ended
    source.close()
    engine.settle()


def test_small_pieces_over_a_real_socket_arrive_in_order(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    out, end = tcp_pair()
    for sock in (near, out):
        sock.setblocking(False)
    source, sink = SocketChannel(engine.reactor, near), SocketChannel(engine.reactor, out)
    owner = Owner(account=engine.reactor.unassigned)
    pump = CopyPump(engine.reactor, source, sink, owner)
    source.on_readable = sink.on_writable = pump.run
    message = noise(3000)
    for at in range(0, len(message), 100):
        far.sendall(message[at : at + 100])
        engine.settle()
    far.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: owner.events == ["ended"])
    assert read_exactly(end, len(message)) == message
    assert pump.events == 30
    for thing in (source, sink):
        thing.close()
    far.close()
    end.close()
    engine.settle()
