"""What a speed test tells while it runs; every event is one frozen value."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["down", "up"]
"""down: from the server to this machine; up: the other way."""

Limit = Literal["here_cpu", "server_cpu", "both_cpus", "streams", "links", "line", "unknown"]
"""What holds a direction back: a process at the end of its core, the window of each stream, each link's TCP, the line itself."""


@dataclass(frozen=True, slots=True)
class SpeedTestStarted:
    """The server accepted the login; the test begins."""

    address: str
    """`host:port` of the server's agents' listener."""
    server: str
    """The server's version."""
    encrypted: bool
    seconds: float
    """Of each measurement."""
    streams: int
    """Of those with many."""
    links_max: int
    """Links that this test may open, as far as the server allows them."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Pings over a link at rest, from mux to mux."""

    count: int
    lowest_s: float
    median_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A measurement is under way; told several times a second, to people only."""

    direction: Direction
    streams: int
    done: float
    """Share of its time, 0 to 1."""
    bytes_per_s: float
    """Lately, at this end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement. CPU is in shares of one core, and those of the server are of the process that serves this session."""

    direction: Direction
    streams: int
    links: int
    """Links that carried it."""
    bytes_per_s: float
    """Payload that arrived, in the steady stretch."""
    rtt_s: float | None
    """Median round trip of pings meanwhile; None when none came back."""
    here_cpu: float
    here_waited: float
    """Share of the time in which this process was ready and others had the cores."""
    server_cpu: float
    server_waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What limits one direction, and what to do about it."""

    direction: Direction
    limit: Limit
    bytes_per_s: float
    """The most that was reached."""
    reason: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayVerdict:
    """What a full way does to the round trip of everybody else."""

    rest_s: float
    full_s: float
    """The worse direction's, with many streams."""
    reason: str
    next_step: str = ""


SpeedEvent = SpeedTestStarted | RoundTrips | Progress | Measurement | Verdict | DelayVerdict
"""Every event that a speed test can tell."""
