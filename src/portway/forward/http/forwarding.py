"""Plain HTTP forwarding: the edge's machinery with targets in place of tunnels (ADR 0036)."""

from typing import TYPE_CHECKING, cast

from portway.edge.client_certificate import VerifiedClient
from portway.edge.events import RelayDone, RequestDone
from portway.edge.http.edge import HttpEdge
from portway.edge.http.interfaces import ServedVisitor
from portway.edge.http.origin.pool import TunnelPool
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.http.visitor.relayed import UpgradedConnection
from portway.edge.lease import Kind, Lease
from portway.engine.channel import Channel
from portway.engine.limits import Scopes
from portway.engine.listener import Address
from portway.engine.relay import Relay
from portway.engine.tally import Flow
from portway.forward.events import ClientDone
from portway.forward.http.client_connection import HttpClientConnection
from portway.forward.http.targets import TargetHolder, TargetLeases
from portway.forward.interfaces import Target, User, UserDirectory
from portway.forward.outcomes import Failure, Outcome
from portway.protocol.http1.forward_rules import ForwardProxyRules
from portway.protocol.http1.response import OF_ONE_HOP
from portway.protocol.source_key import source_key

if TYPE_CHECKING:
    from portway.forward.proxy import ForwardProxy

POOL_IDLE_MAX = 32
"""Idle connections kept for each user and target: five browsers use 30. With 8, 32 busy clients of one target opened a connection for
every second request, at half the rate.
"""

RESPONSE_FIELDS_TAKEN = OF_ONE_HOP | {b"proxy-authentication-info"}
"""Fields of this hop. Portway-Error of a tunnel that is reached through the proxy, and Proxy-Status of others, are the client's."""


class _NoRoutes:
    """The registry of an edge without tunnels: a target needs none."""

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return None."""
        del kind, address
        return None


class PlainForwarding(HttpEdge):
    """All connections of clients that do not use CONNECT."""

    def __init__(self, proxy: "ForwardProxy") -> None:
        """Use policy, users and connector of `proxy`, as they are at each request."""
        settings = HttpEdgeSettings(
            head_s=proxy.settings.initiation_timeout_s,
            pool_idle_max=POOL_IDLE_MAX,
            visitors_max=proxy.settings.max_tunnels,
            domain="",
            response_fields_taken=RESPONSE_FIELDS_TAKEN,
            log_visitors=False,
        )
        super().__init__(proxy.reactor, _NoRoutes(), settings, on_finished=_ignore, random_bytes=proxy.random_bytes)
        self.rules = self._proxy_rules = ForwardProxyRules(settings.request_limits, via=settings.via)
        self._proxy = proxy
        self._targets = TargetLeases(proxy.reactor, proxy.connector, lambda: proxy.settings.connect_timeout_s)

    @property
    def users(self) -> UserDirectory:
        """The users of the moment."""
        return self._proxy.users

    def serve_plain(self, channel: Channel, address: Address, received: bytes) -> None:
        """Serve a client from which `received` was read."""
        self._proxy.count(source_key(address[0]), None, 1)
        visitor = self.serve(channel, address)
        visitor.reader.buffered = received

    def drain(self) -> None:
        """Close connections without a request."""
        for visitor in list(self._visitors):
            visitor.close_idle()

    def end_user(self, name: str) -> int:
        """Reset all connections of a user who was removed, and return their number."""
        found = [visitor for visitor in self._visitors if isinstance(visitor, HttpClientConnection) and _is_of(visitor.user, name)]
        for visitor in found:
            visitor.abort()
        relays = [relay for relay, upgraded in self._relays.items() if _is_of(_holder(upgraded).user, name)]
        for relay in relays:
            relay.abort("the user was removed")
        self._targets.forget_user(name)
        return len(found) + len(relays)

    def forget_connections(self) -> None:
        """Keep no idle connection to a target: the rules have changed."""
        self._targets.forget_all()

    # ----------------------------------------------------------------------------------- called by clients' connections

    def on_connect(self, channel: Channel, address: str, received: bytes) -> None:
        """Negotiate a tunnel for a client that sent other requests before."""
        self._proxy.serve_again(channel, (address, 0), received)

    def judge(self, address: str, newcomer: User | None, user: User | None, target: Target) -> Failure | None:
        """Return why a request of `user` from `address` is refused; `newcomer` is the user, if the request is not counted yet."""
        proxy = self._proxy
        return proxy.judge_count(source_key(address), newcomer) or proxy.judge_own(target) or proxy.policy.judge_target(user, target)

    def lease(self, user: User | None, target: Target, source: str) -> Lease:
        """Return the lease of a target."""
        lease = self._targets.lease(user, target, source)
        lease.scopes = self._proxy.scopes_of(user)
        return lease

    def count_request(self, user: User, change: int) -> None:
        """Count a request that begins (1) or ends (-1) as a tunnel of its user."""
        self._proxy.count("", user.name, change)

    def report(
        self, outcome: Outcome, seconds: float, flows: tuple[Flow, Flow] | None, why: str, target: Target | None, user: User | None
    ) -> None:
        """Emit the event of a request or an upgraded connection that ended."""
        named = self._proxy.settings.log_targets
        forward, backward = flows or (None, None)
        self._proxy.report(
            ClientDone(
                tunnel_ctx=self._proxy.random_bytes(8).hex(),
                result=outcome,
                protocol="http",
                seconds=seconds,
                upstream_stats=forward,
                downstream_stats=backward,
                reason=why,
                target=str(target) if named and target is not None else None,
                user=user.name if named and user is not None else None,
            )
        )

    # --------------------------------------------------------------------------------------------------- of the edge

    def _make_connection(
        self, channel: Channel, address: str, scheme: str, server_name: str, client: VerifiedClient | None
    ) -> HttpClientConnection:
        del scheme, server_name, client
        return HttpClientConnection(self, channel, address)

    def forget(self, visitor: ServedVisitor) -> None:
        """Release a client's connection, and its part of the bounds."""
        if visitor in self._visitors and isinstance(visitor, HttpClientConnection):
            visitor.release_user()
            self._proxy.count(source_key(visitor.address), None, -1)
        super().forget(visitor)

    def start_relay(
        self, address: str, scheme: str, channel: Channel, pending: tuple[bytes, bytes], stream: OriginStream, scopes: Scopes
    ) -> None:
        """Relay an upgraded connection, which counts as a tunnel."""
        if isinstance(stream.pool, TunnelPool) and isinstance(stream.pool.holder, TargetHolder):
            self._proxy.count(source_key(address), _name_of(stream.pool.holder.user), 1)
        super().start_relay(address, scheme, channel, pending, stream, scopes)

    def _on_relay_done(self, relay: Relay) -> None:
        upgraded = self._relays.pop(relay, None)
        if upgraded is not None:
            holder, tally = _holder(upgraded), relay.tally
            self._proxy.count(source_key(upgraded.address), _name_of(holder.user), -1)
            seconds = self.reactor.now - relay.started_at
            why = tally.why or tally.limit
            self.report(Outcome.ESTABLISHED, seconds, (tally.forward, tally.backward), why, holder.target, holder.user)


def _holder(upgraded: UpgradedConnection) -> TargetHolder:
    return cast(TargetHolder, upgraded.holder)


def _name_of(user: User | None) -> str | None:
    return None if user is None else user.name


def _is_of(user: User | None, name: str) -> bool:
    return user is not None and user.name == name


def _ignore(_event: RequestDone | RelayDone) -> None:
    """Ignore the edge's event: the connection reports requests itself."""
