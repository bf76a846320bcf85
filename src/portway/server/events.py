"""Events that a server emits; each is a frozen dataclass."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.certificates.events import CertificateDown, CertificateFailed, CertificateOrdered, CertificateUp
from portway.edge.events import ConnectionsShed, RelayDone, RequestDone, VisitorsTurnedAway


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
