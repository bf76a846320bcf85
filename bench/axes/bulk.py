"""Bulk transfer: rate in one direction over a few connections, and the system's CPU time per GiB."""

import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.errors import BenchError
from bench.load.counters import Counters
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.links import NetworkPath

GB, GIB = 1e9, 2**30
FIRST_BYTES_S = 10.0


def start_transfer(subject: Subject, direction: str, connections: int) -> Counters:
    """Start visitors that transfer until `subject.load` is stopped; return the counters of received bytes.

    Raises:
        BenchError: no byte arrives.
    """
    counted = subject.load.folder / f"counted-{time.monotonic_ns()}"
    arrived = Counters(counted) if direction == "down" else subject.origins.uploaded
    address = subject.published.bulk
    before = arrived.total()
    subject.load.start(
        load_argv("bulk", direction, address.port, address.authority, connections, counted, *address.dial_words), "visitors", load_env()
    )
    until = time.monotonic() + FIRST_BYTES_S
    while arrived.total() == before:
        subject.load.check()
        if time.monotonic() > until:
            raise BenchError(f"no byte arrived in {FIRST_BYTES_S:g} s")
        time.sleep(0.01)
    return arrived


def rate_and_cost(subject: Subject, arrived: Counters, seconds: float) -> tuple[float, float]:
    """Return bytes per second and the system's CPU seconds per byte, over the next `seconds` of a running transfer.

    Raises:
        BenchError: the transfer broke or made no progress.
    """
    cpu_s, count, start = subject.system.cpu_s(), arrived.total(), time.monotonic()
    time.sleep(seconds)
    count, elapsed_s = arrived.total() - count, time.monotonic() - start
    cpu_s = subject.system.cpu_s() - cpu_s
    subject.load.check()
    subject.system.check()
    if count == 0:
        raise BenchError(f"the transfer made no progress for {seconds:g} s")
    return count / elapsed_s, cpu_s / count


@dataclass(frozen=True, slots=True)
class Bulk:
    """Transfer in one direction over some connections."""

    direction: str
    connections: int
    needs: tuple[str, ...] = ()
    fresh: bool = False
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `bulk-down-1` and so on."""
        return f"bulk-{self.direction}-{self.connections}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate and CPU cost."""
        what = f"{self.direction}load, {self.connections} connection{'s' if self.connections > 1 else ''}"
        return (
            Figure(self.name, f"{what}, GB/s"),
            Figure(f"{self.name}-cpu", f"{what}, CPU s/GiB", more_is_better=False, used_by_system=True),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Start transfers, wait for windows to grow, then measure rate and cost; the transfers never end by themselves."""
        arrived = start_transfer(subject, self.direction, self.connections)
        time.sleep(plan.warm_s)
        per_s, cpu_per_byte = rate_and_cost(subject, arrived, plan.bulk_s)
        return Reading({self.name: per_s / GB, f"{self.name}-cpu": cpu_per_byte * GIB})
