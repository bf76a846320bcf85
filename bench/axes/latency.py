"""Latency of small requests at a fixed rate, alone or beside a download of another visitor or another tenant."""

import json
import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.bulk import GB, start_transfer
from bench.errors import BenchError
from bench.load.latency import GRACE_S
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.base import Address
from bench.systems.links import NetworkPath

START_S = 20.0  # for the visitor program to start and connect


def measure_latency(
    subject: Subject, address: Address, rate_per_s: float, seconds: float, connections: int, name: str = "latency"
) -> Reading:
    """Make requests at a fixed rate; return p50 and p99 in ms.

    Raises:
        BenchError: the visitor program failed.
    """
    argv = load_argv("latency", address.port, address.authority, rate_per_s, seconds, connections, *address.dial_words)
    visitor = subject.load.start(argv, name, load_env())
    result = json.loads(visitor.first_line(seconds + GRACE_S + START_S))
    notes = [f"{result['lost']} of {result['sent']} requests were never answered"] if result["lost"] else []
    return Reading({"p50": float(result["p50_ms"]), "p99": float(result["p99_ms"])}, notes)


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency from the moment a request was due, at a rate that never waits (no coordinated omission)."""

    beside: str
    """Traffic beside: "" for none, "visitor" for a download through the same tunnel, "tenant" for one through another tenant's."""
    needs: tuple[str, ...] = ()
    fresh: bool = False
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `latency-alone`, `latency-beside` or `latency-tenant`."""
        return {"": "latency-alone", "visitor": "latency-beside", "tenant": "latency-tenant"}[self.beside]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Two percentiles; beside a transfer also its rate, because starving it would also give low latency."""
        whose = {"": "1,000/s alone", "visitor": "300/s beside a visitor's download", "tenant": "300/s beside another tenant's download"}[
            self.beside
        ]
        percentiles = tuple(Figure(f"{self.name}-{each}", f"{whose}, {each} ms", more_is_better=False) for each in ("p50", "p99"))
        return (*percentiles, Figure(f"{self.name}-bulk", f"that {self.beside}'s download, GB/s")) if self.beside else percentiles

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Run the schedule once."""
        if not self.beside:
            found = measure_latency(subject, subject.published.bulk, plan.alone_per_s, plan.alone_s, plan.latency_connections)
            return Reading({f"{self.name}-{key}": value for key, value in found.figures.items()}, found.notes)
        arrived = start_transfer(subject, "down", 1)
        time.sleep(plan.warm_s)
        count, start = arrived.total(), time.monotonic()
        innocent = subject.published.tenant if self.beside == "tenant" else subject.published.bulk
        found = measure_latency(subject, innocent, plan.beside_per_s, plan.beside_s, plan.latency_connections)
        per_s = (arrived.total() - count) / (time.monotonic() - start)
        figures = {f"{self.name}-{key}": value for key, value in found.figures.items()}
        if per_s == 0:
            raise BenchError("the transfer beside the small requests made no progress")
        return Reading(figures | {f"{self.name}-bulk": per_s / GB}, found.notes)
