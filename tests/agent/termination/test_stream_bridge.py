"""The bridge between a visitor's stream and the socket on which TLS ends."""

import contextlib
import socket

import pytest

from portway.agent.termination import stream_bridge
from portway.agent.termination.stream_bridge import StreamBridge
from portway.engine.memory_channel import memory_pair
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel
from tests.kit.loops import EngineLoop


def test_a_visitor_that_never_closes_is_ended_after_the_edge_has(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_bridge, "LINGER_S", 0.05)
    visitor, stream = memory_pair(engine.reactor)
    outer, inner = socket.socketpair()
    outer.setblocking(False)
    StreamBridge(engine.reactor, stream, SocketChannel(engine.reactor, outer)).start()
    broken: list[bool] = []
    received: list[bytes] = []

    def read() -> None:
        buffer = memoryview(bytearray(100))
        with contextlib.suppress(BrokenChannel):
            while (count := visitor.recv_into(buffer)) > 0:
                received.append(bytes(buffer[:count]))

    visitor.on_readable = read
    visitor.on_broken = lambda: broken.append(True)
    inner.sendall(b"last words")
    inner.close()

    engine.run_until(lambda: bool(broken))

    assert received == [b"last words"]


def test_a_visitor_that_closes_ends_it_at_once(engine: EngineLoop) -> None:
    visitor, stream = memory_pair(engine.reactor)
    outer, inner = socket.socketpair()
    outer.setblocking(False)
    StreamBridge(engine.reactor, stream, SocketChannel(engine.reactor, outer)).start()
    visitor.send(b"hello")
    visitor.shutdown_write()
    engine.settle()
    assert inner.recv(100) == b"hello"
    assert inner.recv(100) == b""
    inner.close()
    engine.run_until(lambda: visitor.ended)
