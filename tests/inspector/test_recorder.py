"""The recorder never waits: a slow or failing writer costs captures, and nothing else."""

import sys
import threading
import time

from portway.inspector import recorder as recorder_module
from portway.inspector.exchange import Connection, Item, TunnelInfo
from portway.inspector.recorder import Recorder

TUNNEL = TunnelInfo("t", "", "")


def record(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        recorder.connection(TUNNEL, 1.0, (1, 2), "closed", "")


def test_a_writer_that_hangs_makes_items_drop_and_the_queue_stays_bounded() -> None:
    release = threading.Event()
    written: list[Item] = []

    def write(batch: list[Item]) -> None:
        release.wait(20)
        written.extend(batch)

    recorder = Recorder(write, 1000)
    began = time.monotonic()
    record(recorder, recorder_module.ITEMS_MAX + 2000)
    took = time.monotonic() - began
    release.set()
    recorder.close()

    assert took < 5
    assert 1000 <= recorder.dropped <= 2000
    assert len(written) + recorder.dropped == recorder_module.ITEMS_MAX + 2000


def test_a_writer_that_fails_does_not_end_the_thread() -> None:
    batches: list[int] = []

    def write(batch: list[Item]) -> None:
        batches.append(len(batch))
        if len(batches) == 1:
            raise ValueError("a secret")

    recorder = Recorder(write, 1000)
    record(recorder, 1)
    until = time.monotonic() + 10
    while not batches:
        assert time.monotonic() < until
        time.sleep(0.01)
    record(recorder, 1)
    recorder.close()

    assert len(batches) == 2


def test_closing_stores_what_is_queued_and_accepts_nothing_more() -> None:
    written: list[Item] = []
    recorder = Recorder(written.extend, 1000)
    record(recorder, 5)
    recorder.close()
    record(recorder, 1)

    assert [type(item) for item in written] == [Connection] * 5
    assert recorder.dropped == 1


def test_the_interpreter_lock_is_given_up_soon() -> None:
    Recorder(lambda _: None, 1000).close()

    assert sys.getswitchinterval() <= recorder_module.SWITCH_S


def test_the_budget_is_shared_by_all_that_is_buffered() -> None:
    recorder = Recorder(lambda _: None, 1000, buffered_bytes_max=100)

    assert recorder.reserve(60)
    assert not recorder.reserve(60)
    recorder.release_reserved(30)
    assert recorder.reserve(60)
    assert recorder.reserve(500, always=True)
    recorder.close()
