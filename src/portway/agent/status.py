"""Remembers how an agent is, from its events, for `portway status`."""

import os
from collections.abc import Callable, Mapping
from typing import Literal, assert_never

import msgspec

from portway import __version__
from portway.agent.events import (
    AgentEvent,
    Connecting,
    LinksChanged,
    Notice,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelUp,
)

State = Literal["connecting", "online", "offline", "refused"]


class TunnelStatus(msgspec.Struct):
    """One tunnel of an agent and what went through it."""

    url: str
    target: str
    requests: int = 0
    relays: int = 0
    bytes_in: int = 0
    """From visitors."""
    bytes_out: int = 0


class AgentStatus(msgspec.Struct, tag_field="program", tag="agent"):
    """One running agent, as its status socket tells."""

    pid: int
    version: str
    state: State
    since: float
    """When it came into this state; seconds since 1970."""
    server: str
    """`host:port` that it dials."""
    server_version: str = ""
    session: str = ""
    rtt_s: float | None = None
    """Lowest round trip of the link in the last 30 s; None before the first ping came back."""
    links: int = 0
    """Links that it has with the server."""
    links_draining: int = 0
    """Links among them that wait for their last visitor to leave."""
    problem: str = ""
    """Why it was last offline or refused."""
    tunnels: list[TunnelStatus] = []
    missed: int = 0
    """Requests that were not told one by one."""


class AgentStatusTracker:
    """Takes every event in, and gives the whole picture out. Synchronous, bounded by the number of tunnels."""

    def __init__(self, server: str, clock: Callable[[], float]) -> None:
        """`server` is the address to dial, `clock` is `clock.wall`."""
        self._clock = clock
        self.moved: Callable[[], Mapping[int, tuple[int, int]]] = dict
        """Bytes of running connections by tunnel id (`Origins.moved`), while there are any."""
        self._tunnels: dict[int, TunnelStatus] = {}
        self._before: dict[tuple[str, str], TunnelStatus] = {}
        self._status = AgentStatus(os.getpid(), __version__, "connecting", clock(), server, tunnels=[])

    def document(self) -> bytes:
        """Return the picture as JSON."""
        self._status.tunnels = [self._with_running(number, tunnel) for number, tunnel in self._tunnels.items()]
        return msgspec.json.encode(self._status)

    def _with_running(self, number: int, tunnel: TunnelStatus) -> TunnelStatus:
        there, back = self.moved().get(number, (0, 0))
        return msgspec.structs.replace(tunnel, bytes_in=tunnel.bytes_in + there, bytes_out=tunnel.bytes_out + back)

    def __call__(self, event: AgentEvent) -> None:
        """Take one event in."""
        status = self._status
        match event:
            case Connecting(address):
                status.server = address
            case Online(session, server, rtt_s):
                self._enter("online")
                self._before = {(tunnel.url, tunnel.target): tunnel for tunnel in self._tunnels.values()}
                self._tunnels.clear()
                status.session, status.server_version, status.rtt_s, status.problem = session, server, rtt_s, ""
                status.links, status.links_draining = 1, 0
            case LinksChanged(links, draining):
                status.links, status.links_draining = links, draining
            case RoundTrip(rtt_s):
                status.rtt_s = rtt_s
            case TunnelUp():
                self._tunnel_up(event)
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
            case RequestsOmitted() | Notice():
                status.missed += event.count if isinstance(event, RequestsOmitted) else 0  # a notice is for the console
            case _:
                assert_never(event)

    def _enter(self, state: State) -> None:
        if self._status.state != state:
            self._status.state, self._status.since = state, self._clock()
            self._status.links = self._status.links_draining = 0

    def _tunnel_up(self, event: TunnelUp) -> None:
        """Note a tunnel; after a reconnect it has a new id, and its counts go on if its URL is the same."""
        known = self._before.pop((event.url, event.target), None)
        self._tunnels[event.tunnel] = known or TunnelStatus(event.url, event.target)

    def _relay_done(self, event: RelayDone) -> None:
        tunnel = self._tunnels.get(event.tunnel)
        if tunnel is not None:
            tunnel.relays += event.kind == "tcp"  # of http, requests are counted
            tunnel.bytes_in += event.bytes_in
            tunnel.bytes_out += event.bytes_out
