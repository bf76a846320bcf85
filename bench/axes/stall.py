"""One stalled transfer: memory that it costs, and latency of other requests in the same tunnel."""

from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.latency import measure_latency
from bench.load.http import STALLED_BYTES
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.links import NetworkPath

STUCK_S = 60.0  # a system that accepts all 10 GB needs this long
MB = 1e6


@dataclass(frozen=True, slots=True)
class Stall:
    """A stalled transfer. `down`: the visitor reads nothing of a download. `up`: it sends 10 GB to an origin that reads nothing."""

    direction: str
    needs: tuple[str, ...] = ()
    fresh: bool = True
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `stall-down` or `stall-up`."""
        return f"stall-{self.direction}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Memory growth, and latency of other visitors."""
        cause = "a visitor that reads nothing" if self.direction == "down" else "an origin that reads nothing"
        return (
            Figure(f"{self.name}-memory", f"{cause}: growth, MB", more_is_better=False, used_by_system=True),
            Figure(f"{self.name}-p99", f"{cause}: p99 of others, ms", more_is_better=False),
            Figure(f"{self.name}-times", f"{cause}: p99 of others, times alone", more_is_better=False),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Measure latency alone, then beside the stalled transfer."""
        alone = measure_latency(subject, subject.published.bulk, plan.beside_per_s, plan.stall_s, plan.latency_connections, "alone")
        before = subject.system.memory_bytes()
        address = subject.published.bulk
        staller = subject.load.start(
            load_argv("stall", self.direction, address.port, address.authority, *address.dial_words), "staller", load_env()
        )
        sent = int(staller.first_line(STUCK_S))
        stuck = subject.system.memory_bytes()
        beside = measure_latency(subject, subject.published.bulk, plan.beside_per_s, plan.stall_s, plan.latency_connections, "beside")
        grown = max(stuck, subject.system.memory_bytes()) - before  # memory freed since then counts too
        subject.system.check()
        subject.load.check(may_be_done=True)
        notes = [*alone.notes, *beside.notes]
        if sent >= STALLED_BYTES:
            notes.append("all 10 GB were accepted from the visitor although the origin read nothing")
        figures = {"memory": max(grown, 0) / MB, "p99": beside.figures["p99"], "times": beside.figures["p99"] / alone.figures["p99"]}
        return Reading({f"{self.name}-{key}": value for key, value in figures.items()}, notes)
