"""Events that a server emits; each is a frozen dataclass."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.tally import Flow


@dataclass(frozen=True, slots=True)
class Listening:
    """All listeners are open and agents can log in. Emitted once."""

    http: str
    """`host:port` with the actual port, also where the settings have 0."""
    agents: str
    """Empty without a listener of their own: they use the https port."""
    advertised: str
    """The address in join strings."""
    tcp_ports: str
    domain: str
    plaintext_links: bool = False
    data: str = ""
    """The data directory if it is not the default one: the `--data` that `portway token` needs."""
    https: str = ""
    """`host:port` of the TLS port; empty without one."""
    https_failure: str = ""
    """Why the default TLS port is not open, with its address; empty if it is, or is not wanted."""


@dataclass(frozen=True, slots=True)
class SessionUp:
    """An agent logged in."""

    session: str
    token: str
    """The token's name."""
    agent: str
    """The agent's version, as reported by it."""
    peer: str
    """`host:port` of the other end."""


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """A session's number of links changed. Not emitted for its first link, nor for the end of its last one."""

    session: str
    links: int


@dataclass(frozen=True, slots=True)
class SessionDown:
    """An agent's session ended."""

    session: str
    token: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseUp:
    """A claim was granted."""

    session: str
    tunnel: int
    kind: str
    """Protocol of the tunnel: `http`, `tcp` or `tls`."""
    url: str


@dataclass(frozen=True, slots=True)
class LeaseDown:
    """A name or port is free again, or held for an agent that has left on purpose."""

    tunnel: int
    url: str


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """A login was refused. In a flood one event stands for many and describes the last one."""

    peer: str
    code: str
    count: int = 1
    """How many since the last such event."""


@dataclass(frozen=True, slots=True)
class HandshakesFailed:
    """Connections to the agents' listener that ended before a login: mostly scanners. Emitted at most once a minute."""

    count: int
    """How many since the last such event."""
    peer: str
    """`host:port` of the last one."""
    reason: str
    """What was wrong with the last one."""


@dataclass(frozen=True, slots=True)
class VisitorsTurnedAway:
    """Visitors were rejected because the server was full. Emitted for the first one at once, then for all others every 10 seconds."""

    count: int
    """How many since the last such event."""
    visitors: int
    """Visitors connected now."""
    places: int
    """Capacity for visitors in total; a single tunnel may use a part (see `server/edge/admission.py`)."""
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
class SpeedTested:
    """An agent's speed test ended, completed or aborted."""

    session: str
    token: str
    """The token's name."""
    direction: str
    """`down`: the server sent; `up`: it received."""
    streams: int
    bytes: int
    """All bytes transferred, including those outside of the measured interval."""
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker process serves; it may replace one that is gone."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker process is gone; its agents reconnect to the others."""

    worker: int
    pid: int
    reason: str


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


@dataclass(frozen=True, slots=True)
class CertificateUp:
    """A certificate is ready for visitors: loaded, obtained or renewed."""

    source: str
    """`files`, `acme` or `dev`."""
    id: str
    """Identifies it within its source: its file, or its name."""
    names: tuple[str, ...]
    issuer: str
    not_after: float
    """When it expires; seconds since 1970."""
    next_attempt: float | None = None
    """When it will be renewed, if its source does that; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class CertificateOrdered:
    """An order began at a CA."""

    source: str
    id: str
    renewal: bool = False
    """Whether there is an earlier certificate."""


@dataclass(frozen=True, slots=True)
class CertificateFailed:
    """A certificate could not be loaded, obtained or renewed."""

    source: str
    id: str
    reason: str
    stays: bool = False
    """Whether an earlier one stays in use."""
    names: tuple[str, ...] = ()
    """If they are known."""
    next_attempt: float | None = None


@dataclass(frozen=True, slots=True)
class CertificateDown:
    """A certificate is no longer used."""

    source: str
    id: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The server stops: it accepts no new visitors and notifies agents."""

    reason: str


ServerEvent = (
    Listening
    | SessionUp
    | LinksChanged
    | SessionDown
    | LeaseUp
    | LeaseDown
    | LoginRefused
    | HandshakesFailed
    | VisitorsTurnedAway
    | ConnectionsShed
    | SpeedTested
    | RequestDone
    | RelayDone
    | WorkerUp
    | WorkerDown
    | CertificateUp
    | CertificateOrdered
    | CertificateFailed
    | CertificateDown
    | Stopping
)
"""Every event that a server emits."""

EventSink = Callable[[ServerEvent], None]
"""Receives every event; must not block."""
