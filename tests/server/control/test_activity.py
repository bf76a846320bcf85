"""Request lines for the agent: gathered, bounded, counted, and whole within what a message may hold."""

import pytest

from portway.protocol.control.messages import PATH_CHARS_MAX, REQUEST_LINES_MAX, Activity, decode_message, encode_message
from portway.server.control import activity
from portway.server.control.activity import LINES_MAX, ActivityBatch
from tests.kit.loops import EngineLoop


class Told:
    """What was told so far."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.messages: list[Activity] = []
        self.batch = ActivityBatch(engine.reactor, self.messages.append)

    def wait(self) -> list[Activity]:
        self.engine.run_until(lambda: bool(self.messages))
        messages, self.messages[:] = list(self.messages), []
        return messages


def test_requests_of_a_moment_come_together_by_tunnel(engine: EngineLoop) -> None:
    told = Told(engine)
    told.batch.record(1, "GET", "/", 200, 0.1)
    told.batch.record(2, "POST", "/x", 404, 0.2)
    told.batch.record(1, "GET", "/again", 304, 0.3)
    first, second = told.wait()
    assert first == Activity(tunnel=1, requests=[("GET", "/", 200, 0.1), ("GET", "/again", 304, 0.3)])
    assert second == Activity(tunnel=2, requests=[("POST", "/x", 404, 0.2)])
    told.batch.record(1, "GET", "/later", 200, 0.1)
    assert told.wait() == [Activity(tunnel=1, requests=[("GET", "/later", 200, 0.1)])]


def test_more_than_anybody_reads_is_counted(engine: EngineLoop) -> None:
    told = Told(engine)
    for number in range(LINES_MAX + 1000):
        told.batch.record(1 + number % 2, "GET", f"/{number}", 200, 0.0)
    told.batch.record(3, "GET", "/only", 200, 0.0)
    messages = told.wait()
    assert sum(len(message.requests) for message in messages) == LINES_MAX
    assert {tunnel: sum(m.missed for m in messages if m.tunnel == tunnel) for tunnel in (1, 2, 3)} == {1: 500, 2: 500, 3: 1}
    assert all(len(message.requests) <= REQUEST_LINES_MAX for message in messages)


def test_what_was_left_out_is_told_once(engine: EngineLoop) -> None:
    told = Told(engine)
    for _ in range(LINES_MAX + 7):
        told.batch.record(1, "GET", "/", 200, 0.0)
    assert sum(message.missed for message in told.wait()) == 7
    told.batch.record(1, "GET", "/", 200, 0.0)
    assert [message.missed for message in told.wait()] == [0]


def test_what_was_left_out_fits_its_message_however_much_it_is(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "LINES_MAX", 1)
    told = Told(engine)
    told.batch.record(1, "GET", "/", 200, 0.0)
    told.batch.record(1, "GET", "/", 200, 0.0)
    told.batch._missed[1] = 5_000_000
    (message,) = told.wait()
    assert decode_message(encode_message(message)[4:]) == message
    assert message.missed == 1_000_000


def test_a_thousand_requests_ask_for_one_timer(engine: EngineLoop) -> None:
    told = Told(engine)
    for _ in range(1000):
        told.batch.record(1, "GET", "/", 200, 0.0)
    assert sum(len(bucket) for bucket in engine.reactor._timers._buckets.values()) == 1


def test_every_message_can_be_sent_whatever_the_paths_are(engine: EngineLoop) -> None:
    told = Told(engine)
    for _ in range(LINES_MAX):
        told.batch.record(1, "M" * 500, "/\U0001f600" * 20_000, 999, 1e8)
    for message in told.wait():
        again = decode_message(encode_message(message)[4:])
        assert again == message
        assert len(message.requests[0][1]) == PATH_CHARS_MAX
