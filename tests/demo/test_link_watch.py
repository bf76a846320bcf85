"""The page's round-trip time comes from the agent's status; otherwise it is not shown."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from portway.agent.status import AgentStatus
from portway.demo.link_watch import LinkWatch, rtt_s_of
from portway.demo.site_facts import LinkFacts
from portway.telemetry.status_socket import serve_status


def document(pid: int, rtt_s: float | None) -> bytes:
    return msgspec.json.encode(AgentStatus(pid, "0.1.0", "online", 0.0, "127.0.0.1:4443", rtt_s=rtt_s))


def test_the_round_trip_of_the_agent_is_found() -> None:
    assert rtt_s_of(document(7, 0.0003), 7) == 0.0003


@pytest.mark.parametrize(
    "status", [document(8, 0.0003), document(7, None), document(7, -1.0), document(7, 1e9), b"", b"[]", b'{"pid":"7"}']
)
def test_other_documents_have_no_round_trip(status: bytes) -> None:
    assert rtt_s_of(status, 7) is None


def test_the_watch_polls_the_agents_status_socket(tmp_path: Path) -> None:
    async def watch() -> tuple[LinkWatch, LinkFacts]:
        updated: asyncio.Future[LinkFacts] = asyncio.get_running_loop().create_future()
        link = LinkWatch(4711, on_facts=updated.set_result)
        async with serve_status(tmp_path / "agent-4711.sock", lambda: document(4711, 0.00042)), asyncio.TaskGroup() as group:
            watching = group.create_task(link.run(tmp_path))
            facts = await updated
            watching.cancel()
        return link, facts

    link, facts = asyncio.run(watch())
    assert link.facts == facts == LinkFacts(rtt_s=0.00042, fresh=False, encrypted=True)


def test_only_later_measurements_are_fresh() -> None:
    updates: list[LinkFacts] = []
    link = LinkWatch(7, on_facts=updates.append)
    for rtt_s in (None, 0.002, 0.002, 0.0003, None):
        link.update(rtt_s)
    assert [(facts.rtt_s, facts.fresh) for facts in updates] == [(0.002, False), (0.0003, True)]


def test_an_agent_without_a_status_socket_leaves_the_round_trip_unknown(tmp_path: Path) -> None:
    async def watch() -> LinkWatch:
        link = LinkWatch(4711, on_facts=lambda facts: None)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(link.run(tmp_path))
            await asyncio.sleep(0.1)
            watching.cancel()
        return link

    assert asyncio.run(watch()).facts.rtt_s is None
