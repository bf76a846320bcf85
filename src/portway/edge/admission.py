"""Admission control: shares the descriptors between visitors and links, and caps what one tunnel or token can take."""

import os
import resource
import socket
from collections.abc import Callable, Iterable, Iterator

from portway.edge.aggregation import EventAggregator
from portway.edge.connection_state import SheddableConnection
from portway.edge.events import ConnectionsShed, VisitorsTurnedAway
from portway.edge.lease import Holder
from portway.edge.shedding import Shedder
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.errors import RefusedError
from portway.protocol.control import codes

RESERVED_MIN = 512
"""Descriptors reserved from visitors: at least as many as handshakes that the agents' listener runs at a time."""

RESERVED_PART = 10
"""One tenth is reserved if that is more: 2,000 of 20,000, for the links of 1,000 agents, their ports and the rest."""

OVERLOAD_RESPONSES_PART = 32
"""Part of the reserve that visitors may use while they are sent a 503: 62 of 2,000."""

OVERLOAD_RESPONSES_MAX = 256
"""The same where descriptors are many: beyond half of them, each new connection costs a scan of all."""

VISITORS_PART = 4
"""One quarter is reserved for visitors, whatever agents use: 64 of 256, 5,000 of 20,000."""

SPARE_PART, SPARE_MAX = 16, 64
"""Available to neither, for the database, files and connections that are being rejected: 16 of 256, 64 of 1,024 and more."""

UNAUTHENTICATED_PART = 16
"""Part of all descriptors for agents before the end of their TLS handshake, and as much again for agents before login: 16 of 256;
at most 512 each, however many descriptors there are (`links.accept`, `access.login_throttle`)."""

UNAUTHENTICATED_MAX = 512

UNLIMITED = 1 << 20
"""Descriptors of a process without a limit: no kernel gives more by default (fs.nr_open)."""

TUNNEL_FREE_RATIO = 3
"""A tunnel may use three times as many descriptors as are free, so three quarters if it is alone: 13,500 of 18,000. A
greedy neighbour then leaves the next one a quarter of the rest, and so on: there are always some for others."""

HTTP_FREE_RATIO = 7
"""The same for all HTTP visitors, which are not of one tunnel: seven eighths if there are no others."""

TOKEN_FREE_RATIO = 3
"""The same for the links of one token: three quarters of what links may use, if no other token has any."""


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _discard_event(_event: VisitorsTurnedAway | ConnectionsShed) -> None:
    """Used where events are not needed."""


