"""All axes, in the order of the table."""

from bench.axes.base import Axis, Figure
from bench.axes.bulk import Bulk
from bench.axes.crowd import Crowd
from bench.axes.far import FarBulk
from bench.axes.idle import Idle
from bench.axes.latency import Latency
from bench.axes.requests import Requests
from bench.axes.stall import Stall

USUAL: tuple[Axis, ...] = (
    Bulk("down", 1),
    Bulk("up", 1),
    Bulk("down", 8),
    Bulk("up", 8),
    Requests(new_connections=False),
    Requests(new_connections=True),
    Latency(""),
    Latency("visitor"),
    Idle(),
)
"""Axes of a run without `--only` and `--full`."""

AXES: tuple[Axis, ...] = (
    *USUAL[:-1],
    Latency("tenant"),
    USUAL[-1],
    FarBulk("down"),
    FarBulk("up"),
    Crowd(),
    Stall("down"),
    Stall("up"),
)


def figures_of(axes: tuple[Axis, ...]) -> tuple[Figure, ...]:
    """Return all figures of these axes, in order."""
    return tuple(figure for axis in axes for figure in axis.figures)
