"""The HTTP edge: takes visitors, and knows what they share."""

import secrets
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from portway.clock import Clock, wall
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.listener import RESETS_INHERITED
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.fields import Field
from portway.protocol.http1.forwarding import forwarded_fields
from portway.protocol.http1.trusted_proxies import Hops, TrustedProxies
from portway.protocol.names import normalise_host
from portway.protocol.proxy_header import UNIQUE_ID_BYTES, ProxyHeader
from portway.server.edge.admission import HTTP_FREE_RATIO, AdmissionControl, CapacityShare
from portway.server.edge.connection_state import SheddableConnection
from portway.server.edge.handoff import HOPS_MAX, HandOff, HandoffState
from portway.server.edge.holds import Holds
from portway.server.edge.http.byte_budget import ByteBudget
from portway.server.edge.http.deadlines import Deadlines
from portway.server.edge.http.exchange.upgrade import WebSocketUpgrade
from portway.server.edge.http.interfaces import OnFinished
from portway.server.edge.http.origin.pool import OriginPools
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.edge.http.visitor.connection import VisitorConnection
from portway.server.edge.http.visitor.lingering_close import LingeringClose
from portway.server.edge.http.visitor.overload import OverloadResponder
from portway.server.edge.http.visitor.upgraded import UpgradedConnection
from portway.server.events import RelayDone
from portway.server.tunnels.lease import Kind, Lease

HOSTS_KNOWN_MAX = 4096
"""Host values whose normal form is remembered; each at most 260 bytes, so about 2 MiB. Only hosts that somebody serves
get in: guesses of scanners cannot push them out."""

LOOP_PREFIX = "portway-"
"""Before a server's id in CDN-Loop, so that people can tell what wrote it."""


