"""Bodies on their way, wherever they are cut and however little the sink takes."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.protocol.http1.chunked import ChunkDecoder
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import CHUNKED, UNTIL_END
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from portway.server.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from tests.kit.loops import EngineLoop


class Way:
    """A pump between two memory channels, with a source to write to and a sink to read from."""

    def __init__(self, engine: EngineLoop, capacity_bytes: int) -> None:
        self.engine = engine
        source, self.writer = memory_pair(engine.reactor, 1 << 20)
        sink, self.reader = memory_pair(engine.reactor, capacity_bytes)
        self.inlet, self.outlet = ChannelReader(source, engine.reactor.scratch_body), ChannelWriter(sink)
        self.received = b""

    def counted(self, length: int) -> SizedPump:
        return SizedPump(self.engine.reactor, self.inlet, self.outlet, length, b"HEAD:")

    def coded(self, comes: int, goes: int) -> ReframingPump:
        return ReframingPump(self.engine.reactor, self.inlet, self.outlet, (comes, goes), b"HEAD:")

    def take(self, reader: MemoryChannel) -> None:
        view = reader.peek()
        if view is not None:
            self.received += bytes(view)
            reader.consume(len(view))

    def run(self, pump: SizedPump | ReframingPump, pieces: list[bytes], *, end: bool = False) -> PumpResult:
        """Feed pieces, reading the sink dry in between, and return how it ended."""
        flow = self.turn(pump)
        for piece in pieces:
            self.writer.send(piece)
            flow = self.turn(pump)
        if end:
            self.writer.shutdown_write()
            flow = self.turn(pump)
        return flow

    def turn(self, pump: SizedPump | ReframingPump) -> PumpResult:
        while True:
            flow = pump.run()
            before = len(self.received)
            self.take(self.reader)
            if flow not in (PumpResult.WAITS_FOR_SINK, PumpResult.TURN_USED_UP) and len(self.received) == before:
                return flow


PIECES = st.lists(st.binary(min_size=1, max_size=60), max_size=6)
CAPACITIES = st.sampled_from([1, 7, 64, 65536])


@given(pieces=PIECES, follows=st.binary(max_size=5), capacity=CAPACITIES)
def test_a_counted_body_goes_through_exactly(engine: EngineLoop, pieces: list[bytes], follows: bytes, capacity: int) -> None:
    way = Way(engine, capacity)
    whole = b"".join(pieces)
    pump = way.counted(len(whole))
    assert way.run(pump, [*pieces, follows] if follows else pieces) is PumpResult.FINISHED
    assert way.received == b"HEAD:" + whole
    assert pump.moved == len(whole)
    rest = way.inlet.view(10)
    assert (bytes(rest) if rest is not None else b"") == follows
    if rest is not None:
        del rest
        way.inlet.used(0)


@given(pieces=PIECES, capacity=CAPACITIES, cuts=st.integers(1, 9))
def test_a_chunked_body_is_coded_anew(engine: EngineLoop, pieces: list[bytes], capacity: int, cuts: int) -> None:
    wire = b"".join(b"%X;x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nT: x\r\n\r\nNEXT"
    way = Way(engine, capacity)
    assert way.run(way.coded(CHUNKED, CHUNKED), [wire[i : i + cuts] for i in range(0, len(wire), cuts)]) is PumpResult.FINISHED
    assert way.received.startswith(b"HEAD:")
    decoder = ChunkDecoder()
    payload, rest = decoder.feed(way.received[5:])
    assert (b"".join(payload), rest, decoder.done) == (b"".join(pieces), b"", True)
    following = way.inlet.view(10)
    assert following is not None
    assert b"NEXT".startswith(bytes(following))
    del following
    way.inlet.used(0)


@given(pieces=PIECES, capacity=CAPACITIES)
def test_an_old_visitor_gets_the_payload_alone(engine: EngineLoop, pieces: list[bytes], capacity: int) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    way = Way(engine, capacity)
    assert way.run(way.coded(CHUNKED, UNTIL_END), [wire]) is PumpResult.FINISHED
    assert way.received == b"HEAD:" + b"".join(pieces)


@given(pieces=PIECES, capacity=CAPACITIES)
def test_a_body_until_the_end_gets_chunks(engine: EngineLoop, pieces: list[bytes], capacity: int) -> None:
    way = Way(engine, capacity)
    pump = way.coded(UNTIL_END, CHUNKED)
    assert way.run(pump, pieces) is PumpResult.WAITS_FOR_SOURCE
    assert way.run(pump, [], end=True) is PumpResult.FINISHED
    decoder = ChunkDecoder()
    payload, _ = decoder.feed(way.received[5:])
    assert (b"".join(payload), decoder.done) == (b"".join(pieces), True)


Make = Callable[[Way], SizedPump | ReframingPump]
COUNTED: Make = lambda way: way.counted(5)  # noqa: E731
CHUNKS: Make = lambda way: way.coded(CHUNKED, CHUNKED)  # noqa: E731
TO_THE_END: Make = lambda way: way.coded(UNTIL_END, CHUNKED)  # noqa: E731


def test_the_head_does_not_wait_for_the_body(engine: EngineLoop) -> None:
    for make in (COUNTED, CHUNKS, TO_THE_END):
        way = Way(engine, 100)
        assert make(way).run() is PumpResult.WAITS_FOR_SOURCE
        way.take(way.reader)
        assert way.received == b"HEAD:"


def test_an_early_end_is_told_from_a_break_and_from_the_end(engine: EngineLoop) -> None:
    for make in (COUNTED, CHUNKS):
        way = Way(engine, 100)
        assert way.run(make(way), [b"2\r\n"], end=True) is PumpResult.SOURCE_TRUNCATED
        way = Way(engine, 100)
        pump = make(way)
        way.writer.send(b"2\r\n")
        way.writer.abort()
        engine.settle()
        assert way.turn(pump) is PumpResult.SOURCE_BROKE
        assert b"0\r\n\r\n" not in way.received
        way = Way(engine, 100)
        way.reader.abort()
        assert make(way).run() is PumpResult.SINK_BROKE
    way = Way(engine, 100)
    pump = way.coded(UNTIL_END, CHUNKED)
    way.writer.abort()
    engine.settle()
    assert way.turn(pump) is PumpResult.SOURCE_BROKE
    assert b"0\r\n\r\n" not in way.received


def test_a_limit_is_a_limit(engine: EngineLoop) -> None:
    way = Way(engine, 1000)
    pump = way.coded(CHUNKED, CHUNKED)
    pump.limit(5)
    with pytest.raises(MessageError) as caught:
        way.run(pump, [b"3\r\nabc\r\n", b"3\r\nabc\r\n"])
    assert caught.value.code == "body_too_large"


def test_a_flood_of_tiny_chunks_ends_its_turn(engine: EngineLoop) -> None:
    way = Way(engine, 1 << 20)
    way.writer.send(b"1\r\nx\r\n" * 100_000)
    pump = way.coded(CHUNKED, CHUNKED)
    assert pump.run() is PumpResult.TURN_USED_UP
    assert 1000 < pump.moved < 4000


def test_a_turn_of_tiny_chunks_goes_out_as_one_chunk(engine: EngineLoop) -> None:
    way = Way(engine, 1 << 20)
    way.writer.send(b"1\r\nx\r\n" * 100)
    pump = way.coded(CHUNKED, CHUNKED)
    assert pump.run() is PumpResult.WAITS_FOR_SOURCE
    way.take(way.reader)
    assert way.received == b"HEAD:64\r\n" + b"x" * 100 + b"\r\n"


def test_a_fat_body_takes_its_turns(engine: EngineLoop) -> None:
    way = Way(engine, 1 << 20)
    way.writer.send(b"x" * (1 << 20))
    pump = way.counted(1 << 20)
    assert pump.run() is PumpResult.TURN_USED_UP
    assert pump.moved <= 300_000
