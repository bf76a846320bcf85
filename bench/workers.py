"""`python -m bench.workers`: how evenly `portway server --workers N` spreads its work, in CPU seconds of each process.

A machine whose cores are all busy cannot show a gain of several workers: agents, origins, visitors and workers share them.
What it can show is who does the work. A server is as fast as its busiest process; so the gain on a machine with cores to
spare is what one process pays for a request, divided by what the busiest of several pays, when their agents are asked alike.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from bench.axes.wrk import run_wrk
from bench.errors import BenchError
from bench.limits import raise_open_files
from bench.load.counters import Counters
from bench.machine import describe
from bench.origins import load_argv, load_env, start_origins
from bench.ports import free_port, free_ports
from bench.process_stats import cpu_s_of_one, descendants
from bench.processes import Child, Processes
from bench.systems.base import Address
from bench.systems.portway import address_of, portway_env

PORTWAY = (sys.executable, "-m", "portway")
START_S = 20.0
WARM_S = 1.0
CONNECTIONS = 32  # for each agent; wrk's, that stay or come anew
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work."""

    what: str
    unit: str
    scale: float
    protocol: str
    close: bool = False
    bulk: bool = False


KINDS = (
    Kind("http requests on connections that stay", "µs a request", 1e6, "http"),
    Kind("http, a new connection for each request", "µs a request", 1e6, "http", close=True),
    Kind("tcp, a new connection for each request", "µs a request", 1e6, "tcp", close=True),
    Kind("tcp downloads, one for each agent", "s a GiB", 1.0, "tcp", bulk=True),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A server with its agents, and what they publish."""

    server: Child
    agents: list[Child]
    addresses: list[Address]

    def processes(self) -> dict[str, int]:
        """Name and process of all that Portway runs, the server's own first."""
        workers = sorted(descendants(self.server.pid))
        named = {"supervisor" if workers else "server": self.server.pid}
        named |= {f"worker {number}": pid for number, pid in enumerate(workers, 1)}
        return named | {f"agent {number}": agent.pid for number, agent in enumerate(self.agents, 1)}


@dataclass(slots=True)
class Measured:
    """What was done in all rounds together, and what each process used for it."""

    done: list[float] = field(default_factory=list)
    """Operations, for each agent."""
    elapsed_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    def add(self, done: list[float], elapsed_s: float, cpu_s: dict[str, float]) -> None:
        """Count one round more."""
        self.done = [sum(pair) for pair in zip_longest(self.done, done, fillvalue=0.0)]
        self.elapsed_s += elapsed_s
        for name, used in cpu_s.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + used

    def cost(self, name: str) -> float:
        """CPU seconds of one process for one operation, of whichever agent."""
        return self.cpu_s[name] / sum(self.done)

    def serving(self) -> list[str]:
        """The server's processes alone."""
        return [name for name in self.cpu_s if not name.startswith("agent")]

    def busiest(self) -> float:
        """What the busiest process of the server would pay for an operation, if all agents were asked alike.

        They never are, quite: two load programs that go as fast as they can get unequal parts of a busy machine. So a
        worker's cost counts for the operations of its own agent.
        """
        whole = sum(self.done)
        parts = {f"worker {number}": done / whole * len(self.done) for number, done in enumerate(self.done, 1)}
        return max(self.cost(name) / parts.get(name, 1.0) for name in self.serving())


def start_site(crew: Processes, workers: int, agents: int, protocol: str, origin_port: int) -> Site:
    """Start a server and its agents, one after the other, so that each worker gets its part of them.

    Raises:
        BenchError: one of them does not start.
    """
    home = crew.folder / "home"
    home.mkdir(mode=0o700)
    env = portway_env(home)
    tcp_ports, agents_port = free_ports(agents), free_port()
    words = ["--http", f"127.0.0.1:{free_port()}", "--agents", f"127.0.0.1:{agents_port}", "--data", str(home / "server")]
    words += ["--tcp-ports", f"{tcp_ports[0]}-{tcp_ports[-1]}", "--workers", str(workers)]
    server = crew.start([*PORTWAY, "server", *words], "server", env)
    server.first_line(START_S)  # to look whether it listens would be dealt to a worker, and the agents in another order
    create = [*PORTWAY, "token", "create", "--data", str(home / "server"), "bench"]
    env["PORTWAY_JOIN"] = subprocess.run(create, env=env, capture_output=True, text=True, timeout=START_S, check=True).stdout.strip()
    started, addresses = [], []
    for number, port in enumerate(tcp_ports):
        place = ["--name", f"app{number}"] if protocol == "http" else ["--port", str(port)]
        agent = crew.start([*PORTWAY, protocol, str(origin_port), *place], f"agent-{number}", env)
        addresses.append(address_of(agent.first_line(START_S)))
        started.append(agent)
    return Site(server, started, addresses)


def account(site: Site, found: Measured, work: Callable[[], list[float]]) -> None:
    """Read what each process uses while `work` runs, which returns how many operations there were for each agent."""
    named = site.processes()
    before, begun = {name: cpu_s_of_one(pid) for name, pid in named.items()}, time.monotonic()
    done = work()
    if not all(done):
        raise BenchError("nothing was done for one of the agents")
    found.add(done, time.monotonic() - begun, {name: cpu_s_of_one(pid) - before[name] for name, pid in named.items()})


def measure_requests(site: Site, found: Measured, seconds: float, *, close: bool) -> None:
    """Let one wrk for each agent make requests."""
    fields = ("Connection: close",) if close else ()

    def load(address: Address, for_s: float) -> float:
        return run_wrk(address, CONNECTIONS, for_s, fields).requests

    with ThreadPoolExecutor(len(site.addresses)) as threads:
        list(threads.map(load, site.addresses, [WARM_S] * len(site.addresses)))
        account(site, found, lambda: list(threads.map(load, site.addresses, [seconds] * len(site.addresses))))


def measure_downloads(site: Site, found: Measured, seconds: float, load: Processes) -> None:
    """Let one visitor for each agent download without end; an operation is a GiB."""
    counters = []
    for number, address in enumerate(site.addresses):
        counted = load.folder / f"counted-{number}"
        counters.append(Counters(counted))
        load.start(load_argv("bulk", "down", address.port, address.authority, 1, counted), f"visitor-{number}", load_env())
    time.sleep(WARM_S)

    def flow() -> list[float]:
        before = [each.total() for each in counters]
        time.sleep(seconds)
        return [(each.total() - then) / GIB for each, then in zip(counters, before, strict=True)]

    account(site, found, flow)
    load.check()


def show(kind: Kind, one: Measured, several: Measured) -> list[str]:
    """Return the lines of one comparison."""
    whole, all_done = sum(several.cost(name) for name in several.serving()), sum(several.done)
    lines = [f"{kind.what}: CPU {kind.unit}"]
    lines.append(f"  one process   {one.cost('server') * kind.scale:8.2f}   {sum(one.done) / one.elapsed_s:,.1f} a second")
    lines.append(f"  several       {whole * kind.scale:8.2f}   {all_done / several.elapsed_s:,.1f} a second")
    for name in several.serving():
        part = several.done[int(name[-1]) - 1] / all_done if name.startswith("worker") else 0.0
        share = several.cost(name) / whole
        lines.append(
            f"    {name:<12}{several.cost(name) * kind.scale:8.2f}   {share:.0%} of the server's"
            + (f", for {part:.0%} of all" if part else "")
        )
    lines += [f"    {name:<12}{several.cost(name) * kind.scale:8.2f}" for name in several.cpu_s if name.startswith("agent")]
    lines.append(f"  with cores to spare, several processes serve {one.cost('server') / several.busiest():.2f} times as many as one")
    return lines


def compare(kind: Kind, folder: Path, port: int, options: argparse.Namespace) -> list[str]:
    """Measure one kind of work in turns, with one process and with several, and return the report's lines."""
    found = {1: Measured(), options.workers: Measured()}
    for turn in range(options.rounds):
        for count, measured in found.items():
            with Processes(folder / f"{turn}-{count}") as crew, Processes(folder / f"{turn}-{count}-load") as load:
                site = start_site(crew, count, options.workers, kind.protocol, port)
                if kind.bulk:
                    measure_downloads(site, measured, options.seconds, load)
                else:
                    measure_requests(site, measured, options.seconds, close=kind.close)
                crew.check()
    return [*show(kind, found[1], found[options.workers]), ""]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, choices=range(2, 10), default=2, help="processes, and agents (2)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement takes (4)")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each kind, with one process and with several in turn (2)")
    parser.add_argument("--only", default="", metavar="WORDS", help='kinds of work whose name contains this: "new connection", "downloads"')
    options = parser.parse_args()
    files_max = raise_open_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portway-bench-", ignore_cleanup_errors=True)))
        origins = start_origins(stack.enter_context(Processes(folder / "origins")), files_max)
        for number, kind in enumerate(kind for kind in KINDS if options.only in kind.what):
            port = origins.bulk_port if kind.bulk else origins.web_port
            print("\n".join(compare(kind, folder / str(number), port, options)), flush=True)
    print(", ".join(f"{name} {value}" for name, value in describe().items()))


if __name__ == "__main__":
    try:
        main()
    except BenchError as exc:
        sys.exit(f"bench.workers: {exc}")
