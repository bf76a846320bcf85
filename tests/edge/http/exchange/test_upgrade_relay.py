"""From an exchange to a relay, with buffered bytes that do not fit at once."""

from portway.edge.http.exchange.upgrade_relay import WebSocketUpgrade
from portway.edge.http.origin.graceful_close import GracefulClose
from portway.edge.http.origin.stream import OriginStream
from portway.engine.memory_channel import memory_pair
from portway.engine.relay import Relay
from tests.kit.loops import EngineLoop


class NoPool:
    """Where the stream came from."""

    closing: dict[GracefulClose, None] = {}  # noqa: RUF012

    tunnel_id = 7

    def forget(self, stream: OriginStream) -> None:
        """Do nothing."""

    def discard(self, stream: OriginStream) -> None:
        raise AssertionError


def test_buffered_bytes_go_first_however_little_fits(engine: EngineLoop) -> None:
    left, visitor = memory_pair(engine.reactor, 3)
    right, origin = memory_pair(engine.reactor, 3)
    stream = OriginStream(NoPool())
    stream.attach(engine.reactor, right)
    done: list[Relay] = []
    heard = {"visitor": b"", "origin": b""}

    def reading(name: str) -> None:
        channel = visitor if name == "visitor" else origin
        while (view := channel.peek()) is not None:
            heard[name] += bytes(view)
            channel.consume(len(view))

    visitor.on_readable = lambda: reading("visitor")
    origin.on_readable = lambda: reading("origin")
    WebSocketUpgrade(engine.reactor, left, stream, done.append).start(b"to the origin, ", b"to the visitor, ")
    visitor.send(b"abc")
    origin.send(b"xyz")
    engine.settle()
    assert heard == {"visitor": b"to the visitor, xyz", "origin": b"to the origin, abc"}
    visitor.shutdown_write()
    origin.shutdown_write()
    engine.settle()
    assert len(done) == 1
    assert done[0].tally.clean


def test_a_break_before_the_relay_runs_breaks_both(engine: EngineLoop) -> None:
    left, visitor = memory_pair(engine.reactor, 3)
    right, origin = memory_pair(engine.reactor, 3)
    stream = OriginStream(NoPool())
    stream.attach(engine.reactor, right)
    done: list[Relay] = []
    broken: list[bool] = []
    origin.on_broken = lambda: broken.append(True)
    WebSocketUpgrade(engine.reactor, left, stream, done.append).start(b"to the origin", b"to the visitor")
    visitor.abort()
    engine.settle()
    assert len(done) == 1
    assert broken
