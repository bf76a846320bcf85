"""Round trips on a session's links, from mux to mux: the delay of a small request."""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

from portway.errors import UnavailableError

PINGS = 20
PINGS_S_MAX = 3.0
"""With a round trip of 200 ms, 15 pings are as good as 20."""

PING_S_MAX = 5.0
"""A ping without a pong by then means that a speed test makes no sense."""

GAP_S = 0.01
"""Pause between a pong and the next ping; the server allows 200 pings per second on a link."""


class Pings(Protocol):
    """Sends pings: a mux."""

    def ping(self, on_pong: Callable[[float], None]) -> None:
        """Ping now; `on_pong` gets the round trip in seconds."""


async def round_trip_s(link: Pings) -> float:
    """Return the round trip of one ping in seconds.

    Raises:
        UnavailableError: no pong arrived.
    """
    pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def on_pong(seconds: float) -> None:
        if not pong.done():
            pong.set_result(seconds)

    link.ping(on_pong)
    try:
        async with asyncio.timeout(PING_S_MAX):
            return await pong
    except TimeoutError:
        raise UnavailableError(f"the server did not answer a ping within {PING_S_MAX:g} s") from None


async def round_trips_s(link: Pings, now: Callable[[], float], count: int = PINGS) -> list[float]:
    """Return the round trips of `count` pings, one after the other, fewer if they take more than a few seconds."""
    until, found = now() + PINGS_S_MAX, [await round_trip_s(link)]
    while len(found) < count and now() < until:
        await asyncio.sleep(GAP_S)
        found.append(await round_trip_s(link))
    return found


def median(values: Sequence[float]) -> float | None:
    """Return the median; None without values."""
    return statistics.median(values) if values else None
