"""All axes, in the order of the table."""

from bench.axes.base import Axis, Figure
from bench.axes.bulk import Bulk
from bench.axes.crowd import Crowd
from bench.axes.far import FarBulk
from bench.axes.handshakes import Handshakes
from bench.axes.idle import Idle
from bench.axes.latency import Latency
from bench.axes.requests import Requests
from bench.axes.stall import Stall
from bench.axes.tunnels import Tunnels

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

TLS_USUAL: tuple[Axis, ...] = (
    *USUAL[:4],
    Requests(new_connections=False),
    Handshakes(resumed=False),
    Handshakes(resumed=True),
)
"""Axes of a run with `--tls`, without `--only` and `--full`."""

TLS_AXES: tuple[Axis, ...] = (*TLS_USUAL, Idle())
"""Axes that can be measured with visitors that use TLS."""

PROXY_USUAL: tuple[Axis, ...] = (
    Tunnels(new=True),
    Tunnels(new=False),
    Bulk("down", 1),
    Bulk("down", 8),
    Latency(""),
    Idle(),
)
"""Axes of a run with `--proxies`, without `--only` and `--full`."""

PROXY_AXES: tuple[Axis, ...] = (*PROXY_USUAL[:4], Bulk("up", 1), Bulk("up", 8), *PROXY_USUAL[4:], Latency("visitor"), Stall("down"))
"""Axes that can be measured through forward proxies."""


def figures_of(axes: tuple[Axis, ...]) -> tuple[Figure, ...]:
    """Return all figures of these axes, in order."""
    return tuple(figure for axis in axes for figure in axis.figures)
