"""How long and how large each measurement is."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of a usual run: three rounds of eight systems on nine axes stay below ten minutes."""

    rounds: int = 3
    minutes_max: float = 11
    """After this the run stops where it is and reports what it has."""

    warm_s: float = 0.5
    """Before a transfer is measured: congestion and mux windows grow in it."""

    bulk_s: float = 1.0
    keepalive_s: float = 3.0
    connections_s: float = 3.0
    alone_s: float = 2.5
    beside_s: float = 3.0
    alone_per_s: float = 1000
    beside_per_s: float = 300
    visitors: int = 64
    """Connections of wrk."""

    latency_connections: int = 16
    """Of the fixed-rate visitor: enough that none is missing unless answers stall."""

    idle_visitors: int = 2000

    far_s: float = 3.0
    """Of a transfer over a long line, after its windows have grown."""

    crowd_visitors: int = 9000

    stall_s: float = 4.0
    """Of the innocents' requests, alone and beside a visitor who stalls: 1,200 of them, so that p99 is not one unlucky request."""

    def scaled(self, factor: float) -> "Plan":
        """The same with every measurement `factor` times as long."""
        return replace(
            self,
            bulk_s=self.bulk_s * factor,
            keepalive_s=self.keepalive_s * factor,
            connections_s=self.connections_s * factor,
            alone_s=self.alone_s * factor,
            beside_s=self.beside_s * factor,
            far_s=self.far_s * factor,
            stall_s=self.stall_s * factor,
        )


USUAL = Plan()

FULL_MINUTES_MAX = 80
"""With every axis and every system."""

QUICK = Plan(
    rounds=1,
    minutes_max=2,
    warm_s=0.3,
    bulk_s=0.5,
    keepalive_s=1.0,
    connections_s=1.0,
    alone_s=1.0,
    beside_s=1.5,
    idle_visitors=500,
    far_s=1.5,
    crowd_visitors=300,
    stall_s=1.0,
)
"""Shows that everything works, and the order of magnitude."""
