"""One visitor who stalls: what that costs in memory, and what others in the same tunnel notice of it."""

from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.latency import fly
from bench.load.http import STALLED_BYTES
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.links import Line

STUCK_S = 60.0  # a system that takes everything needs this long for it
MB = 1e6


@dataclass(frozen=True, slots=True)
class Stall:
    """`down`: he reads nothing of 10 GB. `up`: he sends 10 GB to an origin that reads nothing."""

    way: str
    needs: tuple[str, ...] = ()
    fresh: bool = True
    line: Line | None = None

    @property
    def name(self) -> str:
        """stall-down, stall-up."""
        return f"stall-{self.way}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Memory and an innocent's latency."""
        who = "a visitor who reads nothing" if self.way == "down" else "an origin that reads nothing"
        return (
            Figure(f"{self.name}-memory", f"{who}: growth, MB", more_is_better=False, used_by_system=True),
            Figure(f"{self.name}-p99", f"{who}: innocents' p99, ms", more_is_better=False),
            Figure(f"{self.name}-times", f"{who}: innocents' p99, times alone", more_is_better=False),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """The innocents alone, then beside him."""
        alone = fly(subject, subject.published.bulk, plan.beside_per_s, plan.stall_s, plan.latency_connections, "alone")
        before = subject.system.memory_bytes()
        address = subject.published.bulk
        staller = subject.load.start(load_argv("stall", self.way, address.port, address.authority), "staller", load_env())
        sent = int(staller.first_line(STUCK_S))
        stuck = subject.system.memory_bytes()
        beside = fly(subject, subject.published.bulk, plan.beside_per_s, plan.stall_s, plan.latency_connections, "beside")
        grown = max(stuck, subject.system.memory_bytes()) - before  # what is given back later was taken all the same
        subject.system.check()
        subject.load.check(may_be_done=True)
        notes = [*alone.notes, *beside.notes]
        if sent >= STALLED_BYTES:
            notes.append("all 10 GB were taken from the visitor although the origin read nothing")
        figures = {"memory": max(grown, 0) / MB, "p99": beside.figures["p99"], "times": beside.figures["p99"] / alone.figures["p99"]}
        return Reading({f"{self.name}-{key}": value for key, value in figures.items()}, notes)
