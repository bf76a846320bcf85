"""Round trips over a session's links, from mux to mux: what a small request waits for."""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

from portway.errors import UnavailableError

PINGS = 20
PINGS_S_MAX = 3.0
"""On a line of 200 ms, 15 pings say as much as 20."""

PING_S_MAX = 5.0
"""A ping that has no answer by then meets a line that no speed test can help."""

GAP_S = 0.01
"""Between one answer and the next ping; the server allows 200 pings a second on a link."""


class Pings(Protocol):
    """What answers pings: a mux."""

    def ping(self, on_pong: Callable[[float], None]) -> None:
        """Ping now; `on_pong` gets the round trip in seconds."""


async def round_trip_s(link: Pings) -> float:
    """Return the time of one ping.

    Raises:
        UnavailableError: no answer came.
    """
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def note(seconds: float) -> None:
        if not answered.done():
            answered.set_result(seconds)

    link.ping(note)
    try:
        async with asyncio.timeout(PING_S_MAX):
            return await answered
    except TimeoutError:
        raise UnavailableError(f"the server did not answer a ping within {PING_S_MAX:g} s") from None


async def round_trips_s(link: Pings, now: Callable[[], float], count: int = PINGS) -> list[float]:
    """Return the times of some pings, one after the other, for a few seconds at most."""
    until, found = now() + PINGS_S_MAX, [await round_trip_s(link)]
    while len(found) < count and now() < until:
        await asyncio.sleep(GAP_S)
        found.append(await round_trip_s(link))
    return found


def median(values: Sequence[float]) -> float | None:
    """Return the value in the middle; None of nothing."""
    return statistics.median(values) if values else None