class Routes(Protocol):
    """What the edge asks the registry."""

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return who has a public address."""


class HttpEdge:
    """Serves visitors of every http tunnel, on one reactor, without a coroutine."""

    def __init__(  # noqa: PLR0913 - all that an edge works with, wired in app.py
        self,
        reactor: Reactor,
        routes: Routes,
        settings: HttpEdgeSettings | None = None,
        admission: AdmissionControl | None = None,
        *,
        hand_off: HandOff | None = None,
        scheme: str = "http",
        clock: Clock = wall,
        on_done: OnFinished | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        server_id: str = "",
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Route by `routes`; `admission` is shared with other edges; `scheme` is what origins are told, `clock` tells them when.
        `server_id` is what all processes of one server have in common; a random one if there is none. `proxies` says which proxies'
        forwarding fields are read.

        `on_done` is told of every request and upgraded connection that is over; streams get ids of `random_bytes` then.
        """
        self.reactor = reactor
        self.settings = settings or HttpEdgeSettings()
        self.wall = clock
        self.hand_off = hand_off
        self.on_done = on_done
        own_id = LOOP_PREFIX + (server_id or secrets.token_hex(8))
        about = (self.settings.request_limits, own_id, self.settings.via, self.settings.trusted_headers)
        self.rules = FieldRules(*about)
        self._proxies = proxies
        self._proxy_rules = self.rules if proxies is None else FieldRules(*about, proxies)
        self.holds = Holds(self.settings.held_max)
        self.heads = ByteBudget(reactor, self.settings.heads_bytes_max)
        self.unread = ByteBudget(reactor, self.settings.unread_bytes_max)
        self._routes = routes
        self._scheme = scheme
        self._known_hosts: dict[bytes, str] = {}
        self._deadlines = Deadlines(reactor)
        self._visitors: dict[VisitorConnection, None] = {}
        self._relays: dict[Relay, UpgradedConnection] = {}
        self._lingering: dict[LingeringClose, None] = {}
        admission = admission or AdmissionControl(reactor)
        admission.count(lambda: self.visitors)
        self._share = CapacityShare(
            admission, scheme, self._members, lambda: self.visitors, times=HTTP_FREE_RATIO, most=self.settings.visitors_max
        )
        self._apologies = OverloadResponder(reactor, admission.apologies_max, self.settings.apology_s)
        new_id = None if on_done is None else partial(random_bytes, UNIQUE_ID_BYTES)
        self.pools = OriginPools(reactor, self.settings, self._deadlines.watch, self._deadlines.forget, new_id)

    @property
    def visitors(self) -> int:
        """How many visitors are connected, with those that are closing and those that were upgraded."""
        return len(self._visitors) + len(self._lingering) + len(self._relays)

    @property
    def held(self) -> int:
        """How many visitors wait for an agent."""
        return len(self.holds)

    @property
    def busy(self) -> int:
        """How many visitors are in the middle of something: what a server that stops waits for."""
        return sum(visitor.busy for visitor in self._visitors) + len(self._relays)

    def accept(self, sock: socket.socket, address: tuple[str, int], header: ProxyHeader | None = None) -> None:
        """Serve a connected, non-blocking socket (a listener's `on_accept`); `header` is the PROXY header that it began with."""
        if self._share.admits(sock, address[0]):
            scheme = "" if header is None else "https" if header.encrypted else self.settings.proxied_scheme
            self.serve(SocketChannel(self.reactor, sock, resets=RESETS_INHERITED), address, scheme)
        else:
            self._apologies.say(sock, address[0])

    def take(self, sock: socket.socket, journey: HandoffState) -> None:
        """Serve a visitor whom another worker passed on, with what it read of his request."""
        if self._share.admits(sock, journey.address[0]):
            channel = SocketChannel(self.reactor, sock, resets=RESETS_INHERITED)
            channel.mark_drained()  # else each would be lingered for, as one who may have more to say
            visitor = self.serve(channel, journey.address, journey.scheme)
            visitor.inlet.held, visitor.hops = journey.read, journey.hops
        else:
            self._apologies.say(sock, journey.address[0])

    def serve(self, channel: Channel, address: tuple[str, int], scheme: str = "") -> VisitorConnection:
        """Serve a channel, of whatever kind; `address` is where it comes from, `scheme` what origins are told if it is not this edge's."""
        visitor = VisitorConnection(self, channel, address[0], scheme or self._scheme)
        self._visitors[visitor] = None
        self._deadlines.watch(visitor)
        return visitor

    def handed_off(self, visitor: VisitorConnection, lease: Lease, address: str, read: bytes) -> bool:
        """Hand a visitor to the worker that serves `lease`, and forget him here; False when that cannot be done."""
        journey = HandoffState((address, 0), read, visitor.hops + 1, visitor.scheme)
        if self.hand_off is None or journey.hops > HOPS_MAX or not self.hand_off(lease, visitor.channel, journey):
            return False
        self.left(visitor)
        return True

    def close(self) -> None:
        """Break all visitors' connections and let go of all streams."""
        for visitor in list(self._visitors):
            visitor.abort()
        for linger in list(self._lingering):
            linger.abort()
        for relay in list(self._relays):
            relay.abort("the server stops")
        self._apologies.close()
        self.pools.close()
        self._deadlines.close()

    def route(self, host: bytes) -> tuple[str, Lease | None]:
        """Return the host that a Host value names, normalised, and who has it.

        Raises:
            PeerError: it is no host.
        """
        known = self._known_hosts.get(host)
        if known is not None:
            return known, self._routes.lookup("http", known)
        name = normalise_host(host)
        lease = self._routes.lookup("http", name)
        if lease is not None:
            if len(self._known_hosts) >= HOSTS_KNOWN_MAX:
                self._known_hosts.clear()
            self._known_hosts[host] = name
        return name, lease

    def rules_for(self, peer: str) -> FieldRules:
        """Return the field rules of a connection from `peer`."""
        return self._proxy_rules if self._proxies is not None and peer in self._proxies.trusted else self.rules

    def forwarded(self, peer: str, host: bytes, scheme: str, hops: Hops | None) -> list[Field]:
        """Return the forwarding fields of a request for `host` that came from `peer`; `hops` is what that proxy reported."""
        if hops is None:
            return forwarded_fields((peer,), host, scheme)
        return forwarded_fields((*hops.addresses, peer), hops.host or host, hops.scheme or scheme, hops.port)

    def left(self, visitor: VisitorConnection) -> None:
        """Forget a visitor."""
        if visitor.shaping is not None:
            visitor.shaping.let_go()
        if visitor.counted:
            visitor.uncount()
        if visitor.pin is not None:
            visitor.pin.let_go()
        self._visitors.pop(visitor, None)
        self._deadlines.forget(visitor)

    def linger(self, channel: Channel, address: str) -> None:
        """Close the channel of a visitor from `address` so that what was sent arrives."""
        LingeringClose(self.reactor, channel, address, self.settings.linger_s, self._lingering, self.settings.linger_quiet_s)

    def _members(self) -> Iterator[SheddableConnection]:
        yield from self._visitors
        yield from self._lingering
        yield from self._relays.values()

    def join(self, address: str, channel: Channel, pending: tuple[bytes, bytes], stream: OriginStream, scopes: Scopes) -> None:
        """Relay between a visitor's channel and a stream from now on: the connection was upgraded."""
        handover = WebSocketUpgrade(self.reactor, channel, stream, self._relay_done, scopes)
        self._relays[handover.relay] = UpgradedConnection(handover.relay, stream, address)
        to_origin, to_visitor = pending
        handover.start(to_origin, to_visitor + stream.inlet.held)

    def _relay_done(self, relay: Relay) -> None:
        over = self._relays.pop(relay, None)
        if self.on_done is not None and over is not None:
            tally, visitor = relay.tally, over.address if self.settings.tell_visitors else None
            self.on_done(RelayDone(over.relay_id, over.tunnel_id, 0, tally.forward, tally.backward, tally.why, visitor))
