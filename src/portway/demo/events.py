"""Reads the events that the demo's children tell, one JSON object a line."""

from typing import TypeVar

import msgspec

from portway.agent.events import (
    AgentEvent,
    Connecting,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelUp,
)
from portway.server.events import Listening

E = TypeVar("E")

_AGENT_EVENTS: dict[str, type[AgentEvent]] = {
    "connecting": Connecting,
    "online": Online,
    "round_trip": RoundTrip,
    "tunnel_up": TunnelUp,
    "request_line": RequestLine,
    "relay_done": RelayDone,
    "offline": Offline,
    "refused": Refused,
    "requests_omitted": RequestsOmitted,
}


class _Named(msgspec.Struct):
    event: str = ""


def agent_event(line: str) -> AgentEvent | None:
    """Return the agent's event, or None when the line is none that we know: a newer agent may tell more."""
    kind = _AGENT_EVENTS.get(_name(line))
    return _read(line, kind) if kind else None


def listening(line: str) -> Listening | None:
    """Return the server's news that it listens, or None when the line says something else."""
    return _read(line, Listening) if _name(line) == "listening" else None


def _name(line: str) -> str:
    named = _read(line, _Named)
    return named.event if named else ""


def _read(line: str, kind: type[E]) -> E | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None
