"""The control stream, through pairs so small that every partial read and write happens."""

import asyncio

import pytest

from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.errors import BrokenChannel, PeerError, UnavailableError
from portway.protocol.control.framing import encode
from portway.protocol.control.messages import BadMessageError, Drain, Message, Released
from portway.session import control_stream
from portway.session.control_stream import INBOX_MAX, ControlStream
from tests.kit.loops import EngineLoop


def pair(engine: EngineLoop, capacity_bytes: int = 65536) -> tuple[ControlStream, ControlStream]:
    left, right = memory_pair(engine.reactor, capacity_bytes)
    return ControlStream(left, engine.reactor), ControlStream(right, engine.reactor)


def half(engine: EngineLoop, capacity_bytes: int = 65536) -> tuple[ControlStream, MemoryChannel]:
    left, right = memory_pair(engine.reactor, capacity_bytes)
    return ControlStream(left, engine.reactor), right


@pytest.mark.parametrize("capacity_bytes", [1, 2, 7, 64, 65536])
def test_messages_arrive_in_order_through_any_capacity(engine: EngineLoop, capacity_bytes: int) -> None:
    left, right = pair(engine, capacity_bytes)
    sent: list[Message] = [Drain(reason="x" * (n % 50)) if n % 3 else Released(id=n + 1) for n in range(100)]

    async def talk() -> list[Message]:
        for message in sent:
            left.send(message)
        return [await right.receive(5.0) for _ in sent]

    assert engine.run(talk()) == sent


def test_receive_has_a_deadline(engine: EngineLoop) -> None:
    _, right = pair(engine)
    with pytest.raises(UnavailableError, match=r"within 0.05 s"):
        engine.run(right.receive(0.05))


def test_a_receive_that_times_out_loses_nothing(engine: EngineLoop) -> None:
    left, right = pair(engine, capacity_bytes=3)

    async def talk() -> Message:
        with pytest.raises(UnavailableError):
            await right.receive(0.01)
        left.send(Drain(reason="later"))
        return await right.receive(5.0)

    assert engine.run(talk()) == Drain(reason="later")


def test_the_end_comes_after_the_last_message(engine: EngineLoop) -> None:
    left, right = pair(engine, capacity_bytes=5)

    async def talk() -> Message:
        closing = asyncio.ensure_future(left.close_gracefully(Drain(reason="bye")))
        message = await right.receive(5.0)
        with pytest.raises(UnavailableError, match="closed the control stream"):
            await right.receive(5.0)
        right.close()
        await closing
        return message

    assert engine.run(talk()) == Drain(reason="bye")


@pytest.mark.parametrize("capacity_bytes", [5, 65536], ids=["its end waits", "its end is sent"])
def test_nothing_is_sent_after_a_graceful_close(engine: EngineLoop, capacity_bytes: int) -> None:
    """A timer may send at just that moment: it gets an error."""
    left, right = pair(engine, capacity_bytes=capacity_bytes)

    async def talk() -> Message:
        closing = asyncio.ensure_future(left.close_gracefully(Drain(reason="bye")))
        await asyncio.sleep(0.01)
        with pytest.raises(UnavailableError, match="is closing the control stream"):
            left.send(Drain(reason="one more thing"))
        message = await right.receive(5.0)
        with pytest.raises(UnavailableError, match="closed the control stream"):
            await right.receive(5.0)
        right.close()
        await closing
        return message

    assert engine.run(talk()) == Drain(reason="bye")


def test_a_graceful_close_has_a_deadline(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_stream, "CLOSE_S_MAX", 0.05)
    stream, deaf = half(engine, capacity_bytes=4)
    engine.run(stream.close_gracefully(Drain(reason="bye")))
    assert stream.lost
    engine.settle()
    with pytest.raises(BrokenChannel):
        while deaf.recv_into(memoryview(bytearray(10))):
            pass


def test_an_end_within_a_message_is_a_protocol_error(engine: EngineLoop) -> None:
    stream, peer = half(engine)
    peer.send(encode(b"abc")[:5])
    peer.shutdown_write()
    with pytest.raises(PeerError, match="5 bytes into a message"):
        engine.run(stream.receive(5.0))


def test_a_break_is_unavailable_and_stays_so(engine: EngineLoop) -> None:
    stream, peer = half(engine)
    peer.abort()
    for _ in range(2):
        with pytest.raises(UnavailableError):
            engine.run(stream.receive(5.0))
    with pytest.raises(UnavailableError):
        stream.send(Drain(reason="x"))
    assert stream.lost


def test_an_invalid_message_leaves_the_stream_usable(engine: EngineLoop) -> None:
    stream, peer = half(engine)
    peer.send(encode(b"\xc1"))
    with pytest.raises(BadMessageError):
        engine.run(stream.receive(5.0))
    assert not stream.lost


def test_large_messages_are_allowed_only_after_the_login(engine: EngineLoop) -> None:
    stream, peer = half(engine)
    peer.send((4097).to_bytes(4, "big"))
    with pytest.raises(PeerError, match="4097 bytes"):
        engine.run(stream.receive(5.0))
    trusted, peer = half(engine)
    trusted.allow_large_messages()
    peer.send((4097).to_bytes(4, "big"))
    with pytest.raises(UnavailableError, match="within"):
        engine.run(trusted.receive(0.05))


def test_a_flood_is_left_unread(engine: EngineLoop) -> None:
    left, right = memory_pair(engine.reactor, 256)
    flood, stream = ControlStream(left, engine.reactor), ControlStream(right, engine.reactor)
    for number in range(1, 2001):
        flood.send(Released(id=number))
    engine.settle()
    assert len(stream._inbox) < INBOX_MAX + 256

    async def read_all() -> list[int]:
        return [message.id for _ in range(2000) if isinstance(message := await stream.receive(5.0), Released)]

    assert engine.run(read_all()) == list(range(1, 2001))


def test_a_peer_that_never_reads_is_reset(engine: EngineLoop) -> None:
    stream, peer = half(engine, capacity_bytes=16)
    with pytest.raises(UnavailableError, match="does not read"):
        for _ in range(10000):
            stream.send(Drain(reason="y" * 1000))
    engine.settle()
    with pytest.raises(BrokenChannel):
        peer.recv_into(memoryview(bytearray(64)))


def test_closing_ends_a_pending_receive(engine: EngineLoop) -> None:
    _, right = pair(engine)

    async def talk() -> None:
        waiting = asyncio.ensure_future(right.receive())
        await asyncio.sleep(0)
        right.close()
        right.close()
        with pytest.raises(UnavailableError, match="this end closed"):
            await waiting

    engine.run(talk())
