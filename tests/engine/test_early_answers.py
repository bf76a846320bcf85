"""A side that sends a response and closes while it is still written to: the response arrives."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from portway.engine.channel import Channel
from portway.engine.delivery import STUCK_S
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.tally import ENDED, READ_BROKE, WRITE_BROKE
from portway.engine.tls_channel import TlsChannel
from tests.kit.certificates import Identity, client_context
from tests.kit.channels import pair_of, shake_hands
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import reset, tcp_pair
from tests.kit.splicing import use_pump

ANSWER = b"413: " + random.Random(7).randbytes(3000)
Ends = tuple[Channel, Channel]

_opened: list[socket.socket] = []


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    """Close the rest of a scene, which a collector would otherwise find during another test."""
    yield
    while _opened:
        _opened.pop().close()


def tcp_ends(engine: EngineLoop) -> Ends:
    """Return two channels joined by the kernel alone: no cable that could lose what a reset overtakes."""
    near, far = tcp_pair()
    _opened.extend((near, far))
    near.setblocking(False)
    far.setblocking(False)
    return SocketChannel(engine.reactor, near), SocketChannel(engine.reactor, far)


def tls_ends(engine: EngineLoop, identity: Identity) -> Ends:
    """Return the same two with TLS."""
    near, far = tcp_pair()
    _opened.extend((near, far))
    near.setblocking(False)
    far.setblocking(False)
    server = TlsChannel(engine.reactor, far, identity.server_context(), server_side=True)
    client = TlsChannel(engine.reactor, near, client_context(identity), server_side=False, server_hostname="localhost")
    shake_hands(engine, client, server)
    return client, server


class Scene:
    """visitor ⇄ relay ⇄ a real TCP connection ⇄ origin, which is a plain socket."""

    def __init__(self, engine: EngineLoop, left: Ends, *, swapped: bool = False) -> None:
        """`swapped` lets the relay see the plain socket as its left side."""
        self.engine = engine
        near, self.origin = tcp_pair()
        near.setblocking(False)
        _opened.extend((near, self.origin))
        self.visitor = Probe(left[1])
        self.done: list[Relay] = []
        one, other = left[0], SocketChannel(engine.reactor, near)
        self.relay = Relay(engine.reactor, other, one, self.done.append) if swapped else Relay(engine.reactor, one, other, self.done.append)
        self.relay.start()

    def ask(self, data: bytes) -> None:
        """Send, and let it arrive."""
        self.visitor.feed(data)
        self.engine.settle()

    def hang_up(self, how: str) -> None:
        """Close the origin's socket, which has bytes that it has not read: that resets it, with or without an end before."""
        if how == "ends":
            self.origin.shutdown(socket.SHUT_WR)
        self.origin.close()


@pytest.fixture(params=["tcp:copy", "tcp:splice", "tls", "mux-socket-accepted", "mux-tls-opened"])
def ends(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Ends]:
    with ExitStack() as stack:
        if request.param.startswith("tcp"):
            use_pump(engine, request.param.removeprefix("tcp:"))
            near, far = tcp_ends(engine)
        elif request.param == "tls":
            near, far = tls_ends(engine, identity)
        else:
            pair = stack.enter_context(pair_of(request.param, engine, identity))
            near, far = pair.near, pair.far
        yield near, far
        near.abort()
        far.abort()
        engine.settle()


@pytest.mark.parametrize("how", ["ends", "just closes"])
@pytest.mark.parametrize("swapped", [False, True], ids=["an origin", "a visitor"])
def test_data_sent_before_closing_arrives(engine: EngineLoop, ends: Ends, how: str, swapped: bool) -> None:
    scene = Scene(engine, ends, swapped=swapped)
    scene.ask(b"a long quest")
    scene.visitor.read()

    def hang_up_before_the_write() -> None:
        scene.origin.sendall(ANSWER)
        scene.hang_up(how)
        scene.visitor.feed(b"ion" * 1000)
        ends[0].readable = True  # type: ignore[misc]  # each kind has it in its own slots
        (scene.relay._backward if swapped else scene.relay._forward).run()

    engine.reactor.call_soon(hang_up_before_the_write)
    engine.run_until(lambda: scene.visitor.broken is not None or scene.visitor.ended or scene.visitor.on_broken_calls > 0)
    engine.run_until(lambda: len(scene.done) == 1)
    assert bytes(scene.visitor.received) == ANSWER
    tally = scene.relay.tally
    asked, answered = (tally.backward, tally.forward) if swapped else (tally.forward, tally.backward)
    assert asked.shutdown_reason == WRITE_BROKE
    assert answered.shutdown_reason == (ENDED if how == "ends" else READ_BROKE)
    assert scene.visitor.ended == (how == "ends"), "an end is an end, and a break is none"


