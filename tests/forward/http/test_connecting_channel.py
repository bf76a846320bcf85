"""A channel that is connected later: nothing is lost, and nothing is accepted before."""

import pytest

from portway.engine.channel import BLOCKED
from portway.engine.memory_channel import memory_pair
from portway.errors import BrokenChannel, MisuseError
from portway.forward.http.connecting_channel import ConnectingChannel
from tests.kit.loops import EngineLoop


class Cancel:
    """Counts."""

    calls = 0

    def __call__(self) -> None:
        self.calls += 1


def test_it_accepts_nothing_before_the_connect_and_is_the_channel_afterwards(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    cancel, events = Cancel(), list[str]()
    channel = ConnectingChannel(cancel)
    channel.on_readable = lambda: events.append("readable")
    channel.on_writable = lambda: events.append("writable")
    buffer = memoryview(bytearray(10))
    assert (channel.room(), channel.send(b"x"), channel.readable, channel.recv_into(buffer)) == (0, 0, False, BLOCKED)
    channel.attach(near)
    assert channel.send(b"request") == 7
    far.send(b"response")
    engine.settle()
    assert "readable" in events
    assert channel.readable
    assert (channel.recv_into(buffer), bytes(buffer[:8])) == (8, b"response")
    assert (far.recv_into(buffer), bytes(buffer[:7])) == (7, b"request")
    channel.shutdown_write()
    engine.settle()
    assert far.recv_into(buffer) == 0
    channel.close()
    assert not cancel.calls
    far.close()


def test_an_end_before_the_connect_follows_it(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    channel = ConnectingChannel(Cancel())
    channel.shutdown_write()
    channel.attach(near)
    engine.settle()
    assert far.recv_into(memoryview(bytearray(1))) == 0
    channel.abort()
    far.close()


@pytest.mark.parametrize("end", ["abort", "close"])
def test_closing_it_stops_the_connect_once(engine: EngineLoop, end: str) -> None:
    channel = ConnectingChannel(cancel := Cancel())
    for _ in range(2):
        getattr(channel, end)()
    assert cancel.calls == 1
    assert channel.closed
    with pytest.raises(BrokenChannel):
        channel.send(b"x")
    near, far = memory_pair(engine.reactor)
    with pytest.raises(MisuseError):
        channel.attach(near)
    near.close()
    far.close()
