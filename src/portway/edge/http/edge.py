"""The HTTP edge: accepts visitors, routes hosts, and owns what connections share."""

import secrets
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from portway.clock import Clock, wall
from portway.edge.admission import HTTP_FREE_RATIO, AdmissionControl, CapacityShare
from portway.edge.client_certificate import VerifiedClient
from portway.edge.connection_state import SheddableConnection
from portway.edge.events import RelayDone
from portway.edge.handoff import HANDOFFS_MAX, HandOff, HandoffState
from portway.edge.holds import Holds
from portway.edge.http.access_control import AccessControl
from portway.edge.http.byte_budget import ByteBudget
from portway.edge.http.deadlines import Deadlines
from portway.edge.http.exchange.upgrade_relay import WebSocketUpgrade
from portway.edge.http.interfaces import OnFinished, ServedVisitor
from portway.edge.http.origin.pool import OriginPools
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.http.visitor.lingering_close import LingeringClose
from portway.edge.http.visitor.overload import OverloadResponder
from portway.edge.http.visitor.relayed import UpgradedConnection
from portway.edge.lease import Kind, Lease
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.listener import RESETS_INHERITED
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.links.source_accounts import SourceAccounts
from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.fields import Field
from portway.protocol.http1.forwarding import forwarded_fields
from portway.protocol.http1.trusted_proxies import Hops, TrustedProxies
from portway.protocol.names import normalise_host
from portway.protocol.proxy_header import UNIQUE_ID_BYTES, ProxyHeader

CACHED_HOSTS_MAX = 4096
"""Host values whose normal form is cached; at most 260 bytes each, so about 2 MiB. Only hosts with a lease are cached: guesses
of scanners cannot evict them."""

LOOP_PREFIX = "portway-"
"""Prefix of a server's id in CDN-Loop, so that people can see what wrote it."""


