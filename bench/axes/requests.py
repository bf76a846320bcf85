"""Small requests as fast as they go: on connections that stay, or each on a new one; and what one costs the system."""

from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.axes.wrk import run_wrk
from bench.plan import Plan
from bench.systems.links import Line


@dataclass(frozen=True, slots=True)
class Requests:
    """wrk against nginx, 64 visitors at a time."""

    new_connections: bool
    needs: tuple[str, ...] = ("wrk", "nginx")
    fresh: bool = False
    line: Line | None = None

    @property
    def name(self) -> str:
        """keepalive, connections."""
        return "connections" if self.new_connections else "keepalive"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate and cost."""
        rate, each = ("new connections/s", "new connection") if self.new_connections else ("keep-alive requests/s", "request")
        return (Figure(self.name, rate), Figure(f"{self.name}-cpu", f"CPU µs a {each}", more_is_better=False, used_by_system=True))

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Run wrk once."""
        seconds = plan.connections_s if self.new_connections else plan.keepalive_s
        fields = ("Connection: close",) if self.new_connections else ()
        cpu_s = subject.system.cpu_s()
        result = run_wrk(subject.published.web, plan.visitors, seconds, fields)
        cpu_s = subject.system.cpu_s() - cpu_s
        subject.system.check()
        return Reading({self.name: result.per_s, f"{self.name}-cpu": cpu_s / result.requests * 1e6}, result.notes)
