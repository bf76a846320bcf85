"""Makes relays of two sockets copy, or splice nearly everything."""

import pytest

from portway.engine.pipe_pool import PipePool, can_splice
from tests.kit.loops import EngineLoop

PUMPS = ["copy", "splice"]

EAGER_BYTES = 16
"""A read of this size begins splicing: reads of long transfers alone would splice little of what tests send."""

needs_splice = pytest.mark.skipif(not can_splice, reason="this system has no splice")


def use_pump(engine: EngineLoop, how: str = "") -> PipePool:
    """Let relays that start later copy or splice, as `how` says, with either poller; an empty `how` leaves the defaults. Return the pool."""
    reactor = engine.reactor
    if how:
        reactor.pipes = PipePool(reactor.scratch_body, enabled=how == "splice" and can_splice)
    if how == "splice":
        if not can_splice:
            pytest.skip("this system has no splice")
        reactor.pipes.read_buffer = reactor.scratch_body[:EAGER_BYTES]
    return reactor.pipes
