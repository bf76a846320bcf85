"""Rate of small requests on kept or new connections, and the system's CPU time per request."""

from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.wrk import run_wrk
from bench.plan import Plan
from bench.systems.links import NetworkPath


@dataclass(frozen=True, slots=True)
class Requests:
    """wrk against nginx over 64 connections."""

    new_connections: bool
    needs: tuple[str, ...] = ("wrk", "nginx")
    fresh: bool = False
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `keepalive` or `connections`."""
        return "connections" if self.new_connections else "keepalive"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate and CPU cost."""
        rate, each = ("new connections/s", "new connection") if self.new_connections else ("keep-alive requests/s", "request")
        return (Figure(self.name, rate), Figure(f"{self.name}-cpu", f"CPU µs per {each}", more_is_better=False, used_by_system=True))

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Run wrk once."""
        seconds = plan.connections_s if self.new_connections else plan.keepalive_s
        fields = ("Connection: close",) if self.new_connections else ()
        cpu_s = subject.system.cpu_s()
        result = run_wrk(subject.published.web, plan.visitors, seconds, fields)
        cpu_s = subject.system.cpu_s() - cpu_s
        subject.system.check()
        return Reading({self.name: result.per_s, f"{self.name}-cpu": cpu_s / result.requests * 1e6}, result.notes)
