"""Both ends of a speed test: bytes that mean nothing, at the pace of the stream, judged over the same stretch."""

import pytest

from portway.engine.memory_channel import memory_pair
from portway.engine.reactor import TURN_BYTES
from portway.errors import BrokenChannel
from portway.session import speed
from portway.session.speed import Payload, SpeedRun, SpeedTestChannel, Stopwatch
from portway.telemetry.cpu import CpuTime
from tests.kit.loops import EngineLoop

PAYLOAD = memoryview(bytes(range(256)) * 64)


class Both:
    """One test between two ends in memory."""

    def __init__(self, engine: EngineLoop, *, streams: int = 2, seconds: float = 0.2, capacity_bytes: int = 65536) -> None:
        self.engine = engine
        self.finished: list[str] = []
        reactor = engine.reactor
        self.sender = SpeedRun(
            reactor, streams=streams, seconds=seconds, payload=PAYLOAD, on_finished=lambda: self.finished.append("sender")
        )
        self.receiver = SpeedRun(
            reactor, streams=streams, seconds=seconds, payload=None, on_finished=lambda: self.finished.append("receiver")
        )
        self.pairs = [memory_pair(reactor, capacity_bytes) for _ in range(streams)]

    def begin(self) -> None:
        for left, right in self.pairs:
            self.sender.add(left)
            self.receiver.add(right)

    def until_over(self) -> None:
        self.engine.run_until(lambda: len(self.finished) == 2)


def test_all_bytes_arrive_and_both_ends_finish(engine: EngineLoop) -> None:
    both = Both(engine)
    both.begin()
    both.until_over()

    assert both.sender.moved == both.receiver.moved > 0
    assert both.sender.finished
    assert both.receiver.finished
    sent, received = both.sender.sample(), both.receiver.sample()
    assert 0 < sent.bytes < both.sender.moved  # neither the beginning nor the overtime counts
    assert 0 < received.bytes < both.receiver.moved
    assert 0.04 < received.seconds < 0.2 + 0.2


def test_a_slow_reader_limits_the_rate_and_nothing_queues(engine: EngineLoop) -> None:
    both = Both(engine, streams=1, capacity_bytes=1000)
    left, right = both.pairs[0]
    both.sender.add(left)
    engine.settle()

    assert both.sender.moved == 1000 == len(right._received)


def test_a_stream_that_never_ends_is_reset(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "FINISH_S_MAX", 0.1)
    both = Both(engine, streams=1, seconds=0.1)
    left, right = both.pairs[0]
    both.receiver.add(right)
    engine.run_until(lambda: bool(both.finished))

    assert both.finished == ["receiver"]
    with pytest.raises(BrokenChannel):
        left.send(b"more")


def test_unexpected_streams_are_reset(engine: EngineLoop) -> None:
    both = Both(engine, streams=1)
    both.begin()
    stranger, far = memory_pair(engine.reactor)

    assert not both.sender.add(stranger)
    with pytest.raises(BrokenChannel):
        far.send(b"x")


def test_a_failed_stream_is_not_waited_for(engine: EngineLoop) -> None:
    both = Both(engine, streams=2)
    both.sender.stream_failed()
    assert both.finished == []
    both.sender.stream_failed()

    assert both.finished == ["sender"]
    assert both.sender.sample().bytes == 0


def test_a_broken_stream_does_not_affect_the_others(engine: EngineLoop) -> None:
    both = Both(engine, seconds=30.0)
    both.begin()
    both.pairs[0][1].abort()
    engine.run_until(lambda: both.sender.moved > 200_000)
    assert both.finished == []
    both.receiver.abort()
    engine.run_until(lambda: len(both.finished) == 2)

    assert sorted(both.finished) == ["receiver", "sender"]


def test_the_stopwatch_counts_between_two_readings_only(engine: EngineLoop) -> None:
    looks = iter(range(0, 100, 10))
    cpu = iter([CpuTime(1.0, 0.0), CpuTime(2.0, 0.5), CpuTime(2.5, 1.5), CpuTime(99.0, 99.0)])
    watch = Stopwatch(engine.reactor, 0.1, lambda: next(looks), lambda: next(cpu))
    engine.run_until(lambda: watch._to is not None)
    seen = watch.sample()

    assert (seen.bytes, seen.cpu) == (10, CpuTime(0.5, 1.0))


def test_the_first_part_of_a_test_does_not_count(engine: EngineLoop) -> None:
    looked_at: list[float] = []

    def moved() -> int:
        looked_at.append(engine.reactor.refresh_now())
        return 0

    watch = Stopwatch(engine.reactor, 0.6, moved)
    engine.run_until(lambda: watch._to is not None)

    assert looked_at[1] - looked_at[0] >= 0.3 * 0.6
    assert looked_at[2] - looked_at[0] >= 0.6


def test_the_channel_sends_until_it_is_stopped() -> None:
    end, buffer = SpeedTestChannel(PAYLOAD), memoryview(bytearray(10))
    assert end.recv_into(buffer) == 10
    assert bytes(buffer) == bytes(range(10))
    assert (end.room(), end.send(b"abc"), end.ended) == (TURN_BYTES, 3, False)
    end.stop()

    assert (end.recv_into(buffer), end.peek(), end.ended, end.readable) == (0, None, True, False)


def test_the_payload_is_created_once_on_first_use() -> None:
    made: list[int] = []

    def random_bytes(count: int) -> bytes:
        made.append(count)
        return bytes(count)

    payload = Payload(random_bytes)
    assert made == []
    assert payload.view is payload.view
    assert made == [TURN_BYTES]
