"""Handshakes beside a running relay: each round moves the relay's bytes, and then one turn's handshakes."""

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from portway.edge.tls.port import HandshakeLimits
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from tests.edge.tls.kit import open_port
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.tls_wire import modern, records, server_name

HANDSHAKES = 100

TICK_S = 0.002
"""Each reading of the clock is so much later than the one before: charged turns have 1 ms per round, so each round has one."""

HELLO = records(modern(server_name(b"localhost")))
"""Its key share is valid: the answer to it takes the server the time of a handshake."""


@pytest.fixture
def ticking() -> Iterator[EngineLoop]:
    """A loop whose clock counts readings, so that its rounds do not depend on the machine."""
    readings = count(1)
    with closing(EngineLoop(clock=lambda: next(readings) * TICK_S)) as engine:
        yield engine


def has_data(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


class Rounds:
    """What happens in each round: one byte at a time goes through a relay, sent at the end of the round in which the last one arrived."""

    def __init__(self, engine: EngineLoop) -> None:
        (self._near, left), (right, self._far) = socket.socketpair(), socket.socketpair()
        for sock in (self._near, left, right, self._far):
            sock.setblocking(False)
        self._reactor = engine.reactor
        self._sent_in = 0
        self._stopped = False
        self.waiting: list[socket.socket] = []
        """Visitors without an answer to their hello."""
        self.byte_took: list[int] = []
        """Rounds that each byte took while visitors waited."""
        self.answered: list[int] = []
        """Visitors that got an answer, by round."""
        self.done: list[Relay] = []
        Relay(engine.reactor, SocketChannel(engine.reactor, left), SocketChannel(engine.reactor, right), self.done.append).start()

    def start(self) -> None:
        self._send()
        self._reactor.at_batch_end(self._look)

    def _send(self) -> None:
        self._near.send(b"x")
        self._sent_in = self._reactor.round

    def _look(self) -> None:
        before = len(self.waiting)
        self.waiting = [sock for sock in self.waiting if not has_data(sock)]
        self.answered.append(before - len(self.waiting))
        if has_data(self._far):
            self._far.recv(1)
            if before:
                self.byte_took.append(self._reactor.round - self._sent_in)
            self._send()
        if not self._stopped:
            self._reactor.at_batch_end(self._look)

    def close(self, engine: EngineLoop) -> None:
        self._stopped = True
        engine.settle()
        self._near.close()
        self._far.close()
        engine.run_until(lambda: bool(self.done), what="the end of the relay")


def test_a_running_relay_waits_for_one_handshake_at_most(ticking: EngineLoop, identity: Identity) -> None:
    with open_port(ticking, identity, HandshakeLimits(seconds_max=1000.0)) as opened:
        rounds = Rounds(ticking)
        ticking.settle()
        rounds.waiting = [opened.connect(HELLO) for _ in range(HANDSHAKES)]
        rounds.start()
        ticking.run_until(lambda: not rounds.waiting, what="answers to all hellos")
        assert opened.port.under_way == HANDSHAKES
        opened.port.close()
        rounds.close(ticking)

    assert max(rounds.answered) == 1, "handshakes in one round"
    assert set(rounds.byte_took) == {1}, "each byte arrives in the round after the one that it was sent in"
    assert len(rounds.byte_took) >= HANDSHAKES
