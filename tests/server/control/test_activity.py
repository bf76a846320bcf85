"""Request lines for the agent: batched, bounded, counted, and within the limits of a message."""

import pytest

from portway.protocol.control.messages import PATH_CHARS_MAX, REQUEST_LINES_MAX, Activity, decode_message, encode_message
from portway.server.control import activity
from portway.server.control.activity import LINES_MAX, ActivityBatch
from tests.kit.loops import EngineLoop


class Recorder:
    """A batch that records the messages it sends."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.messages: list[Activity] = []
        self.batch = ActivityBatch(engine.reactor, self.messages.append)

    def wait(self) -> list[Activity]:
        self.engine.run_until(lambda: bool(self.messages))
        messages, self.messages[:] = list(self.messages), []
        return messages


def test_requests_are_batched_by_tunnel(engine: EngineLoop) -> None:
    recorder = Recorder(engine)
    recorder.batch.record(1, "GET", "/", 200, 0.1)
    recorder.batch.record(2, "POST", "/x", 404, 0.2)
    recorder.batch.record(1, "GET", "/again", 304, 0.3)
    first, second = recorder.wait()
    assert first == Activity(tunnel=1, requests=[("GET", "/", 200, 0.1), ("GET", "/again", 304, 0.3)])
    assert second == Activity(tunnel=2, requests=[("POST", "/x", 404, 0.2)])
    recorder.batch.record(1, "GET", "/later", 200, 0.1)
    assert recorder.wait() == [Activity(tunnel=1, requests=[("GET", "/later", 200, 0.1)])]


def test_requests_beyond_the_limit_are_counted(engine: EngineLoop) -> None:
    recorder = Recorder(engine)
    for number in range(LINES_MAX + 1000):
        recorder.batch.record(1 + number % 2, "GET", f"/{number}", 200, 0.0)
    recorder.batch.record(3, "GET", "/only", 200, 0.0)
    messages = recorder.wait()
    assert sum(len(message.requests) for message in messages) == LINES_MAX
    assert {tunnel: sum(m.missed for m in messages if m.tunnel == tunnel) for tunnel in (1, 2, 3)} == {1: 500, 2: 500, 3: 1}
    assert all(len(message.requests) <= REQUEST_LINES_MAX for message in messages)


def test_omitted_requests_are_reported_once(engine: EngineLoop) -> None:
    recorder = Recorder(engine)
    for _ in range(LINES_MAX + 7):
        recorder.batch.record(1, "GET", "/", 200, 0.0)
    assert sum(message.missed for message in recorder.wait()) == 7
    recorder.batch.record(1, "GET", "/", 200, 0.0)
    assert [message.missed for message in recorder.wait()] == [0]


def test_the_count_of_omitted_requests_fits_its_message(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "LINES_MAX", 1)
    recorder = Recorder(engine)
    recorder.batch.record(1, "GET", "/", 200, 0.0)
    recorder.batch.record(1, "GET", "/", 200, 0.0)
    recorder.batch._omitted[1] = 5_000_000
    (message,) = recorder.wait()
    assert decode_message(encode_message(message)[4:]) == message
    assert message.missed == 1_000_000


def test_a_thousand_requests_use_one_timer(engine: EngineLoop) -> None:
    recorder = Recorder(engine)
    for _ in range(1000):
        recorder.batch.record(1, "GET", "/", 200, 0.0)
    assert sum(len(bucket) for bucket in engine.reactor._timers._buckets.values()) == 1


def test_every_message_can_be_sent_whatever_the_paths_are(engine: EngineLoop) -> None:
    recorder = Recorder(engine)
    for _ in range(LINES_MAX):
        recorder.batch.record(1, "M" * 500, "/\U0001f600" * 20_000, 999, 1e8)
    for message in recorder.wait():
        again = decode_message(encode_message(message)[4:])
        assert again == message
        assert len(message.requests[0][1]) == PATH_CHARS_MAX
