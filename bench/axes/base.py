"""What an axis is: a measurement of one running system that gives a few named figures."""

from dataclasses import dataclass, field
from typing import Protocol

from bench.origins import Origins
from bench.plan import Plan
from bench.processes import Processes
from bench.systems.base import Published
from bench.systems.links import Line


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the table."""

    key: str
    """Unique; in the JSON."""

    label: str
    """In the table, with its unit."""

    more_is_better: bool = True

    used_by_system: bool = False
    """What the system's own processes used: `direct`, which has none, has no such figure."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running system, and what a measurement of it needs."""

    system: Processes
    """Its processes: what they use is the system's cost."""

    load: Processes
    """Where visitors are started; it is stopped after each measurement."""

    published: Published
    origins: Origins


@dataclass(slots=True)
class Reading:
    """What one measurement gave."""

    figures: dict[str, float]
    notes: list[str] = field(default_factory=list)
    """What a reader must know about it: lost requests, refused connections."""


class Axis(Protocol):
    """One measurement. To add one: a file here, a line in `catalog.py`."""

    @property
    def name(self) -> str:
        """As in `--only`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs that must be on PATH."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What `measure` gives."""

    @property
    def fresh(self) -> bool:
        """Whether the system must be newly started, so that nothing of an earlier load is in its memory."""

    @property
    def line(self) -> Line | None:
        """The line between agents and server, None for loopback."""

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Measure once.

        Raises:
            BenchError: the load or the system failed.
        """
