"""Durations and sizes of the measurements."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Durations and sizes; the defaults keep three rounds of eight systems on nine axes below ten minutes."""

    rounds: int = 3
    minutes_max: float = 11
    """After this time the run stops and reports its results so far."""

    warm_s: float = 0.5
    """Before a transfer is measured, for congestion and mux windows to grow."""

    bulk_s: float = 1.0
    keepalive_s: float = 3.0
    connections_s: float = 3.0
    handshakes_s: float = 3.0
    alone_s: float = 2.5
    beside_s: float = 3.0
    alone_per_s: float = 1000
    beside_per_s: float = 300
    visitors: int = 64
    """Connections of wrk."""

    handshake_connections: int = 16
    """Connecting at a time: enough to keep every process busy, below every system's bound of handshakes."""

    latency_connections: int = 16
    """Of the fixed-rate visitor: enough that one is free unless responses stall."""

    idle_visitors: int = 2000

    far_s: float = 3.0
    """Of a transfer over a long network path, after its windows have grown."""

    crowd_visitors: int = 9000

    stall_s: float = 4.0
    """Of small requests, alone and beside a stalled transfer: 1,200 of them, so that p99 does not depend on one request."""

    def scaled(self, factor: float) -> "Plan":
        """Return this plan with every measurement `factor` times as long."""
        return replace(
            self,
            bulk_s=self.bulk_s * factor,
            keepalive_s=self.keepalive_s * factor,
            connections_s=self.connections_s * factor,
            handshakes_s=self.handshakes_s * factor,
            alone_s=self.alone_s * factor,
            beside_s=self.beside_s * factor,
            far_s=self.far_s * factor,
            stall_s=self.stall_s * factor,
        )


USUAL = Plan()

FULL_MINUTES_MAX = 80
"""Limit with `--full`."""

QUICK = Plan(
    rounds=1,
    minutes_max=2,
    warm_s=0.3,
    bulk_s=0.5,
    keepalive_s=1.0,
    connections_s=1.0,
    handshakes_s=1.0,
    alone_s=1.0,
    beside_s=1.5,
    idle_visitors=500,
    far_s=1.5,
    crowd_visitors=300,
    stall_s=1.0,
)
"""Plan of `--quick`: checks that everything works and shows the order of magnitude."""
