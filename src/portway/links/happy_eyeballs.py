"""Connecting to whichever of several addresses answers first, without waiting long for one that does not (RFC 8305)."""

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import chain, zip_longest

from portway.engine.connect import Attempt, connect
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError

NEXT_AFTER_S = 0.25
"""How long an address is alone before the next one is tried beside it (RFC 8305 section 5 recommends this)."""

NumericAddress = tuple[int, tuple[str, int]]
"""Address family, numeric host and port."""


async def connect_first(reactor: Reactor, addresses: Sequence[NumericAddress], timeout_s: float) -> socket.socket:
    """Connect to the first of `addresses` that answers; each has `timeout_s` seconds from when it is tried.

    Raises:
        UnavailableError: none does; says why, one by one.
    """
    race = _Race(reactor, alternating(addresses), timeout_s)
    try:
        outcome = await race.winner
    except asyncio.CancelledError:
        winner = race.winner
        if winner.done() and not winner.cancelled() and isinstance(outcome := winner.result(), socket.socket):
            reactor.discard(outcome)  # it connected in the very moment in which we were told to stop
        raise
    finally:
        race.stop()
    if isinstance(outcome, str):
        raise UnavailableError(outcome)
    return outcome


def alternating(addresses: Sequence[NumericAddress]) -> list[NumericAddress]:
    """Return the addresses with families in turn, the first one's first (RFC 8305 section 4): one of them may be a dead end."""
    one = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(one, other)) if address is not None]


class _Race:
    """All attempts on the way to one connection; the first that stands stops the others. `winner` is a socket, or why there is none."""

    def __init__(self, reactor: Reactor, addresses: Sequence[NumericAddress], timeout_s: float) -> None:
        """Start with the first address at once."""
        self.winner: asyncio.Future[socket.socket | str] = asyncio.get_running_loop().create_future()
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._addresses = addresses
        self._left = deque(range(len(addresses)))
        self._attempts: list[Attempt] = []
        self._failures: dict[int, str] = {}
        self._timer: Timer | None = None
        self._next()

    def stop(self) -> None:
        """Give up all that is under way; may be called twice."""
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()
        for attempt in self._attempts:
            attempt.cancel()
        self._attempts.clear()

    def _next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._left:
            return
        number = self._left.popleft()
        family, address = self._addresses[number]
        attempt = connect(self._reactor, family, address, self._timeout_s, partial(self._settle, number))
        if attempt is not None:
            self._attempts.append(attempt)
        self._timer = self._reactor.call_later(NEXT_AFTER_S, self._next)

    def _settle(self, number: int, outcome: socket.socket | OSError) -> None:
        if isinstance(outcome, OSError):
            self._failures[number] = f"{self._addresses[number][1][0]}: {(outcome.strerror or str(outcome)).lower()}"
            if self.winner.done():
                return
            if len(self._failures) == len(self._addresses):
                self.winner.set_result("; ".join(self._failures[each] for each in sorted(self._failures)))
            self._next()
        elif self.winner.done():
            self._reactor.discard(outcome)
        else:
            self.winner.set_result(outcome)
            self.stop()
