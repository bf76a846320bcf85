"""Properties of memory pairs only: exact capacity per direction, and both ends in one process. The contract suite covers the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.channel import BLOCKED
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.errors import BrokenChannel
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe


def received(channel: MemoryChannel, at_most: int = 100) -> bytes | None:
    """Return what is there now, None when nothing is."""
    buffer = bytearray(at_most)
    count = channel.recv_into(memoryview(buffer))
    return None if count == BLOCKED else bytes(buffer[:count])


def test_each_direction_buffers_exactly_its_capacity(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 8)
    assert near.room() == 8
    assert near.send(b"0123456789") == 8
    assert near.room() == 0
    assert near.send(b"x") == 0
    assert far.room() == 8, "the other way has its own"
    assert far.send(b"abc") == 3
    assert far.room() == 5
    assert received(far, 3) == b"012"
    assert near.room() == 3
    assert near.send(b"ABCDE") == 3
    assert received(far) == b"34567ABC"
    assert received(far) is None
    assert received(near) == b"abc"


def test_a_writer_is_called_once_for_room_and_only_if_it_had_none(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 4)
    calls: list[int] = []
    near.on_writable = lambda: calls.append(near.room())
    near.send(b"ab")
    received(far)
    engine.settle()
    assert calls == []
    assert near.room() == 4
    assert near.send(b"abcd") == 4
    engine.settle()
    received(far)
    engine.settle()
    assert calls == [], "it never heard that there is no room"
    assert near.send(b"abcd") == 4
    assert near.room() == 0
    received(far, 1)
    received(far, 1)
    assert calls == [], "called back from inside the call"
    engine.settle()
    assert calls == [2]


def test_a_writer_is_called_for_the_rest_of_partly_accepted_bytes(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 4)
    calls: list[int] = []
    near.on_writable = lambda: calls.append(near.room())
    assert near.send(b"abcdef") == 4
    received(far)
    engine.settle()
    assert calls == [4]


def test_every_send_is_news_for_the_reader_and_never_from_inside(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    calls: list[bytes | None] = []
    far.on_readable = lambda: calls.append(received(far))
    near.send(b"a")
    assert calls == []
    engine.settle()
    near.send(b"b")
    near.shutdown_write()
    engine.settle()
    assert calls[:2] == [b"a", b"b"]
    assert calls[-1] == b""


def test_lending_shows_the_same_bytes_until_they_are_consumed(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    assert (far.peek(), far.readable) == (None, False)
    near.send(b"abcdef")
    engine.settle()
    assert far.readable
    first = far.peek()
    assert first is not None
    assert bytes(first) == b"abcdef"
    far.consume(2)
    with pytest.raises(ValueError, match="released"):
        len(first)
    near.send(b"gh")
    second = far.peek()
    assert second is not None
    assert bytes(second) == b"cdefgh"
    far.consume(6)
    assert not far.ended
    near.shutdown_write()
    assert far.peek() is None
    assert far.ended


def test_a_bytes_like_of_any_kind_is_copied(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    source = bytearray(b"abc")
    for data in (source, memoryview(source), bytes(source)):
        near.send(data)
    source[:] = b"xyz"
    assert received(far) == b"abcabcabc"


def test_leaving_after_the_end_is_an_end_and_leaving_without_is_a_break(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    near.send(b"all of it")
    near.shutdown_write()
    near.close()
    engine.settle()
    assert received(far) == b"all of it"
    assert received(far) == b""
    assert far.ended

    near, far = memory_pair(engine.reactor)
    near.send(b"half of")
    near.close()
    engine.settle()
    assert received(far) == b"half of"
    with pytest.raises(BrokenChannel):
        received(far)
    assert not far.ended


def test_an_abort_takes_unread_bytes_along_even_after_the_end(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    near.send(b"unread")
    near.shutdown_write()
    near.abort()
    engine.settle()
    with pytest.raises(BrokenChannel):
        received(far)
    assert not far.ended
    with pytest.raises(BrokenChannel):
        far.send(b"x")


@pytest.mark.parametrize("way", ["close", "abort"])
def test_a_send_to_a_closed_peer_fails(engine: EngineLoop, way: str) -> None:
    near, far = memory_pair(engine.reactor, 4)
    far.send(b"full")
    assert far.room() == 0
    told: list[str] = []
    far.on_broken = lambda: told.append("broken")
    getattr(near, way)()
    engine.settle()
    assert told == ["broken"]
    assert far.room() > 0, "so that a writer tries, and finds out"
    with pytest.raises(BrokenChannel):
        far.send(b"x")
    far.shutdown_write()
    far.close()


def test_a_closed_channel_neither_sends_nor_receives(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 20)
    heard: list[str] = []
    near.on_readable = near.on_writable = near.on_broken = lambda: heard.append("called")
    near.send(bytes(20))
    assert near.room() == 0
    received(far)
    far.send(b"on its way")
    near.close()
    engine.settle()
    assert heard == []
    with pytest.raises(BrokenChannel):
        near.send(b"x")
    with pytest.raises(BrokenChannel, match="this end is closed"):
        received(near)
    assert not near.readable


@given(capacity=st.integers(1, 9), pieces=st.lists(st.integers(1, 20), max_size=60), read_bytes=st.integers(1, 9), lend=st.booleans())
def test_the_same_bytes_arrive_for_any_capacity_and_cut(capacity: int, pieces: list[int], read_bytes: int, lend: bool) -> None:
    engine = EngineLoop()
    try:
        message = bytes(range(256)) * (sum(pieces) // 256 + 1)
        near, far = (Probe(end) for end in memory_pair(engine.reactor, capacity))
        far.read_bytes, far.use_peek = read_bytes, lend
        cuts = iter([sum(pieces[:at]) for at in range(len(pieces) + 1)])
        begin = next(cuts)
        parts = []
        for end in cuts:
            parts.append(message[begin:end])
            begin = end
        far.read()
        near.feed(iter(parts), end=True)
        engine.run_until(lambda: far.ended)
        assert far.received == message[: sum(pieces)]
    finally:
        engine.close()
