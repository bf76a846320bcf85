"""Small requests through tunnels of a forward proxy, kept or new: rate, and the proxy's CPU time per request."""

import json
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.errors import BenchError
from bench.load.go_build import build_go
from bench.plan import Plan
from bench.systems.links import NetworkPath

FINISH_S_MAX = 25.0  # the program ends by itself; connections of the last moment have 10 s


@dataclass(frozen=True, slots=True)
class Tunnels:
    """Requests to nginx over 64 tunnels; `new`: a tunnel for each of them."""

    new: bool
    needs: tuple[str, ...] = ("go", "nginx")
    fresh: bool = False
    network_path: NetworkPath | None = None

    @property
    def name(self) -> str:
        """The name: `tunnels-new` or `tunnels-kept`."""
        return f"tunnels-{'new' if self.new else 'kept'}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Rate and CPU cost."""
        rate, each = ("new tunnels/s", "new tunnel") if self.new else ("requests/s through kept tunnels", "request")
        return (Figure(self.name, rate), Figure(f"{self.name}-cpu", f"CPU µs per {each}", more_is_better=False, used_by_system=True))

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Run the visitors once."""
        address = subject.published.web
        seconds = plan.connections_s if self.new else plan.keepalive_s
        argv = [str(build_go("tunnels")), "-port", str(address.port), "-proxy", address.proxy.rstrip(":") or "none"]
        argv += [
            "-target",
            address.authority,
            "-connections",
            str(plan.visitors),
            "-seconds",
            str(seconds),
            *(["-new"] if self.new else []),
        ]
        cpu_s = subject.system.cpu_s()
        visitors = subject.load.start(argv, "tunnels")
        result = json.loads(visitors.first_line(seconds + FINISH_S_MAX))
        cpu_s = subject.system.cpu_s() - cpu_s
        subject.system.check()
        done, failed = int(result["done"]), int(result["failed"])
        if failed >= done:
            raise BenchError(f"{failed} of {done + failed} requests failed: {result['first_error']}")
        notes = [f"{failed} of {done + failed} requests failed: {result['first_error']}"] if failed else []
        return Reading({self.name: done / result["elapsed_s"], f"{self.name}-cpu": cpu_s / done * 1e6}, notes)
