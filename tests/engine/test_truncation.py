"""Whatever is cut, and wherever: a visitor never takes half an answer for a whole one (threats B1)."""

import random
from contextlib import ExitStack
from functools import partial

import pytest

from portway.engine.relay import Relay
from tests.kit.certificates import Identity
from tests.kit.channels import pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.socket_cable import CableDirection

ANSWER = random.Random(9).randbytes(60_000)
CUTS = 25
"""Cuts as kind and direction; all bytes are equally likely."""


def passed(way: CableDirection, count: int, reader: Probe) -> bool:
    """Whether `count` bytes, or all, have passed the cable."""
    return way.carried_bytes >= count or reader.ended


def decided(reader: Probe) -> bool:
    """Whether a reader has ended or was broken."""
    return reader.ended or reader.broken is not None


@pytest.mark.parametrize(
    "kind", ["tls-server", "tls-client", "mux-socket-accepted", "mux-socket-opened", "mux-tls-accepted", "mux-tls-opened"]
)
@pytest.mark.parametrize("torn", [False, True], ids=["FIN", "RST"])
def test_a_response_cut_anywhere_never_looks_complete(kind: str, torn: bool, identity: Identity) -> None:
    dice = random.Random(f"{kind} {torn}")
    whole = 0
    for _ in range(CUTS):
        engine = EngineLoop()
        with ExitStack() as stack:
            link = stack.enter_context(pair_of(kind, engine, identity))
            outside = stack.enter_context(pair_of("tcp", engine, identity))
            done: list[Relay] = []
            Relay(engine.reactor, outside.near, link.far, done.append).start()
            visitor, origin = Probe(outside.far).read(), Probe(link.near).read()
            way = link.direction_to_far
            way.piece_bytes = 500
            cut_at = way.carried_bytes + dice.randrange(len(ANSWER) + 300)
            origin.feed(ANSWER, end=True)
            engine.run_until(partial(passed, way, cut_at, visitor))
            assert link.cable_if_any is not None
            if torn:
                link.cable_if_any.reset()
            else:
                link.cable_if_any.cut()
            engine.run_until(partial(decided, visitor))
            assert ANSWER.startswith(visitor.received)
            if visitor.ended:
                whole += 1
                assert visitor.received == ANSWER
            else:
                engine.settle()
                assert len(done) == 1
                assert not done[0].tally.clean
        engine.close()
    assert whole < CUTS / 2, "the cuts come too late to prove anything"


def test_a_request_cut_anywhere_never_looks_complete(identity: Identity) -> None:
    """The other direction: bytes sent to the origin by a visitor that breaks off."""
    dice = random.Random(2)
    for _ in range(CUTS):
        engine = EngineLoop()
        with ExitStack() as stack:
            outside = stack.enter_context(pair_of("tls-server", engine, identity))
            inside = stack.enter_context(pair_of("mux-tls-opened", engine, identity))
            Relay(engine.reactor, outside.near, inside.near, lambda relay: None).start()
            visitor, origin = Probe(outside.far), Probe(inside.far).read()
            assert outside.cable_if_any is not None
            way = outside.cable_if_any.rightward if not outside.near_is_left else outside.cable_if_any.leftward
            way.piece_bytes = 700
            cut_at = way.carried_bytes + dice.randrange(len(ANSWER))
            visitor.feed(ANSWER, end=True)
            engine.run_until(partial(passed, way, cut_at, origin))
            outside.cable_if_any.cut()
            engine.run_until(partial(decided, origin))
            assert not origin.ended
            assert ANSWER.startswith(origin.received)
        engine.close()
