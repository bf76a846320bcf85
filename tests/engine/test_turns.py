"""Turns of pumps: at most `TURN_BYTES` per turn and one place in the queue, for any behaviour of source and peer."""

from itertools import pairwise

import pytest

from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.pumps import CopyPump, PeekPump, Pump
from portway.engine.reactor import TURN_BYTES
from portway.protocol.work import READ_WORK
from tests.kit.loops import EngineLoop

PIECE_BYTES = 32 * 1024


class Endless(Channel):
    """A source that always has more, as a fast sender on a fast network does, and a sink that takes everything."""

    __slots__ = (*CHANNEL_SLOTS, "piece_bytes")

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self.piece_bytes = piece_bytes
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True

    ended = False

    def recv_into(self, buffer: memoryview) -> int:
        return min(len(buffer), self.piece_bytes)

    def peek(self) -> memoryview:
        return memoryview(bytes(self.piece_bytes))

    def consume(self, count: int) -> None:
        pass

    def room(self) -> int:
        return TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        return len(data)

    def shutdown_write(self) -> None:
        pass

    abort = close = shutdown_write


class Owner:
    """Gets no callback: an endless source neither ends nor breaks."""

    def __init__(self, engine: EngineLoop) -> None:
        self.account = engine.reactor.unassigned

    def pump_ends(self, pump: Pump) -> None:
        raise AssertionError

    def pump_ended(self) -> None:
        raise AssertionError

    pump_broke = pump_ended


@pytest.mark.parametrize("kind", [CopyPump, PeekPump])
def test_news_of_a_source_that_waits_for_its_turn_earns_it_no_second_one(engine: EngineLoop, kind: type[CopyPump] | type[PeekPump]) -> None:
    pump = kind(engine.reactor, Endless(), Endless(), Owner(engine))
    pump.run()
    turn_bytes = pump.bytes
    assert 0 < turn_bytes <= TURN_BYTES
    for _ in range(50):
        pump.run()  # as `on_readable` does for each arriving segment
    assert pump.bytes == turn_bytes
    turns: list[int] = []

    def check() -> None:
        turns.append(pump.bytes)
        pump.run()
        engine.reactor.call_soon_charged(engine.reactor.unassigned, check)

    engine.reactor.call_soon_charged(engine.reactor.unassigned, check)
    engine.run_until(lambda: len(turns) >= 20)
    pump.reason = "the test is over"
    assert {after - before for before, after in pairwise(turns)} == {turn_bytes}


def test_a_source_of_small_pieces_has_a_short_turn(engine: EngineLoop) -> None:
    pump = CopyPump(engine.reactor, Endless(piece_bytes=1), Endless(), Owner(engine))
    pump.run()
    assert 0 < pump.bytes <= TURN_BYTES // READ_WORK
    pump.reason = "the test is over"
