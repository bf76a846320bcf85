"""Percentiles are measured values; spread is relative to the median."""

import pytest

from bench.percentiles import percentile, spread


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.1, 51), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), percent) == expected


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


def test_spread_is_half_the_distance_of_the_extremes() -> None:
    assert spread([90, 100, 120]) == pytest.approx(0.15)
    assert spread([3]) == 0
    assert spread([0, 0]) == 0
