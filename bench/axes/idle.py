"""Memory per visitor that made one small request and keeps its connection open, idle."""

import time
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.origins import load_argv, load_env
from bench.plan import Plan
from bench.systems.base import Address
from bench.systems.links import NetworkPath

OPEN_S = 60.0  # rathole makes a thousand TLS connections a second
SETTLE_S = 0.4
WARM_VISITORS = 32  # so that one-time costs (code, pools, caches) do not count


def _open(subject: Subject, count: int, name: str) -> None:
    address: Address = subject.published.web
    visitors = subject.load.start(load_argv("idle", address.port, address.authority, count, *address.dial_words), name, load_env())
    visitors.first_line(OPEN_S)
    time.sleep(SETTLE_S)


@dataclass(frozen=True, slots=True)
class Idle:
    """Growth of the system's own memory, divided by the number of such visitors."""

    name: str = "idle"
    needs: tuple[str, ...] = ()
    fresh: bool = True
    network_path: NetworkPath | None = None
    figures: tuple[Figure, ...] = (Figure("idle", "memory per idle visitor, kB", more_is_better=False, used_by_system=True),)

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Warm up with a few visitors that stay, then connect the others."""
        _open(subject, WARM_VISITORS, "warm")
        before = subject.system.memory_bytes()
        _open(subject, plan.idle_visitors, "idle")
        grown = subject.system.memory_bytes() - before
        subject.system.check()
        return Reading({"idle": max(grown, 0) / plan.idle_visitors / 1000})
