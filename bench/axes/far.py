"""One transfer over a long line between agent and server: how much of the line it fills, and what small requests beside it wait."""

import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.bulk import start_transfer
from bench.axes.latency import fly
from bench.errors import BenchError
from bench.plan import Plan
from bench.systems.links import Line

SETTLE_S = 2.0  # windows may grow so long
REQUESTS_PER_S = 100.0


@dataclass(frozen=True, slots=True)
class FarBulk:
    """One way; requests go through the same tunnel on warm connections."""

    way: str
    line: Line | None = Line()  # noqa: RUF009 - frozen
    needs: tuple[str, ...] = ()
    fresh: bool = True

    @property
    def name(self) -> str:
        """far-down, far-up."""
        return f"far-{self.way}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Goodput as a share of the line, and latency with the line's round trip in it."""
        where = f"{self.way}load over {self.line.words if self.line else 'no line'}"
        return (
            Figure(self.name, f"{where}, share of the line"),
            Figure(f"{self.name}-p50", f"100/s beside that far {self.way}load, p50 ms", more_is_better=False),
            Figure(f"{self.name}-p99", f"100/s beside that far {self.way}load, p99 ms", more_is_better=False),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Let the windows grow, then read goodput and latency in the same seconds."""
        arrived = start_transfer(subject, self.way, 1)
        time.sleep(SETTLE_S)
        count, start = arrived.total(), time.monotonic()
        found = fly(subject, subject.published.bulk, REQUESTS_PER_S, plan.far_s, plan.latency_connections)
        bits_per_s = 8 * (arrived.total() - count) / (time.monotonic() - start)
        subject.load.check(may_be_done=True)
        subject.system.check()
        if bits_per_s == 0:
            raise BenchError("the transfer stood still")
        share = bits_per_s / (self.line or Line()).rate_bits_per_s
        figures = {"": share, "-p50": found.figures["p50"], "-p99": found.figures["p99"]}
        return Reading({f"{self.name}{key}": value for key, value in figures.items()}, found.notes)
