"""What an agent tells its console while it runs; every event is one frozen value."""

from dataclasses import dataclass

from portway.engine.tally import Flow


@dataclass(frozen=True, slots=True)
class Connecting:
    """The agent dials the server."""

    address: str
    """`host:port` of the server's agents' listener."""


@dataclass(frozen=True, slots=True)
class Online:
    """The server accepted the login and answers on the control stream."""

    session: str
    server: str
    """The server's version."""
    rtt_s: float | None = None
    """Lowest round trip seen on the link so far; None before the first answer."""


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """The session has more links than one, or fewer again; a session begins with one."""

    links: int
    draining: int
    """Links among them that take no new visitors, and close once the last one there has left."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The lowest recent round trip of the link has changed, by a fifth at least."""

    rtt_s: float


@dataclass(frozen=True, slots=True)
class TunnelUp:
    """A claim was granted; visitors can come. Said again after every reconnect."""

    tunnel: int
    url: str
    """What a visitor opens: `http://app.localhost:8080` or `tcp://host:20001`."""
    name: str
    """The name under the server's domain; empty for a tcp tunnel."""
    port: int
    """The public port of a tcp tunnel; 0 for an http tunnel."""
    target: str
    """The origin in the user's words (`Target.text`)."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One HTTP exchange ended, as the server's edge saw it."""

    method: str
    path: str
    """As the visitor sent it: hostile bytes included."""
    status: int
    seconds: float
    tunnel: int
    cut: str = ""
    """How the answer broke off; empty where it was whole."""


@dataclass(frozen=True, slots=True)
class RelayDone:
    """One connection to an origin ended. Those of http tunnels serve one request after the other, and are told to programs only."""

    tunnel: int
    bytes_in: int
    """From the visitor to the origin."""
    bytes_out: int
    """From the origin to the visitor."""
    seconds: float
    reason: str
    """How it ended, for example `closed` or `origin refused`."""
    relay: str = ""
    """Random, in hex; the server's lines about the same connection have it too. Empty where that server tells nobody."""
    forward: Flow | None = None
    """From the visitor to the origin; None when it was never relayed."""
    backward: Flow | None = None
    """From the origin to the visitor."""
    kind: str = "tcp"
    """The tunnel's: `tcp` or `http`."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The session is lost; the agent comes back by itself."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no, or ended the session for good; the agent does not come back by itself."""

    code: str
    reason: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class RequestsOmitted:
    """Some request lines were left out, because they came faster than they could be told."""

    count: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user may want to change; the agent goes on."""

    text: str


AgentEvent = (
    Connecting | Online | LinksChanged | RoundTrip | TunnelUp | RequestLine | RelayDone | Offline | Refused | RequestsOmitted | Notice
)
"""Every event that an agent can tell."""
