"""Buffered reader and writer of a channel."""

import pytest

from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.engine.memory_channel import memory_pair
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair


def state(reader: ChannelReader) -> tuple[bytes, bool]:
    return reader.buffered, reader.ended


def rest_of(writer: ChannelWriter) -> memoryview | None:
    return writer.pending


def test_a_channel_with_peek_keeps_unconsumed_bytes(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    reader = ChannelReader(near, engine.reactor.scratch_body)
    far.send(b"abcdef")
    for expected, used in ((b"abcd", 3), (b"def", 0), (b"def", 3)):
        view = reader.peek(4)
        assert view is not None
        assert bytes(view) == expected
        del view
        reader.consume(used)
    assert reader.peek(4) is None
    assert state(reader) == (b"", False)
    far.shutdown_write()
    assert reader.peek(4) is None
    assert state(reader) == (b"", True)


def test_bytes_of_other_channels_are_buffered(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    channel = SocketChannel(engine.reactor, near)
    reader = ChannelReader(channel, engine.reactor.scratch_body)
    far.sendall(b"abcdef")
    view = reader.peek(4)
    assert view is not None
    assert bytes(view) == b"abcd"
    reader.consume(1)
    assert state(reader) == (b"bcd", False)
    assert not reader.reads_direct
    for expected in (b"bc", b"d", b"ef"):
        view = reader.peek(2)
        assert view is not None
        assert bytes(view) == expected
        reader.consume(len(expected))
    assert reader.peek(2) is None
    far.close()
    engine.settle()
    assert reader.peek(2) is None
    assert reader.ended
    channel.close()
    engine.settle()


@pytest.mark.parametrize("can_peek", [True, False])
def test_idle_means_nothing_to_read_and_no_end(engine: EngineLoop, can_peek: bool) -> None:
    if can_peek:
        near, far = memory_pair(engine.reactor)
        send, end = far.send, far.shutdown_write
        reader = ChannelReader(near, engine.reactor.scratch_body)
    else:
        near_sock, far_sock = tcp_pair()
        near_sock.setblocking(False)
        near = SocketChannel(engine.reactor, near_sock)  # type: ignore[assignment]
        send, end = far_sock.sendall, far_sock.close  # type: ignore[assignment]
        reader = ChannelReader(near, engine.reactor.scratch_body)
    assert reader.is_idle()
    send(b"x")
    engine.settle()
    assert not reader.is_idle()
    view = reader.peek(10)
    assert view is not None
    assert bytes(view) == b"x"
    reader.consume(1)
    assert reader.is_idle()
    end()
    engine.settle()
    assert not reader.is_idle()
    near.close()
    engine.settle()


def test_what_a_sink_does_not_take_goes_first_later(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, capacity_bytes=10)
    writer = ChannelWriter(near)
    writer.write(b"0123456789abc")
    writer.write(b"de")
    assert rest_of(writer) is not None
    received = b""
    while True:
        view = far.peek()
        if view is None:
            break
        received += bytes(view)
        far.consume(len(view))
        writer.flush()
    assert received == b"0123456789abcde"
    assert writer.flush()
    assert rest_of(writer) is None


def test_writing_to_a_broken_channel_raises(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    far.abort()
    with pytest.raises(BrokenChannel):
        ChannelWriter(near).write(b"x")
