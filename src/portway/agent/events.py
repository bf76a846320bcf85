"""The events that an agent emits while it runs, each a frozen value."""

from collections.abc import Callable
from dataclasses import dataclass, field

from portway.engine.tally import Flow


@dataclass(frozen=True, slots=True)
class Connecting:
    """The agent dials the server."""

    address: str
    """`host:port` of the server's agents' listener."""
    proxy: str = ""
    """URL of the proxy to the server, without credentials; empty without one."""


@dataclass(frozen=True, slots=True)
class Online:
    """The server accepted the login."""

    session: str
    server: str
    """The server's version."""
    rtt_s: float | None = None
    """Lowest round trip on the link so far; None before the first pong."""


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """The number of the session's links has changed; a session begins with one."""

    links: int
    draining: int
    """Links among them that accept no new visitors, and close after the last one."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The lowest recent round trip of the links has changed by at least a fifth."""

    rtt_s: float


@dataclass(frozen=True, slots=True)
class TunnelUp:
    """A claim was granted, so that visitors can connect. Emitted again after every reconnect."""

    tunnel: int
    url: str
    """The public URL: `http://app.localhost:8080`, `tcp://host:20001` or `https://app.localhost:8443`."""
    name: str
    """The name under the server's domain; empty for a tcp tunnel."""
    port: int
    """The public port of a tcp tunnel; 0 for others."""
    target: str
    """The origin as the user wrote it (`Target.text`)."""
    label: str = ""
    """The tunnel's name in the configuration file; empty without one."""


@dataclass(frozen=True, slots=True)
class TunnelsChanged:
    """The tunnels of a running agent were replaced, for example because its configuration file has changed. Lists labels."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One HTTP exchange ended, as observed by the server's edge."""

    method: str
    path: str
    """As the visitor sent it, including hostile bytes."""
    status: int
    seconds: float
    tunnel: int
    cut: str = ""
    """How the response was truncated; empty if it was complete."""


@dataclass(frozen=True, slots=True)
class RelayDone:
    """One connection to an origin ended. Those of http tunnels serve many requests, and are shown to programs only."""

    tunnel: int
    bytes_in: int
    """From the visitor to the origin."""
    bytes_out: int
    """From the origin to the visitor."""
    seconds: float
    reason: str
    """How it ended, for example `closed` or `origin refused`."""
    relay: str = ""
    """Random id in hex, also in the server's events for the same connection. Empty if that server sends none."""
    forward: Flow | None = None
    """From the visitor to the origin; None when it was never relayed."""
    backward: Flow | None = None
    """From the origin to the visitor."""
    kind: str = "tcp"
    """Kind of the tunnel: `tcp`, `tls` or `http`."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The session is lost; the agent reconnects by itself."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused permanently, or ended the session; the agent does not reconnect."""

    code: str
    reason: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class RequestsOmitted:
    """Request lines were omitted, because there were too many in a short time."""

    count: int


@dataclass(frozen=True, slots=True)
class InspectorUp:
    """The inspector's page and API can be used."""

    url: str
    page_url: str = field(default="", repr=False)
    """The same with the key, for terminals only; JSON lines leave it out."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A problem that the user may want to fix; the agent continues."""

    text: str


AgentEvent = (
    Connecting
    | Online
    | LinksChanged
    | RoundTrip
    | TunnelUp
    | TunnelsChanged
    | RequestLine
    | RelayDone
    | Offline
    | Refused
    | RequestsOmitted
    | InspectorUp
    | Notice
)
"""Every event that an agent emits."""

EventSink = Callable[[AgentEvent], None]
"""Receives events; must not block."""
