"""The events that a speed test emits while it runs, each a frozen value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Direction = Literal["down", "up"]
"""down: from the server to this machine; up: the opposite direction."""

Limit = Literal["here_cpu", "server_cpu", "both_cpus", "streams", "links", "line", "unknown"]
"""The bottleneck of a direction: a process that uses its whole core, the window of each stream, TCP of each link, the network path."""


@dataclass(frozen=True, slots=True)
class SpeedTestStarted:
    """The server accepted the login; the test begins."""

    address: str
    """`host:port` of the server's agents' listener."""
    server: str
    """The server's version."""
    encrypted: bool
    seconds: float
    """Duration of each measurement."""
    streams: int
    """Number of streams in the multi-stream measurements."""
    links_max: int
    """Links that this test may open, if the server allows as many."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Pings on an idle link, from mux to mux."""

    count: int
    lowest_s: float
    median_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A measurement is running; emitted several times a second, not in JSON."""

    direction: Direction
    streams: int
    done: float
    """Elapsed share of its time, 0 to 1."""
    bytes_per_s: float
    """Current rate at this end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement. CPU is a share of one core; at the server, of the process that serves this session."""

    direction: Direction
    streams: int
    links: int
    """Number of links that carried it."""
    bytes_per_s: float
    """Received payload in the steady interval."""
    rtt_s: float | None
    """Median round trip of concurrent pings; None without a pong."""
    here_cpu: float
    here_waited: float
    """Share of the time in which this process was ready to run but others used the cores."""
    server_cpu: float
    server_waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The bottleneck of one direction, and what to do about it."""

    direction: Direction
    limit: Limit
    bytes_per_s: float
    """The highest measured rate."""
    reason: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayVerdict:
    """How a saturated network path affects round trips."""

    rest_s: float
    full_s: float
    """In the worse direction, with many streams."""
    reason: str
    next_step: str = ""


SpeedEvent = SpeedTestStarted | RoundTrips | Progress | Measurement | Verdict | DelayVerdict
"""Every event that a speed test emits."""

EventSink = Callable[[SpeedEvent], None]
"""Receives events; must not block."""
