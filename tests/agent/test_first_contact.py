"""The time before an agent is online for the first time."""

import asyncio
from pathlib import Path

import pytest

from portway.agent import first_contact as module
from portway.agent.events import AgentEvent, Notice, Online
from portway.agent.first_contact import FirstContact
from portway.agent.settings import AgentSettings
from portway.errors import UnavailableError
from portway.links.dial import DialError
from portway.protocol.join_string import JoinString
from tests.kit.pair import Events
from tests.kit.sockets import free_port

ONLINE = Online("s1", "0.1.0")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTICE_AFTER_S", 0.1)
    monkeypatch.setattr(module, "FIRST_FAILURE_S", 0.1)


def contact(events: Events, connect_s_max: float | None = None) -> FirstContact:
    join = JoinString("abc", "s" * 43, "127.0.0.1", free_port(), b"p" * 32)
    return FirstContact(AgentSettings(join=join, tunnels=(), data_dir=Path("nowhere"), connect_s_max=connect_s_max), events)


def test_it_passes_every_event_on() -> None:
    async def scene() -> list[AgentEvent]:
        events = Events()
        first = contact(events)
        first(ONLINE)
        first(Notice("x"))
        return events.emitted  # type: ignore[return-value]

    assert asyncio.run(scene()) == [ONLINE, Notice("x")]


@pytest.mark.parametrize("connect_s_max", [None, 5.0])
def test_an_agent_that_is_online_soon_gets_no_notice(connect_s_max: float | None) -> None:
    async def scene() -> tuple[object, list[Notice]]:
        events = Events()
        first = contact(events, connect_s_max)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(first.watch())
            await asyncio.sleep(0)
            first(ONLINE)
        return watching.result(), events.of(Notice)

    assert asyncio.run(scene()) == (None, [])


def test_after_a_while_there_is_one_notice_with_the_problem() -> None:
    async def scene() -> list[str]:
        events = Events()
        first = contact(events)
        first.record_failure(DialError("nobody is there", "Start the server", connected=False))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(first.watch())
            await events.wait(Notice)
            first.record_failure(UnavailableError("still nobody"))
            await asyncio.sleep(0.3)
            first(ONLINE)
        assert watching.result() is None
        return [notice.text for notice in events.of(Notice)]

    assert asyncio.run(scene()) == ["not online after 0.1 s: nobody is there. Start the server. Retrying without limit"]


def test_the_notice_waits_for_the_result_of_a_slow_first_dial() -> None:
    async def scene() -> str:
        events = Events()
        first = contact(events)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(first.watch())
            tasks.create_task(fail_late(first))
            told = await events.wait(Notice)
            watching.cancel()
        return told.text

    async def fail_late(first: FirstContact) -> None:
        await asyncio.sleep(0.15)
        first.record_failure(DialError("silent for 10 s", "Look there", connected=False))

    assert "silent for 10 s. Look there" in asyncio.run(scene())


@pytest.mark.parametrize(("connect_s_max", "notices"), [(0.05, 0), (0.5, 1)])
def test_with_a_limit_the_error_has_the_last_reason(connect_s_max: float, notices: int) -> None:
    async def scene() -> tuple[str, int]:
        events = Events()
        first = contact(events, connect_s_max)
        first.record_failure(UnavailableError("the server is full"))
        return str(await first.watch()), len(events.of(Notice))

    assert asyncio.run(scene()) == (f"not online within {connect_s_max:g} s: the server is full", notices)


def test_without_any_failure_the_reason_is_that_nothing_answered() -> None:
    async def scene() -> str:
        return str(await contact(Events(), 0.05).watch())

    assert "has not answered yet. Check that the server is running" in asyncio.run(scene())
