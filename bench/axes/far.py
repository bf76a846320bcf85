"""One transfer over a long network path between agent and server: its share of the rate, and latency of small requests beside it."""

import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.bulk import start_transfer
from bench.axes.latency import measure_latency
from bench.errors import BenchError
from bench.plan import Plan
from bench.systems.links import NetworkPath

SETTLE_S = 2.0  # for windows to grow
REQUESTS_PER_S = 100.0


@dataclass(frozen=True, slots=True)
class FarBulk:
    """Transfer in one direction, with requests through the same tunnel on warm connections."""

    direction: str
    network_path: NetworkPath | None = NetworkPath()  # noqa: RUF009 - frozen
    needs: tuple[str, ...] = ()
    fresh: bool = True

    @property
    def name(self) -> str:
        """The name: `far-down` or `far-up`."""
        return f"far-{self.direction}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Goodput as a share of the path's rate, and latency that includes the path's round trip."""
        where = f"{self.direction}load over {self.network_path.description if self.network_path else 'loopback'}"
        return (
            Figure(self.name, f"{where}, share of its rate"),
            Figure(f"{self.name}-p50", f"100/s beside that {self.direction}load, p50 ms", more_is_better=False),
            Figure(f"{self.name}-p99", f"100/s beside that {self.direction}load, p99 ms", more_is_better=False),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Wait for windows to grow, then measure goodput and latency over the same interval."""
        arrived = start_transfer(subject, self.direction, 1)
        time.sleep(SETTLE_S)
        count, start = arrived.total(), time.monotonic()
        found = measure_latency(subject, subject.published.bulk, REQUESTS_PER_S, plan.far_s, plan.latency_connections)
        bits_per_s = 8 * (arrived.total() - count) / (time.monotonic() - start)
        subject.load.check(may_be_done=True)
        subject.system.check()
        if bits_per_s == 0:
            raise BenchError("the transfer made no progress")
        share = bits_per_s / (self.network_path or NetworkPath()).rate_bits_per_s
        figures = {"": share, "-p50": found.figures["p50"], "-p99": found.figures["p99"]}
        return Reading({f"{self.name}{key}": value for key, value in figures.items()}, found.notes)