class AdmissionControl:
    """Admits a visitor by its descriptor number.

    The kernel assigns the lowest free one (POSIX), so number N means that all below N were in use, whatever for. Visitors
    keep only numbers below `visitors_end`; those above are always available to agents, and to everything else that a
    server opens, without counting any of that. Conversely, links are refused while `links_end` descriptors are in use for other
    purposes than visitors, and as many visitors as that leaves are also admitted above `visitors_end`.
    """

    def __init__(
        self,
        reactor: Reactor,
        emit: Callable[[VisitorsTurnedAway | ConnectionsShed], None] = _discard_event,
        descriptors: int | None = None,
    ) -> None:
        """Share out `descriptors`, by default this process's limit; `emit` gets aggregated events of rejected and shed connections."""
        limit = descriptor_limit() if descriptors is None else descriptors
        reserved = min(max(RESERVED_MIN, limit // RESERVED_PART), limit // 2)
        self.visitors_end = limit - reserved
        """The first descriptor that is not for visitors, unless they have less than their part."""
        self._visitors_reserved = limit // VISITORS_PART
        self._limit = limit
        self._end = limit - min(limit // SPARE_PART, SPARE_MAX)
        self.unauthenticated_max = limit // UNAUTHENTICATED_PART
        """Agents in the TLS handshake, or before login, at a time."""
        self.links_end = self._end - self._visitors_reserved - 2 * min(self.unauthenticated_max, UNAUTHENTICATED_MAX)
        """Descriptors in use, without visitors, from which on logins are refused: refusals need some, too."""
        self.overload_responses_max = min(reserved // OVERLOAD_RESPONSES_PART, OVERLOAD_RESPONSES_MAX)
        """503 responses to rejected visitors at a time; each keeps a descriptor a moment longer."""
        self.reactor = reactor
        self._counters: list[Callable[[], int]] = []
        self._shares: dict[CapacityShare, None] = {}
        self._rejected = EventAggregator[str](
            reactor, lambda where, count: emit(VisitorsTurnedAway(count, self.connected, self.visitors_end, where))
        )
        self._shed = EventAggregator[str](
            reactor, lambda where, count: emit(ConnectionsShed(count, self.connected, self.visitors_end, where))
        )

    @property
    def connected(self) -> int:
        """Number of visitors connected."""
        connected = 0
        for count in self._counters:  # for each new visitor: a generator would cost a call more for each counter
            connected += count()
        return connected

    def add_share(self, share: "CapacityShare") -> None:
        """Make connections of `share` sheddable for visitors of others."""
        self._shares[share] = None

    def remove_share(self, share: "CapacityShare") -> None:
        """Undo `add_share`."""
        self._shares.pop(share, None)

    def shed_one(self, host: str, newcomer: "CapacityShare", *, critical: bool) -> bool:
        """Close a connection of the largest share for a visitor of another one; return whether one was closed."""
        largest = max((share for share in self._shares if share is not newcomer), key=_size, default=None)
        return largest is not None and largest.used > newcomer.used and largest.shed_one(host, critical=critical)

    def free(self, number: int) -> int:
        """Return how many more visitors could be admitted, given that one arrived with descriptor `number`."""
        connected = self.connected
        # At least as many are in use as the number says, and as there are visitors: each alone may be too low.
        # Descriptors that are about to be closed were freed for new connections of this very round.
        used = max(number - self.reactor.closing, connected)
        return min(max(self.visitors_end - used, self._visitors_reserved - connected), self._end - number)

    def links_free(self, links: int) -> int:
        """Return how many more links could be admitted beside `links`; costs two system calls."""
        try:
            number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # the lowest free one
        except OSError:
            return 0
        os.close(number)
        # All below are in use, for visitors and others; each of the two numbers alone may be too low, as above.
        return self.links_end - max(number - self.connected, links)

    def check_link(self, used: int, links: int) -> None:
        """Check that a token with `used` of all `links` may have one more.

        Raises:
            RefusedError: `too_many_logins`; it may be possible later.
        """
        free = self.links_free(links)
        if free <= 0 or used > TOKEN_FREE_RATIO * free:
            reason = f"the server has {self._limit:,} descriptors, and links may not use more of them"
            raise RefusedError(codes.TOO_MANY_LOGINS, reason, "Stop some agents, or raise the server's limit (ulimit -n).")

    def add_counter(self, visitors: Callable[[], int]) -> None:
        """Include the number that `visitors` returns in `connected`; it is called for each new visitor."""
        self._counters.append(visitors)

    def count_rejected(self, where: str) -> None:
        """Count a rejected visitor."""
        self._rejected.record(where)

    def shedder_of(self, holder: Holder) -> Shedder:
        """Return a shedder of the connections whose streams `holder` carries."""

        def connections() -> Iterator[SheddableConnection]:
            for share in self._shares:
                yield from (connection for connection in share.connections() if connection.holder is holder)

        return Shedder(self.reactor, connections)

    def count_shed(self, where: str) -> None:
        """Count a connection that was closed for a new connection."""
        self._shed.record(where)


def _size(share: "CapacityShare") -> int:
    return share.used


class CapacityShare:
    """The part of the visitor capacity that one tunnel, or one listener for many, may use, and its connections."""

    __slots__ = ("_admission", "_free_ratio", "_limit", "_shedder", "_used", "_where", "connections")

    def __init__(
        self,
        admission: AdmissionControl,
        where: str,
        connections: Callable[[], Iterable[SheddableConnection]],
        used: Callable[[], int],
        *,
        free_ratio: int,
        limit: int,
    ) -> None:
        """Use at most `free_ratio` times the free capacity, and at most `limit`; `where` names the share in events.

        `connections` returns all its connections, `used` their number.
        """
        self.connections = connections
        self._admission = admission
        self._where = where
        self._used = used
        self._free_ratio = free_ratio
        self._limit = limit
        self._shedder = Shedder(admission.reactor, connections)
        admission.add_share(self)

    @property
    def used(self) -> int:
        """Number of its connections."""
        return self._used()

    def close(self) -> None:
        """Make its connections exempt from shedding for other shares."""
        self._admission.remove_share(self)

    def admits(self, sock: socket.socket, host: str) -> bool:
        """Return whether a visitor from `host` on `sock` is admitted; count it if not.

        Above three quarters of the capacity, another connection is shed for it if possible (`shedding`).
        """
        admission, used = self._admission, self._used()
        free = admission.free(sock.fileno())
        ratio = self._free_ratio
        available = free > 0 and used < self._limit and used <= ratio * free
        if (
            available
            and 4 * free >= admission.visitors_end
            and 4 * used <= 3 * self._limit
            and 4 * used * (ratio + 1) <= 3 * ratio * (used + free)  # three quarters of its maximum
        ):
            return True
        most = min(self._limit, ratio * (used + free) // (ratio + 1))
        critical = not available or 16 * used > 15 * most or 16 * free < admission.visitors_end
        shed = False
        for _ in range(2 if critical else 1):  # two for one, until it is no longer critical
            if not self._shedder.shed_one(host, critical=critical) and not (
                4 * free < admission.visitors_end and admission.shed_one(host, self, critical=critical)
            ):
                break
            shed = True
            admission.count_shed(self._where)
        if available and (shed or not critical or 4 * self._shedder.connections_of(host) <= most):
            self._shedder.count_admitted(host)
            return True
        admission.count_rejected(self._where)
        return False

    def shed_one(self, host: str, *, critical: bool) -> bool:
        """Close a connection of this share for a visitor of another one; return whether one was closed."""
        return self._shedder.shed_one(host, critical=critical)


def reset_socket(sock: socket.socket) -> None:
    """Reset a visitor's socket that is not in the poller yet; its descriptor is free at once, not at the end of the batch."""
    set_close_mode(sock, RESET_ON_CLOSE)
    sock.close()
