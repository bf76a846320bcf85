"""Parses the JSON events of the demo's child processes."""

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
    """Return the agent's event, or None if it is unknown."""
    kind = _AGENT_EVENTS.get(_name(line))
    return _read(line, kind) if kind else None


def listening_event(line: str) -> Listening | None:
    """Return the server's `listening` event, or None for any other line."""
    return _read(line, Listening) if _name(line) == "listening" else None


def _name(line: str) -> str:
    named = _read(line, _Named)
    return named.event if named else ""


def _read(line: str, kind: type[E]) -> E | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None
