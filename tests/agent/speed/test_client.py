"""One question at a time, and only its own answer."""

import asyncio

import pytest

from portway.agent.speed.client import SpeedTestClient, deadline_s
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Drain, Measure, Measured, Message, Refused
from portway.session.speed import FINISH_S_MAX, OVERTIME_S


class Session:
    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)


async def request(reply: Message, *others: Message) -> Measured:
    asking, session = SpeedTestClient(), Session()
    future = asking.request(session, "up", 8, 2.5)
    assert session.sent == [Measure(id=1, direction="up", streams=8, seconds=2.5)]
    assert not await asking.wait_reply(future, 0.01)
    for other in others:
        assert not asking.on_reply(other)
    assert asking.on_reply(reply)
    assert asking.on_reply(reply)  # twice is no harm
    assert await asking.wait_reply(future, 5.0)
    return future.result()


def test_a_reply_is_matched_by_its_id() -> None:
    measured = Measured(id=1, bytes=5, seconds=1.0, cpu_s=0.5)
    others = (Measured(id=2, bytes=6, seconds=1.0, cpu_s=0.5), Refused(code="draining", reason="x"), Drain(reason="x"))

    assert asyncio.run(request(measured, *others)) == measured


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("speed_test_off", RefusedError, "no tests here"),
        ("speed_test_busy", UnavailableError, "no tests here"),
        ("bad_message", RefusedError, "does not support speed tests"),
    ],
)
def test_a_refusal_becomes_the_matching_error(code: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        asyncio.run(request(Refused(id=1, code=code, reason="no tests here")))


def test_the_deadline_is_longer_than_the_servers() -> None:
    assert deadline_s(5.0) > 5.0 + OVERTIME_S + FINISH_S_MAX
