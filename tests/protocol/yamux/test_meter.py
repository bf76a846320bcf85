"""The meter for free frames."""

import pytest

from portway.errors import PeerError
from portway.protocol.yamux.meter import Meter


def test_events_up_to_the_limit_pass_and_the_next_fails() -> None:
    meter = Meter("pings", 3)
    for _ in range(3):
        meter.count(10.2)
    with pytest.raises(PeerError, match="more than 3 pings per second"):
        meter.count(10.9)


def test_every_second_starts_anew() -> None:
    meter = Meter("pings", 3)
    for second in range(100):
        for _ in range(3):
            meter.count(second + 0.5)