def test_a_reset_that_a_write_met_first_is_no_end(engine: EngineLoop, ends: Ends) -> None:
    """The kernel reports it once; later reads look like an end."""
    scene = Scene(engine, ends)
    scene.ask(b"a quest")
    scene.visitor.read()

    def reset_before_the_write() -> None:
        scene.origin.sendall(ANSWER)
        reset(scene.origin)
        scene.visitor.feed(b"ion")
        ends[0].readable = True  # type: ignore[misc]  # each kind has it in its own slots
        scene.relay._forward.run()

    engine.reactor.call_soon(reset_before_the_write)
    engine.run_until(lambda: len(scene.done) == 1)
    engine.run_until(lambda: scene.visitor.broken is not None or scene.visitor.on_broken_calls > 0)
    assert not scene.visitor.ended
    assert ANSWER.startswith(scene.visitor.received)


def test_data_of_a_tls_origin_arrives(engine: EngineLoop, identity: Identity) -> None:
    near, far = tls_ends(engine, identity)
    left, visitor_end = tcp_ends(engine)
    done: list[Relay] = []
    relay = Relay(engine.reactor, left, near, done.append)
    relay.start()
    visitor = Probe(visitor_end)
    visitor.feed(b"a long quest")
    engine.settle()
    visitor.read()
    far.send(ANSWER)
    far.shutdown_write()
    far.abort()  # what it has not read would do the same
    engine.reactor.call_soon(lambda: None)
    visitor.feed(b"ion" * 1000)
    engine.run_until(lambda: len(done) == 1)
    engine.run_until(lambda: visitor.ended or visitor.broken is not None)
    assert bytes(visitor.received) == ANSWER
    assert visitor.ended


@pytest.mark.parametrize("asks_on", [False, True])
def test_a_slow_reader_gets_all_of_it_before_the_reset(engine: EngineLoop, asks_on: bool) -> None:
    """The kernel has taken the answer, and would throw it away at a reset."""
    long_answer = random.Random(7).randbytes(200_000)
    near, far = tcp_pair(buffer_bytes=4 * 1024)
    _opened.extend((near, far))
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    near.setblocking(False)
    far.setblocking(False)
    scene = Scene(engine, (SocketChannel(engine.reactor, near), SocketChannel(engine.reactor, far)))
    scene.ask(b"a quest")
    scene.origin.sendall(long_answer)
    scene.origin.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: scene.relay.tally.backward.shutdown_reason == ENDED)
    scene.origin.close()
    if asks_on:
        scene.visitor.feed(b"ion" * 100)
    engine.settle()
    assert not scene.done
    scene.visitor.read()
    engine.run_until(lambda: len(scene.done) == 1)
    engine.run_until(lambda: scene.visitor.ended or scene.visitor.broken is not None)
    assert bytes(scene.visitor.received) == long_answer
    assert scene.visitor.ended
    assert not scene.relay.tally.clean
    scene.visitor.close()
    engine.settle()


def test_one_that_reads_nothing_of_it_is_not_waited_for(engine: EngineLoop) -> None:
    near, far = tcp_pair(buffer_bytes=4 * 1024)
    _opened.extend((near, far))
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    near.setblocking(False)
    scene = Scene(engine, (SocketChannel(engine.reactor, near), SocketChannel(engine.reactor, far)))
    scene.ask(b"a quest")
    scene.origin.sendall(bytes(200_000))
    scene.origin.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: scene.relay.tally.backward.shutdown_reason == ENDED)
    scene.origin.close()
    engine.run_until(lambda: len(scene.done) == 1, deadline_s=2 * STUCK_S)
    scene.visitor.abort()
    engine.settle()
