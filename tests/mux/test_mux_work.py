"""How much a link does in a turn, and before its login."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.memory_channel import memory_pair
from portway.mux.mux import Mux
from portway.mux.settings import MuxSettings
from portway.mux.waiting import STREAMS_A_TURN
from portway.protocol.work import EMPTY_RECORD_WORK, READ_WORK, TURN_WORK
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.yamux_peer import RawPeer
from tests.kit.yamux_wire import SYN, Frame, data, ping, update

LIMIT = 1000


@pytest.fixture
def peer(engine: EngineLoop) -> Iterator[RawPeer]:
    """A peer of a server's mux that has not logged in."""
    peer = RawPeer(engine, mux_is_client=True, settings=MuxSettings(bytes_before_login=LIMIT))
    yield peer
    peer.close()


@pytest.mark.parametrize("frame", [update(1, 1), data(9, b"x"), data(9, bytes(100)), ping(3)], ids=["updates", "strays", "bodies", "pings"])
def test_bytes_before_login_are_bounded(peer: RawPeer, frame: Frame) -> None:
    peer.mux.open()
    allowed = LIMIT // len(frame.wire)
    peer.send(*[frame] * allowed)
    assert not peer.mux.lost
    peer.send(frame)
    assert peer.lost == [f"{(allowed + 1) * len(frame.wire)} bytes before the login, at most {LIMIT} are accepted"]
    assert peer.mux.offended


def test_an_admitted_peer_may_send_more(peer: RawPeer) -> None:
    engine = peer.engine
    stream = Probe(peer.mux.open()).read()
    peer.send(data(1, bytes(500)))
    account = engine.reactor.authenticated.child(tenant=True)
    peer.mux.admit(account)
    peer.send(*[data(1, bytes(500))] * 100)
    assert stream.received_bytes == 101 * 500
    assert peer.mux.account is account
    assert stream.channel.account is account
    assert not peer.mux.offended


def test_a_protocol_error_is_distinguished_from_a_lost_link(engine: EngineLoop) -> None:
    for frame, offended in ((Frame(9, 0, 1), True), (data(1, b"x", SYN), True), (None, False)):
        peer = RawPeer(engine, mux_is_client=True)
        if frame is None:
            peer.sock.close()
            engine.settle()
        else:
            peer.send(frame)
        assert peer.mux.lost
        assert peer.mux.offended == offended
        peer.close()


class Stingy(Channel):
    """A link that always has one more small record, each behind as many empty ones as TLS takes at a time."""

    __slots__ = (*CHANNEL_SLOTS, "_engine", "reads")

    def __init__(self, engine: EngineLoop) -> None:
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self._engine = engine
        self.reads = 0

    def recv_into(self, buffer: memoryview) -> int:
        self.reads += 1
        self._engine.reactor.work.done += 63 * EMPTY_RECORD_WORK
        frame = update(9, 1).wire
        buffer[: len(frame)] = frame
        return len(frame)

    def room(self) -> int:
        return 1 << 20

    def send(self, data: memoryview | bytes | bytearray) -> int:
        return len(data)

    def shutdown_write(self) -> None:
        self.readable = False

    abort = close = shutdown_write


def test_records_without_data_end_a_turn_though_there_is_some_in_between(engine: EngineLoop) -> None:
    link = Stingy(engine)
    mux = Mux(engine.reactor, link, client=False, on_stream=lambda stream: None, on_lost=lambda why: None)
    turns: list[int] = []

    def check() -> None:
        turns.append(link.reads)
        if len(turns) < 5:
            engine.reactor.call_soon_charged(mux.account, check)
        else:
            mux.abort()

    engine.reactor.call_soon(lambda: engine.reactor.call_soon_charged(mux.account, check))
    engine.settle()
    assert max(after - before for before, after in pairwise(turns)) <= 1


def test_reads_that_bring_next_to_nothing_end_a_turn(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Stingy(engine)
    monkeypatch.setattr("tests.mux.test_mux_work.EMPTY_RECORD_WORK", 0)
    mux = Mux(engine.reactor, link, client=False, on_stream=lambda stream: None, on_lost=lambda why: None)
    before = engine.reactor.work.done
    mux._decode_turn()
    assert link.reads <= TURN_WORK // READ_WORK
    assert engine.reactor.work.done - before <= 2 * TURN_WORK
    mux.abort()


def test_a_link_that_takes_bytes_again_does_not_wake_all_its_writers_at_once(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 1 << 20)
    mux = Mux(engine.reactor, near, client=True, on_stream=lambda stream: None, on_lost=lambda why: None)
    engine.settle()
    streams = [mux.open() for _ in range(3 * STREAMS_A_TURN)]
    mux.blocked = True
    woken: list[int] = []
    for number, stream in enumerate(streams):
        stream.on_writable = lambda number=number: woken.append(number)  # type: ignore[misc]
        mux.wait(stream)
    mux._unblock()
    assert woken == list(range(STREAMS_A_TURN))
    engine.settle()
    assert woken == list(range(3 * STREAMS_A_TURN))
    mux.abort()
    far.close()


def test_tiny_frames_reach_a_visitor_in_few_sends(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True)
    reader = Probe(peer.mux.open()).read()
    calls: list[int] = []
    reader.on_data = lambda: calls.append(reader.received_bytes)
    peer.send(*[data(1, b"x")] * 1000)
    assert reader.received_bytes == 1000
    assert len(calls) <= 5
    peer.close()