class Routes(Protocol):
    """The part of the registry that the edge uses."""

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of a public address."""


class HttpEdge:
    """Serves visitors of every http tunnel, on one reactor, without coroutines."""

    def __init__(  # noqa: PLR0913 - everything an edge works with, wired in core.py
        self,
        reactor: Reactor,
        routes: Routes,
        settings: HttpEdgeSettings | None = None,
        admission: AdmissionControl | None = None,
        *,
        hand_off: HandOff | None = None,
        scheme: str = "http",
        clock: Clock = wall,
        on_finished: OnFinished | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        server_id: str = "",
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Route by `routes`; `admission` is shared with other edges; `scheme` and the time of `clock` are passed to origins.
        `server_id` is the same in all processes of one server, and random by default. `proxies` decides which proxies' forwarding fields
        are read.

        `on_finished` is called for every finished request and upgraded connection; then streams get ids of `random_bytes`.
        """
        self.reactor = reactor
        self.settings = settings or HttpEdgeSettings()
        self.wall = clock
        self.hand_off = hand_off
        self.on_finished = on_finished
        own_id = LOOP_PREFIX + (server_id or secrets.token_hex(8))
        arguments = (self.settings.request_limits, own_id, self.settings.via, self.settings.trusted_headers)
        self.rules = FieldRules(*arguments)
        self._proxies = proxies
        self._proxy_rules = self.rules if proxies is None else FieldRules(*arguments, proxies)
        self.holds = Holds(self.settings.held_max)
        self.heads = ByteBudget(reactor, self.settings.heads_bytes_max)
        self.unread = ByteBudget(reactor, self.settings.unread_bytes_max)
        self._routes = routes
        self._scheme = scheme
        self._cached_hosts: dict[bytes, str] = {}
        self._deadlines = Deadlines(reactor)
        self._visitors: dict[ServedVisitor, None] = {}
        self._by_server_name: dict[str, dict[ServedVisitor, None]] = {}
        self._relays: dict[Relay, UpgradedConnection] = {}
        self._lingering: dict[LingeringClose, None] = {}
        admission = admission or AdmissionControl(reactor)
        admission.add_counter(lambda: self.visitors)
        self._share = CapacityShare(
            admission, scheme, self._connections, lambda: self.visitors, free_ratio=HTTP_FREE_RATIO, limit=self.settings.visitors_max
        )
        self._overload = OverloadResponder(reactor, admission.overload_responses_max, self.settings.overload_response_s)
        new_id = None if on_finished is None else partial(random_bytes, UNIQUE_ID_BYTES)
        self.sources = SourceAccounts(reactor.authenticated)
        self.access = AccessControl(reactor)
        self.pools = OriginPools(reactor, self.settings, self._deadlines.watch, self._deadlines.forget, new_id)

    @property
    def visitors(self) -> int:
        """Number of visitors connected, with lingering and upgraded connections."""
        return len(self._visitors) + len(self._lingering) + len(self._relays)

    @property
    def held(self) -> int:
        """Number of visitors that wait for an agent."""
        return len(self.holds)

    @property
    def busy(self) -> int:
        """Number of visitors with a request or relay in progress, for which a stopping server waits."""
        return sum(visitor.busy for visitor in self._visitors) + len(self._relays)

    def accept(self, sock: socket.socket, address: tuple[str, int], header: ProxyHeader | None = None) -> None:
        """Serve a connected, non-blocking socket (a listener's `on_accept`); `header` is the PROXY header that it began with."""
        if self._share.admits(sock, address[0]):
            scheme = "" if header is None else "https" if header.encrypted else self.settings.proxied_scheme
            self.serve(SocketChannel(self.reactor, sock, resets=RESETS_INHERITED), address, scheme)
        else:
            self._overload.respond(sock, address[0])

    def accept_handoff(self, sock: socket.socket, state: HandoffState) -> None:
        """Serve a visitor handed off by another worker, with the bytes that were read there."""
        if self._share.admits(sock, state.address[0]):
            channel = SocketChannel(self.reactor, sock, resets=RESETS_INHERITED)
            channel.mark_drained()  # otherwise every connection would be closed lingeringly, as if input were expected
            visitor = self.serve(channel, state.address, state.scheme)
            visitor.reader.buffered, visitor.handoffs = state.buffered, state.handoffs
        else:
            self._overload.respond(sock, state.address[0])

    def admits(self, sock: socket.socket, host: str) -> bool:
        """Return whether a visitor from `host` on `sock` is admitted; count it if not."""
        return self._share.admits(sock, host)

    def serve(
        self,
        channel: Channel,
        address: tuple[str, int],
        scheme: str = "",
        server_name: str = "",
        client: VerifiedClient | None = None,
    ) -> VisitorConnection:
        """Serve a channel of any kind; `address` is the peer's, `scheme` the one that origins are given, by default this edge's.

        `server_name` is the normalised name for which the connection was decrypted: requests for other hosts get 421 (RFC 9110
        section 7.4), as its certificate is for that name, and a client that reuses connections may have sent them by mistake. `client`
        is the visitor's own certificate.
        """
        visitor = self._make_connection(channel, address[0], scheme or self._scheme, server_name, client)
        self._visitors[visitor] = None
        if server_name:
            self._by_server_name.setdefault(server_name, {})[visitor] = None
        self._deadlines.watch(visitor)
        return visitor

    def _make_connection(
        self, channel: Channel, address: str, scheme: str, server_name: str, client: VerifiedClient | None
    ) -> VisitorConnection:
        """Return the connection of a new visitor."""
        return VisitorConnection(self, channel, address, scheme, server_name, client)

    def hand_off_visitor(self, visitor: ServedVisitor, lease: Lease, address: str, buffered: bytes) -> bool:
        """Hand a visitor off to the worker that serves `lease`, and forget it here; return whether that was possible."""
        state = HandoffState((address, 0), buffered, visitor.handoffs + 1, visitor.scheme)
        if self.hand_off is None or state.handoffs > HANDOFFS_MAX or not self.hand_off(lease, visitor.channel, state):
            return False
        self.forget(visitor)
        return True

    def close_idle(self, server_name: str) -> None:
        """Close the idle connections that were decrypted for `server_name`, which another process serves now: they cannot be handed
        off, and would get 421 for the next request. New ones reach that process.
        """
        for visitor in list(self._by_server_name.get(server_name, ())):
            visitor.close_idle()

    def close(self) -> None:
        """Break all visitors' connections and close all streams."""
        for visitor in list(self._visitors):
            visitor.abort()
        for linger in list(self._lingering):
            linger.abort()
        for relay in list(self._relays):
            relay.abort("the server is stopping")
        self._overload.close()
        self.access.close()
        self.pools.close()
        self._deadlines.close()

    def route(self, host: bytes) -> tuple[str, Lease | None]:
        """Return the normalised host of a Host value, and its lease.

        Raises:
            PeerError: invalid host.
        """
        known = self._cached_hosts.get(host)
        if known is not None:
            return known, self._routes.lookup("http", known)
        name = normalise_host(host)
        lease = self._routes.lookup("http", name)
        if lease is not None:
            if len(self._cached_hosts) >= CACHED_HOSTS_MAX:
                self._cached_hosts.clear()
            self._cached_hosts[host] = name
        return name, lease

    def rules_for(self, peer: str) -> FieldRules:
        """Return the field rules of a connection from `peer`."""
        return self._proxy_rules if self._proxies is not None and peer in self._proxies.trusted else self.rules

    def forwarded(self, peer: str, host: bytes, scheme: str, hops: Hops | None) -> list[Field]:
        """Return the forwarding fields of a request for `host` from `peer`; `hops` is what a trusted proxy reported."""
        if hops is None:
            return forwarded_fields((peer,), host, scheme)
        return forwarded_fields((*hops.addresses, peer), hops.host or host, hops.scheme or scheme, hops.port)

    def forget(self, visitor: ServedVisitor) -> None:
        """Release everything that belongs to a visitor."""
        if visitor.shaper is not None:
            visitor.shaper.release()
        if visitor.counted:
            visitor.clear_counts()
        if visitor.pin is not None:
            visitor.pin.release()
        self._visitors.pop(visitor, None)
        if visitor.server_name:
            self._forget_server_name(visitor)
        self._deadlines.forget(visitor)

    def _forget_server_name(self, visitor: ServedVisitor) -> None:
        same_name = self._by_server_name.get(visitor.server_name, {})
        same_name.pop(visitor, None)
        if not same_name:
            self._by_server_name.pop(visitor.server_name, None)

    def linger(self, channel: Channel, address: str) -> None:
        """Close the channel of a visitor from `address` so that sent bytes arrive."""
        LingeringClose(self.reactor, channel, address, self.settings.linger_s, self._lingering, self.settings.linger_quiet_s)

    def _connections(self) -> Iterator[SheddableConnection]:
        yield from self._visitors
        yield from self._lingering
        yield from self._relays.values()

    def start_relay(
        self, address: str, scheme: str, channel: Channel, pending: tuple[bytes, bytes], stream: OriginStream, scopes: Scopes
    ) -> None:
        """Relay between a visitor's channel and a stream: the connection was upgraded."""
        upgrade = WebSocketUpgrade(self.reactor, channel, stream, self._on_relay_done, scopes)
        self._relays[upgrade.relay] = UpgradedConnection(upgrade.relay, stream, address, scheme)
        to_origin, to_visitor = pending
        upgrade.start(to_origin, to_visitor + stream.reader.buffered)

    def _on_relay_done(self, relay: Relay) -> None:
        ended = self._relays.pop(relay, None)
        if self.on_finished is not None and ended is not None:
            tally, visitor = relay.tally, ended.address if self.settings.log_visitors else None
            flows = tally.forward, tally.backward
            self.on_finished(RelayDone(ended.relay_id, ended.tunnel_id, 0, *flows, tally.why, visitor, ended.scheme))
