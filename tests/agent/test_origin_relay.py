"""What an agent reports when an origin ends: whether it had got anything since it last sent."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from portway.agent.origin_relay import OriginRelay
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from tests.kit.certificates import Identity
from tests.kit.channels import Pair, pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import read_exactly, reset, tcp_pair


class Scene:
    """server ⇄ a stream ⇄ the relay ⇄ an origin, which is a plain socket."""

    def __init__(self, engine: EngineLoop, pair: Pair) -> None:
        self.engine = engine
        self.pair = pair
        near, self.origin = tcp_pair()
        near.setblocking(False)
        self.done: list[Relay] = []
        self.server = Probe(pair.far).read()
        self.relay = OriginRelay(engine.reactor, pair.near, SocketChannel(engine.reactor, near), self.done.append)
        self.relay.start()
        engine.settle()

    def ask(self) -> None:
        self.server.feed(b"request")
        self.engine.settle()
        assert read_exactly(self.origin, 7) == b"request"

    def send_status(self) -> None:
        self.origin.sendall(b"answer")
        self.engine.run_until(lambda: self.server.received.endswith(b"answer"))

    def over(self) -> None:
        self.engine.run_until(lambda: self.server.ended or self.server.broken is not None)


@pytest.fixture(params=["mux-socket-accepted", "mux-tls-opened"])
def scene(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Scene]:
    with ExitStack() as stack:
        scene = Scene(engine, stack.enter_context(pair_of(request.param, engine, identity)))
        yield scene
        scene.origin.close()
        scene.relay.abort()
        engine.settle()


@pytest.mark.parametrize("rude", [False, True])
@pytest.mark.parametrize("exchanges", [0, 1, 2])
def test_an_origin_that_ends_between_requests(scene: Scene, exchanges: int, rude: bool) -> None:
    for _ in range(exchanges):
        scene.ask()
        scene.send_status()
    (reset if rude else socket.socket.close)(scene.origin)
    scene.over()
    assert scene.pair.far.untouched
    assert scene.server.ended != rude
    if not rude:
        scene.server.end()
    scene.engine.run_until(lambda: len(scene.done) == 1)
    if not rude:
        assert scene.done[0].tally.clean


@pytest.mark.parametrize("rude", [False, True])
def test_an_origin_that_ends_during_a_request(scene: Scene, rude: bool) -> None:
    scene.ask()
    scene.send_status()
    scene.ask()
    (reset if rude else socket.socket.close)(scene.origin)
    scene.over()
    assert not scene.pair.far.untouched


def test_a_request_that_crosses_the_end_is_not_written(scene: Scene) -> None:
    """An origin that only shuts down would still read it, and act on it."""
    scene.ask()
    scene.send_status()
    scene.origin.shutdown(socket.SHUT_WR)
    scene.over()
    assert scene.pair.far.untouched
    scene.server.feed(b"request")
    scene.engine.settle()
    assert scene.origin.recv(100) == b"", "its connection has ended"


@pytest.mark.parametrize("how", ["abort", "close the link"])
def test_a_server_that_resets_after_an_end_between_requests(scene: Scene, how: str) -> None:
    scene.ask()
    scene.send_status()
    scene.origin.shutdown(socket.SHUT_WR)
    scene.over()
    if how == "abort":
        scene.server.abort()
    else:
        for carrier in scene.pair.carriers:
            carrier.abort()
    scene.engine.run_until(lambda: len(scene.done) == 1)


@pytest.mark.parametrize("late", [False, True])
def test_an_upgraded_stream_ends_one_direction_first(scene: Scene, late: bool) -> None:
    scene.ask()
    scene.send_status()
    if not late:
        scene.pair.far.send_switched()
        scene.engine.settle()
    scene.origin.shutdown(socket.SHUT_WR)
    scene.over()
    assert scene.pair.far.untouched == late
    if late:
        scene.pair.far.send_switched()
    scene.server.feed(b"more", end=True)
    scene.engine.settle()
    assert read_exactly(scene.origin, 4) == b"more"
    assert scene.origin.recv(1) == b""
