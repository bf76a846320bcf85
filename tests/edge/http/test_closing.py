"""How visitors' connections and streams are closed: LingeringClose, GracefulClose."""

from portway.edge.http.buffers import ChannelReader
from portway.edge.http.origin.graceful_close import GracefulClose
from portway.edge.http.visitor.lingering_close import LingeringClose
from portway.engine.memory_channel import memory_pair
from tests.kit.loops import EngineLoop


def test_a_lingering_connection_throws_away_what_comes_until_the_visitor_ends(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    everybody: dict[LingeringClose, None] = {}
    LingeringClose(engine.reactor, near, "192.0.2.1", 30.0, everybody, 5.0)
    for _ in range(10):
        assert far.send(b"x" * 60_000) == 60_000
        engine.settle()
    assert far.peek() is None
    assert far.ended
    assert len(everybody) == 1
    far.shutdown_write()
    engine.settle()
    assert not everybody


def test_a_silent_visitor_is_closed_soon(engine: EngineLoop) -> None:
    near, _far = memory_pair(engine.reactor)
    everybody: dict[LingeringClose, None] = {}
    LingeringClose(engine.reactor, near, "192.0.2.1", 60.0, everybody, 0.1)
    engine.run_until(lambda: not everybody)


def test_a_visitor_that_keeps_sending_gets_more_time_but_not_for_ever(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, 4 << 20)
    everybody: dict[LingeringClose, None] = {}
    began = engine.reactor.refresh_now()
    LingeringClose(engine.reactor, near, "192.0.2.1", 1.5, everybody, 0.3)
    sent = 0

    def go_on() -> None:
        nonlocal sent
        if everybody:
            sent += far.send(b"x" * (4 << 20))
            engine.reactor.call_later(0.05, go_on)

    go_on()
    engine.run_until(lambda: not everybody)
    assert engine.reactor.refresh_now() - began >= 1.5
    assert sent > 16 << 20


def test_a_stream_closes_when_the_origin_has_ended_too(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor)
    everybody: dict[GracefulClose, None] = {}
    GracefulClose(engine.reactor, ChannelReader(near, engine.reactor.scratch_body), everybody)
    engine.settle()
    assert far.peek() is None
    assert far.ended
    assert len(everybody) == 1
    far.shutdown_write()
    engine.settle()
    assert not everybody


def test_an_origin_that_still_talks_or_never_ends_is_reset(engine: EngineLoop) -> None:
    for talk in (b"more", b""):
        near, far = memory_pair(engine.reactor)
        broken: list[bool] = []
        far.on_broken = lambda broken=broken: broken.append(True)  # type: ignore[misc]
        everybody: dict[GracefulClose, None] = {}
        closing_stream = GracefulClose(engine.reactor, ChannelReader(near, engine.reactor.scratch_body), everybody)
        if talk:
            far.send(talk)
        else:
            closing_stream.abort()
        engine.settle()
        assert broken
        assert not everybody
