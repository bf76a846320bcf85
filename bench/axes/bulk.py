"""Bulk: how fast bytes go one way over a few connections, and what a GiB of them costs the system in CPU time."""

import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.errors import BenchError
from bench.load.counters import Counters
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.links import Line

GB, GIB = 1e9, 2**30
FIRST_BYTES_S = 10.0


def start_transfer(subject: Subject, way: str, connections: int) -> Counters:
    """Start visitors that transfer until `subject.load` is stopped; returns the counters of what arrives.

    Raises:
        BenchError: nothing arrives.
    """
    counted = subject.load.folder / f"counted-{time.monotonic_ns()}"
    arrived = Counters(counted) if way == "down" else subject.origins.uploaded
    address = subject.published.bulk
    before = arrived.total()
    subject.load.start(load_argv("bulk", way, address.port, address.authority, connections, counted), "visitors", load_env())
    until = time.monotonic() + FIRST_BYTES_S
    while arrived.total() == before:
        subject.load.check()
        if time.monotonic() > until:
            raise BenchError(f"no byte arrived in {FIRST_BYTES_S:g} s")
        time.sleep(0.01)
    return arrived


def rate_and_cost(subject: Subject, arrived: Counters, seconds: float) -> tuple[float, float]:
    """Bytes per second and CPU seconds of the system per byte, over the next `seconds` of a transfer in full flow.

    Raises:
        BenchError: the transfer broke, or stood still.
    """
    cpu_s, count, start = subject.system.cpu_s(), arrived.total(), time.monotonic()
    time.sleep(seconds)
    count, elapsed_s = arrived.total() - count, time.monotonic() - start
    cpu_s = subject.system.cpu_s() - cpu_s
    subject.load.check()
    subject.system.check()
    if count == 0:
        raise BenchError(f"the transfer stood still for {seconds:g} s")
    return count / elapsed_s, cpu_s / count


@dataclass(frozen=True, slots=True)
class Bulk:
    """One way, some connections."""

    way: str
    connections: int
    needs: tuple[str, ...] = ()
    fresh: bool = False
    line: Line | None = None

    @property
    def name(self) -> str:
        """bulk-down-1 and so on."""
        return f"bulk-{self.way}-{self.connections}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate and cost."""
        what = f"{self.way}load, {self.connections} connection{'s' if self.connections > 1 else ''}"
        return (
            Figure(self.name, f"{what}, GB/s"),
            Figure(f"{self.name}-cpu", f"{what}, CPU s/GiB", more_is_better=False, used_by_system=True),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Start transfers, let them grow, read rate and cost in mid-flow, cut them."""
        arrived = start_transfer(subject, self.way, self.connections)
        time.sleep(plan.warm_s)
        per_s, cpu_per_byte = rate_and_cost(subject, arrived, plan.bulk_s)
        return Reading({self.name: per_s / GB, f"{self.name}-cpu": cpu_per_byte * GIB})
