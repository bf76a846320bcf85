"""What a server tells whoever runs it; every event is one frozen value."""

from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.tally import Flow


@dataclass(frozen=True, slots=True)
class Listening:
    """Every listener stands, and agents can log in. Said once."""

    http: str
    """`host:port` with the real port, also where the settings asked for 0."""
    agents: str
    advertised: str
    """What join strings say."""
    tcp_ports: str
    domain: str
    plaintext_links: bool = False
    data: str = ""
    """The data directory where it is not the usual one: what `--data` has to be for `portway token`."""


@dataclass(frozen=True, slots=True)
class SessionUp:
    """An agent logged in."""

    session: str
    token: str
    """The token's name."""
    agent: str
    """The agent's version, as it says."""
    peer: str
    """`host:port` of the other end."""


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """A session has more links than one, or fewer again. Not told of its first link, nor of its last one's end."""

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
    url: str


@dataclass(frozen=True, slots=True)
class LeaseDown:
    """A name or port is nobody's any more, or held for an agent that has left on purpose."""

    tunnel: int
    url: str


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """Somebody tried to log in and may not. In a flood only the last one is told, with their number."""

    peer: str
    code: str
    count: int = 1
    """How many, since this was last told."""


@dataclass(frozen=True, slots=True)
class HandshakesFailed:
    """Connections to the agents' listener that did not get as far as a login: scanners, mostly. Told once a minute."""

    count: int
    """How many, since this was last told."""
    peer: str
    """`host:port` of the last one."""
    reason: str
    """What was wrong with the last one."""


@dataclass(frozen=True, slots=True)
class VisitorsTurnedAway:
    """There was no place for some visitors. Told of the first at once, then of all others every 10 seconds."""

    count: int
    """How many, since this was last told."""
    visitors: int
    """Who is here now."""
    places: int
    """For visitors, in all; fewer for each tunnel (see `server/edge/admission.py`)."""
    last: str
    """Where the last one came: `http`, or `tcp port 20001`."""


@dataclass(frozen=True, slots=True)
class ConnectionsShed:
    """Connections that did least were ended to make room for newcomers. Told of the first at once, then of all others every 10 seconds."""

    count: int
    """How many, since this was last told."""
    visitors: int
    """Who is here now."""
    places: int
    """For visitors, in all."""
    last: str
    """Where the last newcomer came: `http`, or `tcp port 20001`."""


@dataclass(frozen=True, slots=True)
class SpeedTested:
    """An agent's speed test is over; also told when it broke off."""

    session: str
    token: str
    """The token's name."""
    direction: str
    """`down`: the server sent; `up`: it received."""
    streams: int
    bytes: int
    """All that went through, what did not count included."""
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker process serves, beside others or in place of one that is gone."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker process is gone, and its agents come back to the others."""

    worker: int
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class RequestDone:
    """A request to an http tunnel and its answer are over. Told to programs only: to people it would be noise."""

    relay: str
    """Random, in hex; the agent's line about that connection to the origin has it too, which may serve many requests. It
    says nothing else."""
    tunnel: int
    method: str
    status: int
    """Of the answer, the server's own included; 499: the visitor left before."""
    forward: Flow
    """The request's body."""
    backward: Flow
    """The answer's body, where it is the origin's."""
    why: str = ""
    """Where this server ended it: what for, if nothing else the code of its answer."""
    visitor: str | None = None
    """His address, where the operator asked for it (`log_visitors`)."""


@dataclass(frozen=True, slots=True)
class RelayDone:
    """A visitor's connection to a tcp tunnel, or an upgraded one (a WebSocket), ended. Told to programs only: to people it would be noise."""

    relay: str
    """Random, in hex; the agent's line about the same visitor has it too. It says nothing else."""
    tunnel: int
    port: int
    """The public one; 0: an upgraded connection of an http tunnel."""
    forward: Flow
    """From the visitor to the origin."""
    backward: Flow
    """From the origin to the visitor."""
    why: str = ""
    """Where this server broke it off: what for."""
    visitor: str | None = None
    """His address, where the operator asked for it (`log_visitors`)."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The server ends: no new visitors, agents are told."""

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
    | Stopping
)
"""Every event that a server emits."""

EventSink = Callable[[ServerEvent], None]
"""Receives every event; must not block."""
