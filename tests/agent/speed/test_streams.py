"""Which streams belong to a test, and the reply to all others. Whole tests: test_runner.py, also for portway.agent.speed.measure."""

import pytest

from portway.agent.speed.streams import SpeedStreams
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.protocol.proxy_header import encode_local
from portway.session.speed import SPEED_TUNNEL, SpeedRun
from tests.kit.loops import EngineLoop


def opened(engine: EngineLoop, streams: SpeedStreams, first: bytes) -> MemoryChannel:
    near, far = memory_pair(engine.reactor)
    near.send(first)
    streams.accept(far)
    engine.settle()
    return near


@pytest.mark.parametrize(
    ("under_way", "tunnel", "status"), [(True, SPEED_TUNNEL, 0), (True, 7, 5), (False, SPEED_TUNNEL, 5)], ids=["ours", "a tunnel's", "late"]
)
def test_a_stream_is_accepted_while_its_test_runs(engine: EngineLoop, under_way: bool, tunnel: int, status: int) -> None:
    streams = SpeedStreams(engine.reactor)
    run = SpeedRun(engine.reactor, streams=1, seconds=5.0, payload=None)
    streams.run = run if under_way else None
    near = opened(engine, streams, encode_local(tunnel) + b"x" * 100)
    view = near.peek()
    assert view is not None

    assert view[0] == status
    assert run.moved == (0 if status else 100)
    run.abort()
    streams.on_claim_reply()


def test_a_stream_without_a_preamble_is_reset(engine: EngineLoop) -> None:
    streams = SpeedStreams(engine.reactor)
    streams.run = SpeedRun(engine.reactor, streams=1, seconds=5.0, payload=None)
    near = opened(engine, streams, b"GET / HTTP/1.1\r\n\r\n")

    assert near._broken
