"""Polls the round-trip time of the demo's link from the agent's status socket."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from portway.demo.site_facts import LinkFacts
from portway.errors import UnavailableError
from portway.telemetry.status_socket import query_status

EVERY_S = 2.0
"""Polling interval: frequent enough for the page."""

_RTT_S_MAX = 60.0


class _Status(msgspec.Struct):
    """The required part of a status document; other fields are ignored."""

    pid: int = 0
    rtt_s: float | None = None


class LinkWatch:
    """Keeps the latest facts about the link of one agent."""

    def __init__(self, agent_pid: int, on_facts: Callable[[LinkFacts], None]) -> None:
        """Call `on_facts` for each new round-trip time."""
        self.facts = LinkFacts(encrypted=True)  # the demo has only TLS links
        self._agent_pid = agent_pid
        self._on_facts = on_facts

    async def run(self, folder: Path) -> None:
        """Poll until cancelled; `folder` is the runtime directory, which contains the status sockets."""
        path = folder / f"agent-{self._agent_pid}.sock"
        while True:
            document = await asyncio.to_thread(_query, path)
            self.update(rtt_s_of(document, self._agent_pid) if document else None)
            await asyncio.sleep(EVERY_S)

    def update(self, rtt_s: float | None) -> None:
        """Record a round-trip time, unless it is unknown or unchanged."""
        if rtt_s is None or rtt_s == self.facts.rtt_s:
            return
        self.facts = LinkFacts(rtt_s=rtt_s, fresh=self.facts.rtt_s is not None, encrypted=True)
        self._on_facts(self.facts)


def _query(path: Path) -> bytes | None:
    try:
        return query_status(path)
    except UnavailableError:
        return None  # the page then shows no round-trip time


def rtt_s_of(document: bytes, pid: int) -> float | None:
    """Return the round-trip time in an agent's status document; None if it belongs to another process or is unknown."""
    try:
        status = msgspec.json.decode(document, type=_Status)
    except msgspec.DecodeError:
        return None
    if status.pid != pid or status.rtt_s is None or not 0 < status.rtt_s < _RTT_S_MAX:
        return None
    return status.rtt_s
