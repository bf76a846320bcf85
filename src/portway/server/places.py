"""How many visitors there is room for: never so many that an agent finds no descriptor, nor all for one tunnel."""

import resource
import socket
from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, on_last_close
from portway.server.counted import Counted
from portway.server.events import VisitorsTurnedAway

KEPT_MIN = 512
"""Descriptors kept from visitors: as many handshakes as the agents' listener has under way at a time, at least."""

KEPT_PART = 10
"""A tenth of them, when that is more: 2,000 of 20,000, for the links of a thousand agents, their ports and the rest."""

APOLOGIES_PART = 32
"""How much of what is kept may be on loan to visitors who are just being told that there is no room: 62 of 2,000."""

ENDLESS = 1 << 20
"""Descriptors of a process without a limit: no kernel gives more by default (fs.nr_open)."""

TUNNEL_TIMES = 3
"""A tunnel may hold three times as many places as are free, so three quarters when it is alone: 13,500 of 18,000. A
greedy neighbour then leaves the next one a quarter of the rest of it, and so on: there is always some room for others."""

HTTP_TIMES = 7
"""The same for all visitors over HTTP, who are not of one tunnel: seven eighths when nobody else is there."""


def descriptors_max() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENDLESS if soft == resource.RLIM_INFINITY else soft


def _tell_nobody(_news: VisitorsTurnedAway) -> None:
    """Stand in for nobody who wants to hear of it."""


class Places:
    """Decides who may stay by the number of his descriptor.

    The kernel gives out the lowest number that is free (POSIX), so a visitor with number N came when all below N were in
    use, by whomever. Visitors keep only numbers below `visitors_end`; those above are always there for agents, and for
    everything else that a server opens, without counting any of that.
    """

    def __init__(self, reactor: Reactor, tell: Callable[[VisitorsTurnedAway], None] = _tell_nobody, descriptors: int | None = None) -> None:
        """Share out `descriptors`, by default this process's limit; `tell` hears now and then of who found no place."""
        limit = descriptors_max() if descriptors is None else descriptors
        kept = min(max(KEPT_MIN, limit // KEPT_PART), limit // 2)
        self.visitors_end = limit - kept
        """The first descriptor that is not for visitors."""
        self.apologies_max = kept // APOLOGIES_PART
        """Visitors at a time that may be told why they cannot stay; it takes their descriptor a moment longer."""
        self._counts: list[Callable[[], int]] = []
        self._turned_away = Counted[str](
            reactor, lambda where, count: tell(VisitorsTurnedAway(count, self.taken, self.visitors_end, where))
        )

    @property
    def taken(self) -> int:
        """How many visitors are here."""
        return sum(count() for count in self._counts)

    def count(self, visitors: Callable[[], int]) -> None:
        """Ask `visitors` for a part of those who are here from now on; it is called for each one that comes."""
        self._counts.append(visitors)

    def turned_away(self, where: str) -> None:
        """Note that a visitor found no place."""
        self._turned_away.note(where)


class Share:
    """The places that one tunnel, or one listener for many, may take."""

    __slots__ = ("_most", "_places", "_times", "_where")

    def __init__(self, places: Places, where: str, *, times: int, most: int) -> None:
        """Take `times` as many places as are free, and `most` at the most; `where` is what the operator is told."""
        self._places = places
        self._where = where
        self._times = times
        self._most = most

    def has_place(self, sock: socket.socket, held: int) -> bool:
        """Return whether a visitor who came on `sock` may stay beside the `held` ones of this share; note it if not."""
        places, number = self._places, sock.fileno()
        # At least as many are in use as the number says, and as there are visitors: each alone may be too low.
        free = places.visitors_end - max(number, places.taken)
        if free > 0 and held < self._most and held <= self._times * free:
            return True
        places.turned_away(self._where)
        return False


def turn_away(sock: socket.socket) -> None:
    """Reset a visitor's socket that nothing watches yet; its descriptor is free at once, not at the end of the batch."""
    on_last_close(sock, RESET_ON_CLOSE)
    sock.close()
