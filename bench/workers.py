"""`python -m bench.workers`: measures how evenly `portway server --workers N` distributes work, in CPU seconds per process.

A machine whose cores are all busy cannot show the gain of several workers, because agents, origins, visitors and workers
share the cores. It can show the distribution: a server is as fast as its busiest process, so the gain with free cores is the
CPU time per request of a single process, divided by that of the busiest of several under equal load per agent.
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
CONNECTIONS = 32  # of wrk for each agent
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of load."""

    what: str
    unit: str
    scale: float
    protocol: str
    close: bool = False
    bulk: bool = False


KINDS = (
    Kind("http requests on kept connections", "µs per request", 1e6, "http"),
    Kind("http, a new connection for each request", "µs per request", 1e6, "http", close=True),
    Kind("tcp, a new connection for each request", "µs per request", 1e6, "tcp", close=True),
    Kind("tcp downloads, one for each agent", "s per GiB", 1.0, "tcp", bulk=True),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A server, its agents and their public addresses."""

    server: Child
    agents: list[Child]
    addresses: list[Address]

    def processes(self) -> dict[str, int]:
        """Return name and pid of all Portway processes, the server first."""
        workers = sorted(descendants(self.server.pid))
        named = {"supervisor" if workers else "server": self.server.pid}
        named |= {f"worker {number}": pid for number, pid in enumerate(workers, 1)}
        return named | {f"agent {number}": agent.pid for number, agent in enumerate(self.agents, 1)}


@dataclass(slots=True)
class Measured:
    """Operations and CPU time per process, summed over all rounds."""

    done: list[float] = field(default_factory=list)
    """Operations per agent."""
    elapsed_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    def add(self, done: list[float], elapsed_s: float, cpu_s: dict[str, float]) -> None:
        """Add one round."""
        self.done = [sum(pair) for pair in zip_longest(self.done, done, fillvalue=0.0)]
        self.elapsed_s += elapsed_s
        for name, used in cpu_s.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + used

    def cost(self, name: str) -> float:
        """Return the CPU seconds of one process per operation of any agent."""
        return self.cpu_s[name] / sum(self.done)

    def serving(self) -> list[str]:
        """Return the names of the server's processes."""
        return [name for name in self.cpu_s if not name.startswith("agent")]

    def busiest(self) -> float:
        """Return the cost per operation of the server's busiest process under equal load per agent.

        The load is never quite equal, because the load programs share a busy machine. So a worker's cost is divided
        by the share of its own agent.
        """
        whole = sum(self.done)
        parts = {f"worker {number}": done / whole * len(self.done) for number, done in enumerate(self.done, 1)}
        return max(self.cost(name) / parts.get(name, 1.0) for name in self.serving())


def start_site(processes: Processes, workers: int, agents: int, protocol: str, origin_port: int) -> Site:
    """Start a server and its agents one after the other, so that each worker gets the same number of agents.

    Raises:
        BenchError: one of them does not start.
    """
    home = processes.folder / "home"
    home.mkdir(mode=0o700)
    env = portway_env(home)
    tcp_ports, agents_port = free_ports(agents), free_port()
    words = ["--http", f"127.0.0.1:{free_port()}", "--agents", f"127.0.0.1:{agents_port}", "--data", str(home / "server")]
    words += ["--tcp-ports", f"{tcp_ports[0]}-{tcp_ports[-1]}", "--workers", str(workers)]
    server = processes.start([*PORTWAY, "server", *words], "server", env)
    server.first_line(START_S)  # a probing connection would be assigned to a worker and change the distribution of agents
    create = [*PORTWAY, "token", "create", "--data", str(home / "server"), "bench"]
    env["PORTWAY_JOIN"] = subprocess.run(create, env=env, capture_output=True, text=True, timeout=START_S, check=True).stdout.strip()
    started, addresses = [], []
    for number, port in enumerate(tcp_ports):
        place = ["--name", f"app{number}"] if protocol == "http" else ["--port", str(port)]
        agent = processes.start([*PORTWAY, protocol, str(origin_port), *place], f"agent-{number}", env)
        addresses.append(address_of(agent.first_line(START_S)))
        started.append(agent)
    return Site(server, started, addresses)


def account(site: Site, found: Measured, work: Callable[[], list[float]]) -> None:
    """Measure the CPU time per process while `work` runs; it returns the number of operations per agent."""
    named = site.processes()
    before, begun = {name: cpu_s_of_one(pid) for name, pid in named.items()}, time.monotonic()
    done = work()
    if not all(done):
        raise BenchError("an agent handled no operation")
    found.add(done, time.monotonic() - begun, {name: cpu_s_of_one(pid) - before[name] for name, pid in named.items()})


def measure_requests(site: Site, found: Measured, seconds: float, *, close: bool) -> None:
    """Measure requests of one wrk per agent."""
    fields = ("Connection: close",) if close else ()

    def load(address: Address, for_s: float) -> float:
        return run_wrk(address, CONNECTIONS, for_s, fields).requests

    with ThreadPoolExecutor(len(site.addresses)) as threads:
        list(threads.map(load, site.addresses, [WARM_S] * len(site.addresses)))
        account(site, found, lambda: list(threads.map(load, site.addresses, [seconds] * len(site.addresses))))


def measure_downloads(site: Site, found: Measured, seconds: float, load: Processes) -> None:
    """Measure an endless download through each agent; one operation is one GiB."""
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
            f"    {name:<12}{several.cost(name) * kind.scale:8.2f}   {share:.0%} of the server's CPU"
            + (f", for {part:.0%} of operations" if part else "")
        )
    lines += [f"    {name:<12}{several.cost(name) * kind.scale:8.2f}" for name in several.cpu_s if name.startswith("agent")]
    lines.append(f"  with free cores, several processes serve {one.cost('server') / several.busiest():.2f} times as many as one")
    return lines


def compare(kind: Kind, folder: Path, port: int, options: argparse.Namespace) -> list[str]:
    """Measure one kind of load alternately with one process and with several; return the report's lines."""
    found = {1: Measured(), options.workers: Measured()}
    for turn in range(options.rounds):
        for count, measured in found.items():
            with Processes(folder / f"{turn}-{count}") as processes, Processes(folder / f"{turn}-{count}-load") as load:
                site = start_site(processes, count, options.workers, kind.protocol, port)
                if kind.bulk:
                    measure_downloads(site, measured, options.seconds, load)
                else:
                    measure_requests(site, measured, options.seconds, close=kind.close)
                processes.check()
    return [*show(kind, found[1], found[options.workers]), ""]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, choices=range(2, 10), default=2, help="run WORKERS worker processes and as many agents (2)")
    parser.add_argument("--seconds", type=float, default=4.0, help="measure for SECONDS each time (4)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="measure each kind of load ROUNDS times with one process and with several (2)"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="WORDS",
        help='measure kinds of load whose name contains WORDS, such as "new connection" or "downloads"',
    )
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
