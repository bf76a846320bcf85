"""Interface of an axis: a measurement of one running system that gives a few named figures."""

from dataclasses import dataclass, field
from typing import Protocol

from bench.origins import Origins
from bench.plan import Plan
from bench.processes import Processes
from bench.systems.base import Published
from bench.systems.links import NetworkPath


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the table."""

    key: str
    """Unique key, used in the JSON."""

    label: str
    """Label in the table, with its unit."""

    more_is_better: bool = True

    used_by_system: bool = False
    """True for what the system's own processes use; `direct` has none, so it has no such figure."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running system and what is needed to measure it."""

    system: Processes
    """The processes of the system; what they use is its cost."""

    load: Processes
    """The processes of visitors, stopped after each measurement."""

    published: Published
    origins: Origins


@dataclass(slots=True)
class Reading:
    """Result of one measurement."""

    figures: dict[str, float]
    notes: list[str] = field(default_factory=list)
    """Remarks for the report: lost requests, refused connections."""


class Axis(Protocol):
    """One measurement. To add one, write a file here and add a line to `catalog.py`."""

    @property
    def name(self) -> str:
        """The name for `--only`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs that must be on PATH."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures that `measure` returns."""

    @property
    def fresh(self) -> bool:
        """Whether the system must be restarted first, so that its memory holds nothing of an earlier load."""

    @property
    def network_path(self) -> NetworkPath | None:
        """The emulated network path between agents and server; None for loopback."""

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Measure once.

        Raises:
            BenchError: the load or the system failed.
        """
