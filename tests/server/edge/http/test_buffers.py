"""The ends of a body's way."""

import pytest

from portway.engine.memory_channel import memory_pair
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair


def state(inlet: ChannelReader) -> tuple[bytes, bool]:
    return inlet.held, inlet.ended


def rest_of(outlet: ChannelWriter) -> memoryview | None:
    return outlet.rest


def test_a_channel_that_lends_keeps_what_was_not_used(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    inlet = ChannelReader(near, engine.reactor.scratch_body)
    far.send(b"abcdef")
    for expected, used in ((b"abcd", 3), (b"def", 0), (b"def", 3)):
        view = inlet.view(4)
        assert view is not None
        assert bytes(view) == expected
        del view
        inlet.used(used)
    assert inlet.view(4) is None
    assert state(inlet) == (b"", False)
    far.shutdown_write()
    assert inlet.view(4) is None
    assert state(inlet) == (b"", True)


def test_of_another_channel_it_is_kept_here(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    channel = SocketChannel(engine.reactor, near)
    inlet = ChannelReader(channel, engine.reactor.scratch_body)
    far.sendall(b"abcdef")
    view = inlet.view(4)
    assert view is not None
    assert bytes(view) == b"abcd"
    inlet.used(1)
    assert state(inlet) == (b"bcd", False)
    assert not inlet.direct
    for expected in (b"bc", b"d", b"ef"):
        view = inlet.view(2)
        assert view is not None
        assert bytes(view) == expected
        inlet.used(len(expected))
    assert inlet.view(2) is None
    far.close()
    engine.settle()
    assert inlet.view(2) is None
    assert inlet.ended
    channel.close()
    engine.settle()


@pytest.mark.parametrize("can_peek", [True, False])
def test_dry_means_nothing_to_read_and_no_end(engine: EngineLoop, can_peek: bool) -> None:
    if can_peek:
        near, far = memory_pair(engine.reactor)
        send, end = far.send, far.shutdown_write
        inlet = ChannelReader(near, engine.reactor.scratch_body)
    else:
        near_sock, far_sock = tcp_pair()
        near_sock.setblocking(False)
        near = SocketChannel(engine.reactor, near_sock)  # type: ignore[assignment]
        send, end = far_sock.sendall, far_sock.close  # type: ignore[assignment]
        inlet = ChannelReader(near, engine.reactor.scratch_body)
    assert inlet.dry()
    send(b"x")
    engine.settle()
    assert not inlet.dry()
    view = inlet.view(10)
    assert view is not None
    assert bytes(view) == b"x"
    inlet.used(1)
    assert inlet.dry()
    end()
    engine.settle()
    assert not inlet.dry()
    near.close()
    engine.settle()


def test_what_a_sink_does_not_take_goes_first_later(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, capacity_bytes=10)
    outlet = ChannelWriter(near)
    outlet.write(b"0123456789abc")
    outlet.write(b"de")
    assert rest_of(outlet) is not None
    received = b""
    while True:
        view = far.peek()
        if view is None:
            break
        received += bytes(view)
        far.consume(len(view))
        outlet.flush()
    assert received == b"0123456789abcde"
    assert outlet.flush()
    assert rest_of(outlet) is None


def test_writing_to_a_broken_channel_says_so(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    far.abort()
    with pytest.raises(BrokenChannel):
        ChannelWriter(near).write(b"x")
