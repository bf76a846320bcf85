"""Medians, percentiles and spread of a few figures."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed (nearest rank, no interpolation)."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def spread(values: Sequence[float]) -> float:
    """Return half of the distance between the extremes, as a share of the median: 0.05 means ± 5 %."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0
