"""A gate fulfils the contract of its channel, and passes no more than its limits allow."""

from portway.engine.bucket import UNUSED_S_MAX, Bucket
from portway.engine.channel import HEADROOM_BYTES
from portway.engine.gate import Gate, Quota
from portway.engine.memory_channel import memory_pair
from tests.kit.fake_scheduler import Scheduler
from tests.kit.loops import EngineLoop
from tests.kit.raw_agent import read_now


def never() -> None:
    raise AssertionError("there was something left")


def test_it_shows_the_smallest_of_all_rooms(engine: EngineLoop) -> None:
    sink, _ = memory_pair(engine.reactor, 500)
    scheduler = Scheduler()
    slow, fast = Bucket(scheduler, 4000), Bucket(scheduler, 10**9)
    assert Gate(sink, (), None).room() == 500
    assert Gate(sink, (), Quota(300, never)).room() == 300
    assert Gate(sink, (fast,), None).room() == 500
    assert Gate(sink, (fast, slow), Quota(300, never)).room() == 200


def test_bytes_beyond_the_room_are_not_accepted(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    gate = Gate(sink, (), Quota(10, never))
    assert gate.send(b"0123456") == 7
    assert gate.send_headroom(memoryview(bytes(HEADROOM_BYTES) + b"789abc"), 6) == 3
    assert read_now(reader) == b"0123456789"
    assert gate.bytes == 10


def test_a_used_up_quota_reports_room_for_the_byte_that_exceeds_it(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    told: list[str] = []
    gate = Gate(sink, (), Quota(3, lambda: told.append("spent")))
    assert gate.send(b"abc") == 3
    assert gate.room() == 1
    assert told == []
    gate.shut()
    assert gate.room() == gate.send(b"d") == 0
    assert told == []

    def end() -> None:
        told.append("spent")
        other.shut()

    other = Gate(sink, (), Quota(3, end))
    assert other.send(b"abc") == 3
    assert other.send(b"d") == 0
    assert told == ["spent"]
    assert read_now(reader) == b"abcabc"


def test_buffered_bytes_also_wait_for_credit(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    scheduler = Scheduler()
    gate = Gate(sink, (Bucket(scheduler, 1000),), None)
    assert gate.room() == 50
    scheduler.pass_time(3 * UNUSED_S_MAX)
    assert gate.send(bytes(500)) == gate.send_headroom(memoryview(bytes(500)), 488) == 0, "the credit was taken back meanwhile"
    sent = 0
    while gate.room():
        sent += gate.send(bytes(500))
    assert sent == len(read_now(reader)) == 100


def test_new_credit_is_reported_as_room_of_the_sink(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    scheduler = Scheduler()
    gate = Gate(sink, (Bucket(scheduler, 1000),), None)
    told: list[float] = []
    sink.on_writable = lambda: told.append(scheduler.now)
    sent = 0
    while room := gate.room():
        sent += gate.send(bytes(room))
    scheduler.settle()
    assert told == []
    scheduler.pass_time(0.2)
    assert len(told) == 1
    assert gate.room() > 0
    assert len(read_now(reader)) == sent == 50


def test_a_shut_gate_neither_waits_nor_wakes(engine: EngineLoop) -> None:
    sink, _ = memory_pair(engine.reactor)
    scheduler = Scheduler()
    bucket = Bucket(scheduler, 1000)
    gate = Gate(sink, (bucket,), None)
    sink.on_writable = never
    while room := gate.room():
        gate.send(bytes(room))
    assert bucket.waiting == 1
    gate.shut()
    gate.shut()
    assert bucket.waiting == 0
    scheduler.pass_time(1.0)


def test_an_end_passes_regardless_of_limits(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    gate = Gate(sink, (), Quota(3, never))
    gate.send(b"abc")
    gate.shutdown_write()
    assert read_now(reader) == b"abc"
    assert reader.ended


def test_a_sink_without_room_is_not_asked_for_credit(engine: EngineLoop) -> None:
    sink, _ = memory_pair(engine.reactor, 10)
    bucket = Bucket(Scheduler(), 10**6)
    gate = Gate(sink, (bucket,), None)
    assert gate.send(bytes(10)) == 10 or gate.room()
    sink.send(bytes(10))
    assert gate.room() == 0
    assert bucket.waiting == 0
