"""Watches the round trip of the demo's link, as the agent's status socket tells it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from portway.demo.site_facts import LinkFacts
from portway.errors import UnavailableError
from portway.telemetry.status_socket import query_status

EVERY_S = 2.0
"""About as often as a person looks again."""

_RTT_S_MAX = 60.0


class _Status(msgspec.Struct):
    """What we need of a status document; the rest of it may be anything."""

    pid: int = 0
    rtt_s: float | None = None


class LinkWatch:
    """Keeps the newest facts about the link of one agent."""

    def __init__(self, agent_pid: int, on_facts: Callable[[LinkFacts], None]) -> None:
        """Tell `on_facts` each new round trip."""
        self.facts = LinkFacts(encrypted=True)  # the demo starts no other links
        self._agent_pid = agent_pid
        self._on_facts = on_facts

    async def run(self, folder: Path) -> None:
        """Ask again and again; `folder` is the runtime directory, where each program has its status socket."""
        path = folder / f"agent-{self._agent_pid}.sock"
        while True:
            document = await asyncio.to_thread(_ask, path)
            self.note(rtt_s_of(document, self._agent_pid) if document else None)
            await asyncio.sleep(EVERY_S)

    def note(self, rtt_s: float | None) -> None:
        """Take a round trip, if it was known."""
        if rtt_s is None or rtt_s == self.facts.rtt_s:
            return
        self.facts = LinkFacts(rtt_s=rtt_s, fresh=self.facts.rtt_s is not None, encrypted=True)
        self._on_facts(self.facts)


def _ask(path: Path) -> bytes | None:
    try:
        return query_status(path)
    except UnavailableError:
        return None  # the page then shows no round trip, which is all we need it for


def rtt_s_of(document: bytes, pid: int) -> float | None:
    """Return the round trip in an agent's status document; None when it is another program's, or not known yet."""
    try:
        status = msgspec.json.decode(document, type=_Status)
    except msgspec.DecodeError:
        return None
    if status.pid != pid or status.rtt_s is None or not 0 < status.rtt_s < _RTT_S_MAX:
        return None
    return status.rtt_s
