"""Happy Eyeballs (RFC 8305): connects to the first of several addresses that responds."""

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
"""Delay before the next address is tried in parallel (recommended by RFC 8305 section 5)."""

NumericAddress = tuple[int, tuple[str, int]]
"""Address family, numeric host and port."""


async def connect_first(reactor: Reactor, addresses: Sequence[NumericAddress], timeout_s: float) -> socket.socket:
    """Connect to the first of `addresses` that responds; each attempt has `timeout_s` seconds.

    Raises:
        UnavailableError: all attempts failed; the text lists the reasons.
    """
    race = _Race(reactor, alternating(addresses), timeout_s)
    try:
        outcome = await race.winner
    except asyncio.CancelledError:
        winner = race.winner
        if winner.done() and not winner.cancelled() and isinstance(outcome := winner.result(), socket.socket):
            reactor.discard(outcome)  # it connected at the moment of the cancellation
        raise
    finally:
        race.stop()
    if isinstance(outcome, str):
        raise UnavailableError(outcome)
    return outcome


def alternating(addresses: Sequence[NumericAddress]) -> list[NumericAddress]:
    """Return the addresses with alternating families, starting with that of the first (RFC 8305 section 4): one family may not work."""
    one = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(one, other)) if address is not None]


class _Race:
    """The attempts for one connection; the first success stops the others. `winner` is a socket, or the reason of the failure."""

    def __init__(self, reactor: Reactor, addresses: Sequence[NumericAddress], timeout_s: float) -> None:
        """Start with the first address."""
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
        """Cancel all pending attempts; may be called twice."""
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
