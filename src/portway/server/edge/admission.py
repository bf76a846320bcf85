"""How many visitors and links there is room for: neither may take all descriptors from the other, nor one tunnel or token all of its kind."""

import os
import resource
import socket
from collections.abc import Callable, Iterable, Iterator

from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.errors import RefusedError
from portway.protocol.control import codes
from portway.server.edge.connection_state import SheddableConnection
from portway.server.edge.shedding import Shedder
from portway.server.events import ConnectionsShed, VisitorsTurnedAway
from portway.server.reporting.aggregation import EventAggregator
from portway.server.tunnels.lease import Holder

RESERVED_MIN = 512
"""Descriptors kept from visitors: as many handshakes as the agents' listener has under way at a time, at least."""

RESERVED_PART = 10
"""A tenth of them, when that is more: 2,000 of 20,000, for the links of a thousand agents, their ports and the rest."""

APOLOGIES_PART = 32
"""How much of what is kept may be on loan to visitors who are just being told that there is no room: 62 of 2,000."""

APOLOGIES_MAX = 256
"""The same where descriptors are many: each one that comes beyond half of them costs a look at all."""

VISITORS_PART = 4
"""A quarter is kept for visitors, whatever agents hold: 64 of 256, 5,000 of 20,000."""

SPARE_PART, SPARE_MAX = 16, 64
"""What neither may take, for the database, files and connections that are just being refused: 16 of 256, 64 of 1,024 and more."""

NEWCOMERS_PART = 16
"""How much of all may be in use by agents that have not shaken hands, and as much again by those that have not logged in: 16 of 256;
more than 512 each are not let in however many descriptors there are (`links.accept`, `access.gate`)."""

NEWCOMERS_MAX = 512

ENDLESS = 1 << 20
"""Descriptors of a process without a limit: no kernel gives more by default (fs.nr_open)."""

TUNNEL_FREE_RATIO = 3
"""A tunnel may hold three times as many places as are free, so three quarters when it is alone: 13,500 of 18,000. A
greedy neighbour then leaves the next one a quarter of the rest of it, and so on: there is always some room for others."""

HTTP_FREE_RATIO = 7
"""The same for all visitors over HTTP, who are not of one tunnel: seven eighths when nobody else is there."""

TOKEN_FREE_RATIO = 3
"""The same for the links of one token: three quarters of what links may take, when no other token has any."""


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENDLESS if soft == resource.RLIM_INFINITY else soft


def _tell_nobody(_wait_for_change: VisitorsTurnedAway | ConnectionsShed) -> None:
    """Stand in for nobody who wants to hear of it."""


