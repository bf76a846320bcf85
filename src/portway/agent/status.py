"""Tracks the state of an agent from its events, for `portway status`."""

import os
from collections.abc import Callable, Mapping
from typing import Literal, assert_never

import msgspec

from portway import __version__
from portway.agent.events import (
    AgentEvent,
    Connecting,
    InspectorUp,
    LinksChanged,
    Notice,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelsChanged,
    TunnelUp,
)

State = Literal["connecting", "online", "offline", "refused"]


class TunnelStatus(msgspec.Struct):
    """One tunnel of an agent, with its counts."""

    url: str
    target: str
    label: str = ""
    """Its name in the configuration file; empty without one."""
    requests: int = 0
    relays: int = 0
    bytes_in: int = 0
    """From visitors."""
    bytes_out: int = 0


class AgentStatus(msgspec.Struct, tag_field="program", tag="agent"):
    """One running agent, as reported by its status socket."""

    pid: int
    version: str
    state: State
    since: float
    """When this state began; seconds since 1970."""
    server: str
    """`host:port` that it dials."""
    server_version: str = ""
    session: str = ""
    rtt_s: float | None = None
    """Lowest round trip of the links in the last 30 s; None before the first pong."""
    links: int = 0
    """Number of links to the server."""
    links_draining: int = 0
    """Links among them that close after their last visitor."""
    problem: str = ""
    """Why it was last offline or refused."""
    tunnels: list[TunnelStatus] = []
    inspector: str = ""
    """Address of the inspector; empty without one."""
    missed: int = 0
    """Requests without a request line, because there were too many in a short time."""


class AgentStatusTracker:
    """Receives all events and returns the current status. Synchronous; its memory is bounded by the number of tunnels."""

    def __init__(self, server: str, clock: Callable[[], float]) -> None:
        """`server` is the address to dial, `clock` is `clock.wall`."""
        self._clock = clock
        self.moved: Callable[[], Mapping[int, tuple[int, int]]] = dict
        """Returns the bytes of running connections by tunnel id (`Origins.moved`)."""
        self._tunnels: dict[int, TunnelStatus] = {}
        self._previous: dict[tuple[str, str], TunnelStatus] = {}
        self._status = AgentStatus(os.getpid(), __version__, "connecting", clock(), server, tunnels=[])

    def to_json(self) -> bytes:
        """Return the status as JSON."""
        self._status.tunnels = [self._with_running(number, tunnel) for number, tunnel in self._tunnels.items()]
        return msgspec.json.encode(self._status)

    def _with_running(self, number: int, tunnel: TunnelStatus) -> TunnelStatus:
        inbound, outbound = self.moved().get(number, (0, 0))
        return msgspec.structs.replace(tunnel, bytes_in=tunnel.bytes_in + inbound, bytes_out=tunnel.bytes_out + outbound)

    def __call__(self, event: AgentEvent) -> None:
        """Update the status by one event."""
        status = self._status
        match event:
            case Connecting(address):
                status.server = address
            case Online(session, server, rtt_s):
                self._enter("online")
                self._previous = {(tunnel.url, tunnel.target): tunnel for tunnel in self._tunnels.values()}
                self._tunnels.clear()
                status.session, status.server_version, status.rtt_s, status.problem = session, server, rtt_s, ""
                status.links, status.links_draining = 1, 0
            case LinksChanged() | RoundTrip():
                self._links_measured(event)
            case TunnelUp():
                self._tunnel_up(event)
            case TunnelsChanged(_, changed, removed):
                gone = {*changed, *removed}
                self._tunnels = {number: tunnel for number, tunnel in self._tunnels.items() if tunnel.label not in gone}
            case RequestLine():
                if event.tunnel in self._tunnels:
                    self._tunnels[event.tunnel].requests += 1
            case RelayDone():
                self._relay_done(event)
            case Offline(reason):
                self._enter("offline")
                status.problem = reason
            case Refused(_, reason):
                self._enter("refused")
                status.problem = reason
            case RequestsOmitted() | InspectorUp() | Notice():
                self._note(event)
            case _:
                assert_never(event)

    def _note(self, event: RequestsOmitted | InspectorUp | Notice) -> None:
        if isinstance(event, InspectorUp):
            self._status.inspector = event.url
        elif isinstance(event, RequestsOmitted):  # a notice is for the console
            self._status.missed += event.count

    def _links_measured(self, event: LinksChanged | RoundTrip) -> None:
        if isinstance(event, RoundTrip):
            self._status.rtt_s = event.rtt_s
        else:
            self._status.links, self._status.links_draining = event.links, event.draining

    def _enter(self, state: State) -> None:
        if self._status.state != state:
            self._status.state, self._status.since = state, self._clock()
            self._status.links = self._status.links_draining = 0

    def _tunnel_up(self, event: TunnelUp) -> None:
        """Add a tunnel; after a reconnect it has a new id, and keeps its counts if its URL is the same."""
        known = self._previous.pop((event.url, event.target), None)
        self._tunnels[event.tunnel] = known or TunnelStatus(event.url, event.target, event.label)

    def _relay_done(self, event: RelayDone) -> None:
        tunnel = self._tunnels.get(event.tunnel)
        if tunnel is not None:
            tunnel.relays += event.kind != "http"  # for http tunnels, requests are counted
            tunnel.bytes_in += event.bytes_in
            tunnel.bytes_out += event.bytes_out
