"""Happy Eyeballs (RFC 8305): connects to the first of several addresses that responds."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
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
    outcome: asyncio.Future[socket.socket | list[OSError]] = asyncio.get_running_loop().create_future()

    def done(result: socket.socket | list[OSError]) -> None:
        if not outcome.done():
            outcome.set_result(result)
        elif isinstance(result, socket.socket):
            reactor.discard(result)

    race = Race(reactor, alternating(addresses), timeout_s, done)
    try:
        result = await outcome
    except asyncio.CancelledError:
        if outcome.done() and not outcome.cancelled() and isinstance(won := outcome.result(), socket.socket):
            reactor.discard(won)  # it connected at the moment of the cancellation
        raise
    finally:
        race.stop()
    if isinstance(result, list):
        hosts = [address[0] for _, address in race.addresses]
        raise UnavailableError(
            "; ".join(f"{host}: {(error.strerror or str(error)).lower()}" for host, error in zip(hosts, result, strict=True))
        )
    return result


def alternating(addresses: Sequence[NumericAddress]) -> list[NumericAddress]:
    """Return the addresses with alternating families, starting with that of the first (RFC 8305 section 4): one family may not work."""
    one = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(one, other)) if address is not None]


class Race:
    """The attempts for one connection; the first success stops the others."""

    def __init__(
        self,
        reactor: Reactor,
        addresses: Sequence[NumericAddress],
        timeout_s: float | None,
        on_done: Callable[[socket.socket | list[OSError]], None],
    ) -> None:
        """Start with the first address. `on_done` is called once, from the reactor: with a socket, or with the error of each address.

        Each attempt has `timeout_s` seconds; None: the caller has a deadline, and calls `stop`.
        """
        self.addresses = addresses
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._on_done: Callable[[socket.socket | list[OSError]], None] | None = on_done
        self._left = deque(range(len(addresses)))
        self._attempts: list[Attempt] = []
        self._failures: dict[int, OSError] = {}
        self._timer: Timer | None = None
        self._next()

    def stop(self) -> None:
        """Cancel all pending attempts, without calling back; may be called twice."""
        self._on_done = None
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for attempt in self._attempts:
            attempt.cancel()
        self._attempts.clear()

    def _next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._left:
            return
        number = self._left.popleft()
        family, address = self.addresses[number]
        attempt = connect(self._reactor, family, address, self._timeout_s, partial(self._settle, number))
        if attempt is not None:
            self._attempts.append(attempt)
        if self._left:
            self._timer = self._reactor.call_later(NEXT_AFTER_S, self._next)

    def _settle(self, number: int, outcome: socket.socket | OSError) -> None:
        on_done = self._on_done
        if isinstance(outcome, OSError):
            self._failures[number] = outcome
            if on_done is None:
                return
            if len(self._failures) == len(self.addresses):
                self.stop()
                on_done([self._failures[each] for each in sorted(self._failures)])
            else:
                self._next()
        elif on_done is None:
            self._reactor.discard(outcome)
        else:
            self.stop()
            on_done(outcome)
