"""Round trips, one ping after the other, with an end."""

import asyncio
from collections.abc import Callable

import pytest

from portway.agent.speed import pings
from portway.agent.speed.pings import median, round_trip_s, round_trips_s
from portway.errors import UnavailableError


class Link:
    """A link that reports `away_s` as its round trip; None: it never answers."""

    def __init__(self, away_s: float | None) -> None:
        self.away_s = away_s
        self.pinged = 0

    def ping(self, on_pong: Callable[[float], None]) -> None:
        self.pinged += 1
        if self.away_s is not None:
            asyncio.get_running_loop().call_soon(on_pong, self.away_s)


def test_the_requested_number_of_round_trips_is_measured() -> None:
    link = Link(0.02)
    found = asyncio.run(round_trips_s(link, lambda: 0.0, 5))

    assert found == [0.02] * 5
    assert link.pinged == 5


def test_a_slow_path_is_pinged_less_often() -> None:
    clock = iter(range(100))

    assert len(asyncio.run(round_trips_s(Link(1.0), lambda: float(next(clock)), 20))) == 3


def test_a_link_without_a_pong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "PING_S_MAX", 0.01)
    with pytest.raises(UnavailableError, match="did not answer a ping"):
        asyncio.run(round_trip_s(Link(None)))


def test_the_median_of_some_values_and_of_none() -> None:
    assert (median([3.0, 1.0, 2.0]), median([])) == (2.0, None)
