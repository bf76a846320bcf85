"""Targets of plain HTTP as the edge's leases: one for each user and target, so that users never share a connection."""

from collections.abc import Callable
from functools import partial
from typing import cast

from portway.edge.http.refusal import Refusal
from portway.edge.lease import Lease, LeaseKey, OnStatus, Owner
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.forward.http.connecting_channel import ConnectingChannel
from portway.forward.http.failures import code_of
from portway.forward.interfaces import Connector, ConnectRequest, Target, User
from portway.forward.outcomes import Failure
from portway.protocol.stream_status import StreamStatus

TARGETS_MAX = 256
"""Targets with a pool; the one that was used the longest time ago loses its idle connections. A browser has a hundred. With those of
each pool (`forwarding.POOL_IDLE_MAX`) at most 8,192 descriptors are idle.
"""

OnOpened = Callable[[StreamStatus | Refusal | None], None]


class TargetHolder:
    """Opens connections to one target for one user (see `edge.lease.Holder`)."""

    session_id = "forward"

    def __init__(self, targets: "TargetLeases", target: Target, user: User | None, account: Account) -> None:
        """`account` is charged for turns on these connections."""
        self.target = target
        self.user = user
        self.account = account
        self.source = ""
        """Address of the client with the latest request."""
        self._targets = targets

    def open(self, _tunnel_id: int, _header: bytes, on_status: OnStatus) -> Channel:
        """Connect; the channel accepts nothing until then."""
        return _Opening(self._targets, self, cast(OnOpened, on_status)).channel  # a stream of the edge accepts both

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Ignore it: the client's connection reports requests."""


class _Opening:
    """One connect, from the exchange's view."""

    __slots__ = ("_on_status", "_result", "_started", "channel")

    def __init__(self, targets: "TargetLeases", holder: TargetHolder, on_status: OnOpened) -> None:
        self._on_status = on_status
        self._result: Channel | Failure | None = None
        self._started = False
        reactor = targets.reactor
        request = ConnectRequest(holder.target, holder.user, holder.source, reactor.now + targets.connect_timeout_s(), holder.account)
        cancel = targets.connector.connect(request, self._on_connected)
        self.channel = ConnectingChannel(cancel)
        self._started = True
        result = self._early_result()
        if result is not None:
            reactor.call_soon(partial(self._on_connected, result))  # the exchange does not have the channel yet

    def _early_result(self) -> Channel | Failure | None:
        return self._result

    def _on_connected(self, result: Channel | Failure) -> None:
        if not self._started:
            self._result = result
            return
        channel = self.channel
        if isinstance(result, Failure):
            if not channel.closed:
                self._on_status(Refusal(code_of(result), result.text))
        elif channel.closed:
            result.abort()
        else:
            channel.attach(result)
            self._on_status(StreamStatus.CONNECTED)
            channel.on_writable()


class TargetLeases:
    """The leases of all targets in use."""

    def __init__(self, reactor: Reactor, connector: Connector, connect_timeout_s: Callable[[], float]) -> None:
        """Connect by `connector`, within what `connect_timeout_s` returns."""
        self.reactor = reactor
        self.connector = connector
        self.connect_timeout_s = connect_timeout_s
        self._leases: dict[tuple[str | None, Target], Lease] = {}
        """The most recently used last."""
        self._account = reactor.authenticated.child()
        self._number = 0

    def lease(self, user: User | None, target: Target, source: str) -> Lease:
        """Return the lease of a target for a user; `source` is the address of the client that asks."""
        key = (None if user is None else user.name, target)
        lease = self._leases.pop(key, None)
        if lease is not None and cast(TargetHolder, lease.holder).user != user:
            self._drop(lease)
            lease = None
        if lease is None:
            if len(self._leases) >= TARGETS_MAX:
                self._drop(self._leases.pop(next(iter(self._leases))))
            lease = self._new(target, user)
        self._leases[key] = lease
        cast(TargetHolder, lease.holder).source = source
        return lease

    def forget_user(self, name: str) -> None:
        """Close the idle connections of a user."""
        for key in [key for key in self._leases if key[0] == name]:
            self._drop(self._leases.pop(key))

    def forget_all(self) -> None:
        """Close all idle connections, as other targets may be allowed now."""
        leases, self._leases = self._leases, {}
        for lease in leases.values():
            self._drop(lease)

    def _new(self, target: Target, user: User | None) -> Lease:
        self._number += 1
        lease = Lease(LeaseKey("http", f"target-{self._number}"), Owner("" if user is None else user.name, b""))
        lease.tunnel_id = self._number
        lease.holder = TargetHolder(self, target, user, self._account.child(tenant=True))
        return lease

    def _drop(self, lease: Lease) -> None:
        lease.detach_holder()()  # closes its pool
