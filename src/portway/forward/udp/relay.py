"""All UDP associations of a proxy: opens them within bounds, and judges where their datagrams go."""

import socket
from collections import Counter
from collections.abc import Callable
from functools import partial

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import Scope, Scopes
from portway.engine.policy import Policy
from portway.engine.reactor import Reactor
from portway.errors import PeerError
from portway.forward.interfaces import ConnectRequest, Resolve, TargetPolicy, User
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import target_of
from portway.forward.udp.association import UdpAssociation
from portway.forward.udp.destinations import OnJudged
from portway.links.resolver import Address
from portway.protocol.networks import plain_address

ASSOCIATIONS_MAX = 512
"""Associations at the same time; each has up to four descriptors, and 150 kB if its client uses everything that it may."""
PER_SOURCE_MAX = 64
"""The same for one client address: a program needs one for each of its sockets."""
IDLE_S = 120.0
"""How long an association may be idle where no limit says otherwise: RFC 4787 section 4.3 asks two minutes of address translators."""
RESOLVE_S = 10.0
"""How long a datagram may wait for the address of its target."""


class UdpRelay:
    """The UDP associations of one proxy."""

    def __init__(self, reactor: Reactor, policy: Callable[[], TargetPolicy], resolve: Resolve) -> None:
        """`policy` returns the policy of the moment; `resolve` resolves targets and returns the addresses that it allows."""
        self._reactor = reactor
        self._policy = policy
        self._resolve = resolve
        self._of_source: Counter[str] = Counter()
        self._idle: Scopes = (Scope(reactor, Policy(idle_timeout_s=IDLE_S)),)

    @property
    def associations(self) -> int:
        """Number of associations now."""
        return self._of_source.total()

    def open(  # noqa: PLR0913 - what one association consists of
        self,
        control: Channel,
        client: tuple[str, int],
        local_host: str,
        *,
        user: User | None,
        scopes: Scopes,
        on_done: Callable[[UdpAssociation], None],
        account: Account,
    ) -> UdpAssociation | Failure:
        """Open an association that ends with `control`, for the client at address `client`, whose port is 0 if it is not known yet.

        Datagrams are received on `local_host`, the address that the client has connected to.
        """
        source = client[0]
        if self.associations >= ASSOCIATIONS_MAX or self._of_source[source] >= PER_SOURCE_MAX:
            return Failure(Outcome.TOO_MANY, "Too many UDP associations: close some, or try again later.")
        try:
            sock = _bound(local_host)
        except OSError as exc:
            return Failure(Outcome.INTERNAL, f"The proxy cannot open a UDP socket ({(exc.strerror or str(exc)).lower()}): try again.")
        self._of_source[source] += 1

        def done(association: UdpAssociation) -> None:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]
            on_done(association)

        if not any(scope.policy.idle_timeout_s for scope in scopes):
            scopes = (*scopes, *self._idle)
        judge = partial(self._judge, user, source)
        return UdpAssociation(self._reactor, control, sock, client, judge=judge, account=account, on_done=done, scopes=scopes)

    def _judge(self, user: User | None, source: str, host: str, port: int, on_judged: OnJudged) -> None:
        """Judge a target by its name, then by its addresses."""
        try:
            target = target_of(host.encode("ascii"), port)
        except PeerError:
            on_judged("malformed")
            return
        if self._policy().judge_target(user, target) is not None:
            on_judged("forbidden")
            return
        request = ConnectRequest(target, user, source, self._reactor.now + RESOLVE_S)
        self._resolve(request, partial(_on_resolved, on_judged))


def _on_resolved(on_judged: OnJudged, found: list[Address] | Failure) -> None:
    if isinstance(found, Failure):
        on_judged("forbidden" if found.outcome is Outcome.FORBIDDEN else "unresolved")
        return
    addresses = [address for _, (host, _) in found if (address := plain_address(host)) is not None]
    on_judged(addresses or "unresolved")


def _bound(host: str) -> socket.socket:
    """Return a UDP socket on `host`, an IPv4-mapped address as IPv4."""
    address = plain_address(host)
    family = socket.AF_INET6 if address is not None and address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((str(address), 0))
    except OSError:
        sock.close()
        raise
    return sock