class AdmissionControl:
    """Decides who may stay by the number of his descriptor.

    The kernel gives out the lowest number that is free (POSIX), so a visitor with number N came when all below N were in
    use, by whomever. Visitors keep only numbers below `visitors_end`; those above are always there for agents, and for
    everything else that a server opens, without counting any of that. The other way round, links are refused while all
    but visitors have `links_end` in use, and so many visitors as that leaves room for are let in above `visitors_end`, too.
    """

    def __init__(
        self, reactor: Reactor, tell: Callable[[VisitorsTurnedAway | ConnectionsShed], None] = _tell_nobody, descriptors: int | None = None
    ) -> None:
        """Share out `descriptors`, by default this process's limit; `tell` hears now and then of who found no place."""
        limit = descriptor_limit() if descriptors is None else descriptors
        kept = min(max(RESERVED_MIN, limit // RESERVED_PART), limit // 2)
        self.visitors_end = limit - kept
        """The first descriptor that is not for visitors, unless they have less than their part."""
        self._visitors_part = limit // VISITORS_PART
        self._limit = limit
        self._end = limit - min(limit // SPARE_PART, SPARE_MAX)
        self.newcomers_max = limit // NEWCOMERS_PART
        """Agents that have not shaken hands, or not logged in, at a time."""
        self.links_end = self._end - self._visitors_part - 2 * min(self.newcomers_max, NEWCOMERS_MAX)
        """How many descriptors all but visitors may have before logins are refused: those who are told so need some, too."""
        self.apologies_max = min(kept // APOLOGIES_PART, APOLOGIES_MAX)
        """Visitors at a time that may be told why they cannot stay; it takes their descriptor a moment longer."""
        self.reactor = reactor
        self._counts: list[Callable[[], int]] = []
        self._shares: dict[CapacityShare, None] = {}
        self._turned_away = EventAggregator[str](
            reactor, lambda where, count: tell(VisitorsTurnedAway(count, self.taken, self.visitors_end, where))
        )
        self._gave_way = EventAggregator[str](
            reactor, lambda where, count: tell(ConnectionsShed(count, self.taken, self.visitors_end, where))
        )

    @property
    def taken(self) -> int:
        """How many visitors are here."""
        return sum(count() for count in self._counts)

    def join(self, share: "CapacityShare") -> None:
        """Let connections of `share` give way to visitors of others, where descriptors run short."""
        self._shares[share] = None

    def part(self, share: "CapacityShare") -> None:
        """Leave `share` alone."""
        self._shares.pop(share, None)

    def make_room(self, host: str, newcomers: "CapacityShare", *, cramped: bool) -> bool:
        """Have a connection of the share that has most give way to a visitor of another one; return whether one did."""
        largest = max((share for share in self._shares if share is not newcomers), key=_held_by, default=None)
        return largest is not None and largest.held > newcomers.held and largest.make_room(host, cramped=cramped)

    def free(self, number: int) -> int:
        """Return how many more visitors there is room for when one comes with descriptor `number`."""
        taken = self.taken
        # At least as many are in use as the number says, and as there are visitors: each alone may be too low.
        # Those that are about to be closed were given up for newcomers of this very round.
        used = max(number - self.reactor.closing, taken)
        return min(max(self.visitors_end - used, self._visitors_part - taken), self._end - number)

    def links_free(self, links: int) -> int:
        """Return how many more links there is room for beside these; costs two system calls."""
        try:
            number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # the lowest that is free
        except OSError:
            return 0
        os.close(number)
        # All below are in use, by visitors and by others; each of the two numbers alone may be too low, as above.
        return self.links_end - max(number - self.taken, links)

    def check_link(self, held: int, links: int) -> None:
        """Make sure that a token that has `held` of all `links` may have one more.

        Raises:
            RefusedError: `too_many_logins`; later there may be room.
        """
        free = self.links_free(links)
        if free <= 0 or held > TOKEN_FREE_RATIO * free:
            reason = f"the server has {self._limit:,} descriptors, and links may not take more of them"
            raise RefusedError(codes.TOO_MANY_LOGINS, reason, "Stop some agents, or raise the server's limit (ulimit -n).")

    def count(self, visitors: Callable[[], int]) -> None:
        """Ask `visitors` for a part of those who are here from now on; it is called for each one that comes."""
        self._counts.append(visitors)

    def turned_away(self, where: str) -> None:
        """Note that a visitor found no place."""
        self._turned_away.record(where)

    def shedder_of(self, holder: Holder) -> Shedder:
        """Return who has connections with a stream of `holder`'s give way."""

        def members() -> Iterator[SheddableConnection]:
            for share in self._shares:
                yield from (member for member in share.members() if member.holder is holder)

        return Shedder(self.reactor, members)

    def gave_way(self, where: str) -> None:
        """Note that a connection gave way to a newcomer."""
        self._gave_way.record(where)


def _held_by(share: "CapacityShare") -> int:
    return share.held


class CapacityShare:
    """The places that one tunnel, or one listener for many, may take, and who has them."""

    __slots__ = ("_admission", "_held", "_most", "_shedder", "_times", "_where", "members")

    def __init__(
        self,
        admission: AdmissionControl,
        where: str,
        members: Callable[[], Iterable[SheddableConnection]],
        held: Callable[[], int],
        *,
        times: int,
        most: int,
    ) -> None:
        """Take `times` as many places as are free, and `most` at the most; `where` is what the operator is told.

        `members` returns all connections that have one, `held` their number.
        """
        self.members = members
        self._admission = admission
        self._where = where
        self._held = held
        self._times = times
        self._most = most
        self._shedder = Shedder(admission.reactor, members)
        admission.join(self)

    @property
    def held(self) -> int:
        """How many places it has."""
        return self._held()

    def close(self) -> None:
        """Take no more part in what is shared."""
        self._admission.part(self)

    def admits(self, sock: socket.socket, host: str) -> bool:
        """Return whether a visitor from `host` who came on `sock` may stay; note it if not.

        Above three quarters of what there is, another connection has to give way for him if one can (`shedding`).
        """
        admission, held = self._admission, self._held()
        free = admission.free(sock.fileno())
        times = self._times
        has_room = free > 0 and held < self._most and held <= times * free
        if (
            has_room
            and 4 * free >= admission.visitors_end
            and 4 * held <= 3 * self._most
            and 4 * held * (times + 1) <= 3 * times * (held + free)  # three quarters of what it may have at most
        ):
            return True
        most = min(self._most, times * (held + free) // (times + 1))
        cramped = not has_room or 16 * held > 15 * most or 16 * free < admission.visitors_end
        shed = False
        for _ in range(2 if cramped else 1):  # two for one, until it is not cramped any more
            if not self._shedder.make_room(host, cramped=cramped) and not (
                4 * free < admission.visitors_end and admission.make_room(host, self, cramped=cramped)
            ):
                break
            shed = True
            admission.gave_way(self._where)
        if has_room and (shed or not cramped or 4 * self._shedder.held(host) <= most):
            self._shedder.came(host)
            return True
        admission.turned_away(self._where)
        return False

    def make_room(self, host: str, *, cramped: bool) -> bool:
        """Have a connection of this share give way to a visitor of another one."""
        return self._shedder.make_room(host, cramped=cramped)


def reset_socket(sock: socket.socket) -> None:
    """Reset a visitor's socket that nothing watches yet; its descriptor is free at once, not at the end of the batch."""
    set_close_mode(sock, RESET_ON_CLOSE)
    sock.close()
