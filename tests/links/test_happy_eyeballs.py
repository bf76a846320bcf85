"""Several addresses of one server: the first that answers wins, and an unreachable one costs a quarter of a second."""

import socket
import time
from contextlib import ExitStack, suppress
from itertools import pairwise

import pytest

from portway.errors import UnavailableError
from portway.links.happy_eyeballs import NEXT_AFTER_S, NumericAddress, alternating, connect_first
from tests.kit.loops import EngineLoop
from tests.kit.sockets import open_descriptors
from tests.links.kit import open_listener
from tests.links.test_dial import deaf, refusing

FOUR, SIX = socket.AF_INET, socket.AF_INET6


def v4(number: int) -> NumericAddress:
    return FOUR, (f"127.0.0.{number}", 1)


def v6(number: int) -> NumericAddress:
    return SIX, (f"::{number}", 1)


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ([v6(1), v6(2), v4(1), v4(2)], [v6(1), v4(1), v6(2), v4(2)]),
        ([v4(1), v6(1), v6(2), v6(3)], [v4(1), v6(1), v6(2), v6(3)]),
        ([v4(1), v4(2), v6(1)], [v4(1), v6(1), v4(2)]),
        ([v6(1)], [v6(1)]),
    ],
)
def test_families_are_tried_in_turn_beginning_with_the_resolvers_choice(given: list[NumericAddress], tried: list[NumericAddress]) -> None:
    assert alternating(given) == tried


def test_several_silent_addresses_cost_a_moment_each_and_leave_nothing_behind(engine: EngineLoop) -> None:
    with open_listener(engine, None) as listener, deaf() as one, deaf() as two:
        before = open_descriptors()
        begun = time.monotonic()
        sock = engine.run(connect_first(engine.reactor, [one, two, (FOUR, ("127.0.0.1", listener.port))], 60.0))
        assert time.monotonic() - begun >= 2 * NEXT_AFTER_S * 0.9, "each was alone for a while"
        assert sock.getpeername() == ("127.0.0.1", listener.port)
        engine.run_until(lambda: bool(listener.links))
        engine.reactor.discard(sock)
        engine.settle()
        assert open_descriptors() == before + 1, "what is left is the door's end"


def test_a_slow_address_still_wins_when_the_next_one_is_dead(engine: EngineLoop) -> None:
    """It is not given up when its turn alone is over: on a slow path 250 ms are nothing."""
    with deaf() as dead, socket.socket() as listener, ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        listener.setblocking(False)
        slow = listener.getsockname()
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(slow)
        taken: list[socket.socket] = []

        def make_room() -> None:
            with suppress(BlockingIOError):
                while True:
                    taken.append(listener.accept()[0])
            engine.reactor.call_later(0.05, make_room)

        engine.reactor.call_later(2 * NEXT_AFTER_S, make_room)
        sock = engine.run(connect_first(engine.reactor, [(FOUR, slow), dead], 10.0))
        assert sock.getpeername() == slow
        engine.reactor.discard(sock)
        engine.settle()
        for end in taken:
            end.close()


def test_the_next_address_follows_a_refusal_at_once(engine: EngineLoop) -> None:
    tried: list[NumericAddress] = [refusing() for _ in range(40)]
    with pytest.raises(UnavailableError) as failure:
        engine.run(connect_first(engine.reactor, tried, 60.0), deadline_s=NEXT_AFTER_S * 20)
    assert str(failure.value).count("connection refused") == 40
    assert all(one != other for one, other in pairwise(tried))


def test_reasons_are_in_the_order_of_the_addresses(engine: EngineLoop) -> None:
    with deaf() as dead, pytest.raises(UnavailableError, match=r"^127\.0\.0\.1: connection timed out; 127\.0\.0\.1: connection refused$"):
        engine.run(connect_first(engine.reactor, [dead, refusing()], 0.5))
