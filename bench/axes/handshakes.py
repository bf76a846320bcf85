"""New TLS connections with one small request each: rate, and number for each CPU second of the system."""

import json
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.errors import BenchError
from bench.load.go_build import build_go
from bench.plan import Plan
from bench.systems.links import NetworkPath

FINISH_S_MAX = 25.0  # the program ends by itself; connections of the last moment have 10 s


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Full handshakes, or resumed ones (TLS 1.3 with a ticket, which still has a key exchange but no certificate)."""

    resumed: bool
    needs: tuple[str, ...] = ("go",)
    fresh: bool = False
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `handshakes-full` or `handshakes-resumed`."""
        return f"handshakes-{'resumed' if self.resumed else 'full'}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate, and number for each CPU second."""
        kind = "resumed" if self.resumed else "full"
        return (
            Figure(self.name, f"{kind} handshakes/s"),
            Figure(f"{self.name}-cpu", f"{kind} handshakes per CPU second", used_by_system=True),
        )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Run the visitors once."""
        address = subject.published.web
        if address.tls is None:
            raise BenchError(f"{address.authority}: visitors do not use TLS here")
        argv = [str(build_go("handshakes")), "-port", str(address.port), "-name", address.tls.server_name]
        argv += ["-ca", str(address.tls.certificate), "-connections", str(plan.handshake_connections), "-seconds", str(plan.handshakes_s)]
        cpu_s = subject.system.cpu_s()
        visitors = subject.load.start([*argv, *(["-resume"] if self.resumed else [])], "handshakes")
        result = json.loads(visitors.first_line(plan.handshakes_s + FINISH_S_MAX))
        cpu_s = subject.system.cpu_s() - cpu_s
        subject.system.check()
        done, failed = int(result["done"]), int(result["failed"])
        if failed >= done:
            raise BenchError(f"{failed} of {done + failed} connections failed: {result['first_error']}")
        notes = [f"{failed} of {done + failed} connections failed: {result['first_error']}"] if failed else []
        return Reading({self.name: done / result["elapsed_s"], f"{self.name}-cpu": done / cpu_s if cpu_s else 0.0}, notes)
