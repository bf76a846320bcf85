"""Body pumps, with any cuts of the source and any capacity of the sink."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.protocol.http1.chunked import ChunkDecoder
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import CHUNKED, UNTIL_END
from tests.kit.loops import EngineLoop


class Transfer:
    """A pump between two memory channels, with a source to write to and a sink to read from."""

    def __init__(self, engine: EngineLoop, capacity_bytes: int) -> None:
        self.engine = engine
        source, self.source_end = memory_pair(engine.reactor, 1 << 20)
        sink, self.sink_end = memory_pair(engine.reactor, capacity_bytes)
        self.reader, self.writer = ChannelReader(source, engine.reactor.scratch_body), ChannelWriter(sink)
        self.received = b""

    def sized(self, length: int) -> SizedPump:
        return SizedPump(self.engine.reactor, self.reader, self.writer, length, b"HEAD:")

    def reframing(self, comes: int, goes: int) -> ReframingPump:
        return ReframingPump(self.engine.reactor, self.reader, self.writer, (comes, goes), b"HEAD:")

    def take(self, reader: MemoryChannel) -> None:
        view = reader.peek()
        if view is not None:
            self.received += bytes(view)
            reader.consume(len(view))

    def run(self, pump: SizedPump | ReframingPump, pieces: list[bytes], *, end: bool = False) -> PumpResult:
        """Feed pieces, reading the sink dry in between, and return how it ended."""
        result = self.turn(pump)
        for piece in pieces:
            self.source_end.send(piece)
            result = self.turn(pump)
        if end:
            self.source_end.shutdown_write()
            result = self.turn(pump)
        return result

    def turn(self, pump: SizedPump | ReframingPump) -> PumpResult:
        while True:
            result = pump.run()
            before = len(self.received)
            self.take(self.sink_end)
            if result not in (PumpResult.WAITS_FOR_SINK, PumpResult.TURN_USED_UP) and len(self.received) == before:
                return result


PIECES = st.lists(st.binary(min_size=1, max_size=60), max_size=6)
CAPACITIES = st.sampled_from([1, 7, 64, 65536])


@given(pieces=PIECES, follows=st.binary(max_size=5), capacity=CAPACITIES)
def test_a_sized_body_goes_through_exactly(engine: EngineLoop, pieces: list[bytes], follows: bytes, capacity: int) -> None:
    transfer = Transfer(engine, capacity)
    whole = b"".join(pieces)
    pump = transfer.sized(len(whole))
    assert transfer.run(pump, [*pieces, follows] if follows else pieces) is PumpResult.FINISHED
    assert transfer.received == b"HEAD:" + whole
    assert pump.moved == len(whole)
    rest = transfer.reader.peek(10)
    assert (bytes(rest) if rest is not None else b"") == follows
    if rest is not None:
        del rest
        transfer.reader.consume(0)


@given(pieces=PIECES, capacity=CAPACITIES, cuts=st.integers(1, 9))
def test_a_chunked_body_is_framed_anew(engine: EngineLoop, pieces: list[bytes], capacity: int, cuts: int) -> None:
    wire = b"".join(b"%X;x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nT: x\r\n\r\nNEXT"
    transfer = Transfer(engine, capacity)
    assert (
        transfer.run(transfer.reframing(CHUNKED, CHUNKED), [wire[i : i + cuts] for i in range(0, len(wire), cuts)]) is PumpResult.FINISHED
    )
    assert transfer.received.startswith(b"HEAD:")
    decoder = ChunkDecoder()
    payload, rest = decoder.feed(transfer.received[5:])
    assert (b"".join(payload), rest, decoder.done) == (b"".join(pieces), b"", True)
    following = transfer.reader.peek(10)
    assert following is not None
    assert b"NEXT".startswith(bytes(following))
    del following
    transfer.reader.consume(0)


@given(pieces=PIECES, capacity=CAPACITIES)
def test_an_http_1_0_visitor_gets_the_payload_alone(engine: EngineLoop, pieces: list[bytes], capacity: int) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    transfer = Transfer(engine, capacity)
    assert transfer.run(transfer.reframing(CHUNKED, UNTIL_END), [wire]) is PumpResult.FINISHED
    assert transfer.received == b"HEAD:" + b"".join(pieces)


@given(pieces=PIECES, capacity=CAPACITIES)
def test_a_body_until_the_end_gets_chunks(engine: EngineLoop, pieces: list[bytes], capacity: int) -> None:
    transfer = Transfer(engine, capacity)
    pump = transfer.reframing(UNTIL_END, CHUNKED)
    assert transfer.run(pump, pieces) is PumpResult.WAITS_FOR_SOURCE
    assert transfer.run(pump, [], end=True) is PumpResult.FINISHED
    decoder = ChunkDecoder()
    payload, _ = decoder.feed(transfer.received[5:])
    assert (b"".join(payload), decoder.done) == (b"".join(pieces), True)


Make = Callable[[Transfer], SizedPump | ReframingPump]
SIZED: Make = lambda transfer: transfer.sized(5)  # noqa: E731
CHUNKS: Make = lambda transfer: transfer.reframing(CHUNKED, CHUNKED)  # noqa: E731
TO_THE_END: Make = lambda transfer: transfer.reframing(UNTIL_END, CHUNKED)  # noqa: E731


def test_the_head_does_not_wait_for_the_body(engine: EngineLoop) -> None:
    for make in (SIZED, CHUNKS, TO_THE_END):
        transfer = Transfer(engine, 100)
        assert make(transfer).run() is PumpResult.WAITS_FOR_SOURCE
        transfer.take(transfer.sink_end)
        assert transfer.received == b"HEAD:"


def test_an_early_end_a_break_and_the_end_are_distinguished(engine: EngineLoop) -> None:
    for make in (SIZED, CHUNKS):
        transfer = Transfer(engine, 100)
        assert transfer.run(make(transfer), [b"2\r\n"], end=True) is PumpResult.SOURCE_TRUNCATED
        transfer = Transfer(engine, 100)
        pump = make(transfer)
        transfer.source_end.send(b"2\r\n")
        transfer.source_end.abort()
        engine.settle()
        assert transfer.turn(pump) is PumpResult.SOURCE_BROKE
        assert b"0\r\n\r\n" not in transfer.received
        transfer = Transfer(engine, 100)
        transfer.sink_end.abort()
        assert make(transfer).run() is PumpResult.SINK_BROKE
    transfer = Transfer(engine, 100)
    pump = transfer.reframing(UNTIL_END, CHUNKED)
    transfer.source_end.abort()
    engine.settle()
    assert transfer.turn(pump) is PumpResult.SOURCE_BROKE
    assert b"0\r\n\r\n" not in transfer.received


def test_a_limit_is_a_limit(engine: EngineLoop) -> None:
    transfer = Transfer(engine, 1000)
    pump = transfer.reframing(CHUNKED, CHUNKED)
    pump.limit(5)
    with pytest.raises(MessageError) as caught:
        transfer.run(pump, [b"3\r\nabc\r\n", b"3\r\nabc\r\n"])
    assert caught.value.code == "body_too_large"


def test_a_flood_of_tiny_chunks_ends_its_turn(engine: EngineLoop) -> None:
    transfer = Transfer(engine, 1 << 20)
    transfer.source_end.send(b"1\r\nx\r\n" * 100_000)
    pump = transfer.reframing(CHUNKED, CHUNKED)
    assert pump.run() is PumpResult.TURN_USED_UP
    assert 1000 < pump.moved < 4000


def test_a_turn_of_tiny_chunks_goes_out_as_one_chunk(engine: EngineLoop) -> None:
    transfer = Transfer(engine, 1 << 20)
    transfer.source_end.send(b"1\r\nx\r\n" * 100)
    pump = transfer.reframing(CHUNKED, CHUNKED)
    assert pump.run() is PumpResult.WAITS_FOR_SOURCE
    transfer.take(transfer.sink_end)
    assert transfer.received == b"HEAD:64\r\n" + b"x" * 100 + b"\r\n"


def test_a_fat_body_takes_its_turns(engine: EngineLoop) -> None:
    transfer = Transfer(engine, 1 << 20)
    transfer.source_end.send(b"x" * (1 << 20))
    pump = transfer.sized(1 << 20)
    assert pump.run() is PumpResult.TURN_USED_UP
    assert pump.moved <= 300_000
