"""Rates and round trips in the units that people use."""

import pytest

from portway.agent.speed.rates import format_rate, format_rtt, three_digits


@pytest.mark.parametrize(
    ("bytes_per_s", "text"),
    [
        (0, "0.00 kbit/s"),
        (106_250, "850 kbit/s"),
        (124_930, "999 kbit/s"),
        (124_940, "1.00 Mbit/s"),
        (5_850_000, "46.8 Mbit/s"),
        (12_500_000, "100 Mbit/s"),
        (792_900_000, "6.34 Gbit/s"),
        (1.6e10, "128 Gbit/s"),
        (1.6e12, "12800 Gbit/s"),
    ],
)
def test_a_rate_has_three_digits_and_its_unit(bytes_per_s: float, text: str) -> None:
    assert format_rate(bytes_per_s) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.00034, "0.3ms"), (0.0099, "9.9ms"), (0.00999, "10ms"), (0.0412, "41ms"), (1.25, "1.25s")])
def test_a_round_trip_has_the_precision_that_matters(seconds: float, text: str) -> None:
    assert format_rtt(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0.847, "0.85"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (6343.2, "6343")])
def test_three_digits_and_never_more_decimals(number: float, text: str) -> None:
    assert three_digits(number) == text
