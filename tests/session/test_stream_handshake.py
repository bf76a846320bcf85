"""How a visitor's stream begins: preamble and status byte through pipes of any size, with deadlines on both."""

from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.channel import BLOCKED, Channel
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.errors import BrokenChannel
from portway.protocol.proxy_header import ProxyHeader, encode_local, encode_visitor
from portway.protocol.stream_status import StreamStatus
from portway.session.stream_handshake import PreambleReader, open_visitor_stream, send_status
from tests.kit.loops import EngineLoop
from tests.kit.yamux_peer import RawPeer

HEADER = encode_visitor(("203.0.113.9", 4711), ("192.0.2.1", 443), 77, b"unique")


class OneStream:
    """A link that has a single stream to open."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.channel = channel

    def open(self, first: bytes = b"") -> Channel:
        assert self.channel.send(first) == len(first)
        return self.channel


class Server:
    """The server's half of one stream."""

    def __init__(self, engine: EngineLoop, channel: MemoryChannel, deadline_s: float = 5.0) -> None:
        self.told: list[StreamStatus | None] = []
        assert open_visitor_stream(engine.reactor, OneStream(channel), HEADER, self.told.append, deadline_s) is channel


class Agent:
    """The agent's half of one stream."""

    def __init__(self, engine: EngineLoop, channel: Channel, deadline_s: float = 5.0) -> None:
        self.visits: list[tuple[ProxyHeader, Channel]] = []
        self.bad: list[str] = []
        PreambleReader(engine.reactor, channel, lambda header, found: self.visits.append((header, found)), self.bad.append, deadline_s)


def read_all(engine: EngineLoop, channel: Channel) -> bytes:
    engine.settle()
    buffer, got = memoryview(bytearray(1000)), b""
    while (count := channel.recv_into(buffer)) not in (0, BLOCKED):
        got += bytes(buffer[:count])
        engine.settle()
    return got


def test_the_preamble_arrives_and_the_status_comes_back(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    server, agent = Server(engine, left), Agent(engine, right)
    left.send(b"early bytes of the visitor")
    engine.settle()
    ((header, channel),) = agent.visits
    assert header.tunnel_id == 77
    assert header.source == ("203.0.113.9", 4711)
    assert read_all(engine, channel) == b"early bytes of the visitor"
    assert server.told == []
    assert send_status(channel, StreamStatus.CONNECTED)
    channel.send(b"origin says hello")
    engine.settle()
    assert server.told == [StreamStatus.CONNECTED]
    assert read_all(engine, left) == b"origin says hello"


@given(pieces=st.lists(st.integers(1, 40), max_size=200), tail=st.binary(max_size=50))
def test_a_fragmented_preamble_consumes_nothing_that_follows(pieces: list[int], tail: bytes) -> None:
    engine = EngineLoop()
    try:
        left, right = memory_pair(engine.reactor)
        agent = Agent(engine, right)
        wire = HEADER + tail
        for size in pieces:
            left.send(wire[:size])
            wire = wire[size:]
            engine.settle()
        left.send(wire)
        engine.settle()
        ((header, channel),) = agent.visits
        assert header.tunnel_id == 77
        assert read_all(engine, channel) == tail
    finally:
        engine.close()


@pytest.mark.parametrize("status", [status for status in StreamStatus if status is not StreamStatus.CONNECTED])
def test_a_refusal_arrives_although_the_visitor_had_sent_already(engine: EngineLoop, status: StreamStatus) -> None:
    left, right = memory_pair(engine.reactor)
    server, agent = Server(engine, left), Agent(engine, right)
    left.send(b"x" * 1000)
    engine.settle()
    assert send_status(agent.visits[0][1], status)
    engine.settle()
    assert server.told == [status]


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n", b"\0" * 600, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"])
def test_an_invalid_preamble_is_aborted(engine: EngineLoop, noise: bytes) -> None:
    left, right = memory_pair(engine.reactor)
    agent = Agent(engine, right)
    left.send(noise)
    engine.settle()
    assert agent.visits == []
    assert len(agent.bad) == 1
    with pytest.raises(BrokenChannel):
        left.send(b"x")


def test_a_preamble_that_ends_early_is_aborted(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    agent = Agent(engine, right)
    left.send(HEADER[:-1])
    left.shutdown_write()
    engine.settle()
    assert agent.bad == ["the stream ended within its preamble"]
    assert agent.visits == []


def test_a_late_preamble_is_aborted(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    agent = Agent(engine, right, deadline_s=0.05)
    left.send(HEADER[:-1])
    engine.run_until(lambda: bool(agent.bad))
    assert agent.bad == ["no preamble in time"]
    assert agent.visits == []


def break_it(channel: MemoryChannel) -> None:
    channel.abort()


def end_it(channel: MemoryChannel) -> None:
    channel.shutdown_write()


def say_nonsense(channel: MemoryChannel) -> None:
    channel.send(b"\xff")


@pytest.mark.parametrize("how", [break_it, end_it, say_nonsense])
def test_a_stream_without_a_status_is_reported_once_as_none_and_aborted(engine: EngineLoop, how: object) -> None:
    left, right = memory_pair(engine.reactor)
    server = Server(engine, left)
    assert callable(how)
    how(right)
    engine.settle()
    assert server.told == [None]
    right.abort()
    engine.settle()
    assert server.told == [None]
    with pytest.raises(BrokenChannel):
        left.send(b"x")


def test_the_status_has_a_deadline(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    server = Server(engine, left, deadline_s=0.05)
    engine.run_until(lambda: bool(server.told))
    engine.settle()
    assert server.told == [None]
    with pytest.raises(BrokenChannel):
        right.send(b"\0")


def test_sending_a_status_on_a_lost_stream_returns_false(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor)
    agent = Agent(engine, right)
    left.send(encode_local(5))
    engine.settle()
    left.abort()
    engine.settle()
    assert not send_status(agent.visits[0][1], StreamStatus.CONNECTED)


@pytest.mark.parametrize("status", [StreamStatus.CONNECTED, StreamStatus.REFUSED])
def test_a_status_that_cannot_be_sent_resets_the_stream(engine: EngineLoop, status: StreamStatus) -> None:
    left, right = memory_pair(engine.reactor, len(HEADER))
    agent = Agent(engine, right)
    left.send(HEADER)
    engine.settle()
    ((_, channel),) = agent.visits
    channel.send(bytes(len(HEADER)))  # a link that takes nothing more
    assert not send_status(channel, status)
    engine.settle()
    with pytest.raises(BrokenChannel):
        left.recv_into(memoryview(bytearray(10)))
    with pytest.raises(BrokenChannel):
        channel.send(b"H")


def test_closing_before_the_status_frees_the_waiter_at_once(engine: EngineLoop) -> None:
    """Scanners come and leave thousands a second: each would have cost 2 kB for ten seconds."""

    class Visit:
        def hear(self, status: StreamStatus | None) -> None:
            raise AssertionError("nobody is there to be told")

    peer = RawPeer(engine, mux_is_client=True)
    visit = Visit()
    gone = ref(visit)
    channel = open_visitor_stream(engine.reactor, peer.mux, HEADER, visit.hear, 60.0)
    del visit
    assert gone() is not None
    channel.abort()
    assert gone() is None
    peer.close()
