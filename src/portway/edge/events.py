"""Events about visitors, each a frozen value."""

from dataclasses import dataclass

from portway.engine.tally import Flow


@dataclass(frozen=True, slots=True)
class VisitorsTurnedAway:
    """Visitors were rejected because the server was full. Emitted for the first one at once, then for all others every 10 seconds."""

    count: int
    """How many since the last such event."""
    visitors: int
    """Visitors connected now."""
    places: int
    """Capacity for visitors in total; a single tunnel may use a part (see `edge/admission.py`)."""
    last: str
    """The listener of the last one: `http`, or `tcp port 20001`."""


@dataclass(frozen=True, slots=True)
class ConnectionsShed:
    """The least active connections were closed to admit new ones. Emitted for the first one at once, then for all others every 10 seconds."""

    count: int
    """How many since the last such event."""
    visitors: int
    """Visitors connected now."""
    places: int
    """Capacity for visitors in total."""
    last: str
    """The listener of the last visitor that was admitted in their place: `http`, or `tcp port 20001`."""


@dataclass(frozen=True, slots=True)
class RequestDone:
    """A request to an http tunnel and its response ended. In JSON output only, as it would flood a console."""

    relay: str
    """Random, in hex; also in the agent's line about that connection to the origin, which may serve many requests."""
    tunnel: int
    method: str
    status: int
    """Of the response, which may be the server's own; 499: the visitor disconnected before."""
    forward: Flow
    """The request's body."""
    backward: Flow
    """The response's body, if it came from the origin."""
    why: str = ""
    """If this server ended it: the reason, or the code of its error response."""
    visitor: str | None = None
    """The visitor's address, with `log_visitors`."""
    scheme: str = "http"
    """`http` or `https`, between the visitor and this server or the trusted proxy in front of it."""


@dataclass(frozen=True, slots=True)
class RelayDone:
    """A visitor's connection to a tcp or tls tunnel, or an upgraded one (a WebSocket), ended. In JSON output only, as it would flood a console."""

    relay: str
    """Random, in hex; also in the agent's line about the same visitor."""
    tunnel: int
    port: int
    """The public port of a tcp tunnel; 0 for others."""
    forward: Flow
    """From the visitor to the origin."""
    backward: Flow
    """From the origin to the visitor."""
    why: str = ""
    """If this server ended it: the reason."""
    visitor: str | None = None
    """The visitor's address, with `log_visitors`."""
    scheme: str = ""
    """`http` or `https` of an upgraded connection's request; empty for tcp tunnels."""
