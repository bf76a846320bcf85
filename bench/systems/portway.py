"""Portway, started as users start it: `portway server`, `token create`, one agent per origin, and one of another tenant."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.origins import Origins
from bench.ports import free_port, free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.forward_proxies import through
from bench.systems.health import wait_for_listener
from bench.systems.links import Links

COMMAND_S = 20.0  # for a command that only reads and prints
FIRST_LINE_S = 20.0
INHERITED_SETTING = "PORTWAY_ENGINE"  # to measure the portable engine; all other settings are the benchmark's own

_PORTWAY = [sys.executable, "-m", "portway"]
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>[^:/\s]+):(?P<port>[0-9]{1,5})")


PLAIN, TERMINATED, PASSED = "plain", "terminated", "passed"

SOURCE = Path(__file__).resolve().parent.parent.parent / "src"


def portway_env(home: Path, source: Path = SOURCE) -> dict[str, str]:
    """Return an environment in which Portway finds only the state, settings and programs of the benchmark."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PORTWAY_") or name == INHERITED_SETTING}
    folders = {
        name: str(home) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    }
    return env | folders | {"PYTHONPATH": str(source)}


def address_of(line: str) -> Address:
    """Return the address in the first line that an agent prints.

    Raises:
        BenchError: the line contains no URL with a port.
    """
    match = _URL.search(line)
    if match is None:
        raise BenchError(f"expected a URL with a port in the agent's first line, got {line[:100]!r}")
    port = int(match["port"])
    return Address(port, f"{match['host']}:{port}")


@dataclass(frozen=True, slots=True)
class Portway:
    """One server, two agents with one token and one with another, over TLS or plaintext links."""

    name: str
    protocol: str
    plaintext_links: bool = False
    needs: tuple[str, ...] = ()
    source: Path = SOURCE
    """The folder that contains the measured package."""
    visitors: str = PLAIN
    """How visitors use TLS: not at all, with the server (TERMINATED), or with an origin behind TLS (PASSED)."""
    inspected: bool = False
    """Whether the agents capture what they relay."""

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start the server, create two tokens, start the agents one after the other."""
        home, home_of_tenant = (processes.folder / name for name in ("home", "tenant"))
        for folder in (home, home_of_tenant):
            folder.mkdir(mode=0o700)
        env, env_of_tenant = portway_env(home, self.source), portway_env(home_of_tenant, self.source)
        tcp_ports, https_port = free_ports(3), free_port()
        host, port = links.dial(self._start_server(processes, env, tcp_ports, self._https(processes.folder, origins, https_port)))
        create = ("token", "create", "--data", str(home / "server"), "--advertise", f"{host}:{port}")
        env["PORTWAY_JOIN"] = self._run(*create, "bench", env=env)
        env_of_tenant["PORTWAY_JOIN"] = self._run(*create, "another", env=env)
        behind = origins.with_tls() if self.visitors == PASSED else origins
        web = self._start_agent(processes, env, "web", behind.web_port, tcp_ports[0])
        bulk = self._start_agent(processes, env, "bulk", behind.bulk_port, tcp_ports[1])
        tenant = self._start_agent(processes, env_of_tenant, "tenant", behind.bulk_port, tcp_ports[2])
        if self.visitors != PLAIN:
            certificate = origins.with_tls().certificate.certificate
            web, bulk, tenant = (
                Address.of_name(f"{name}.localhost", found.port if self.protocol == "tcp" else https_port, certificate)
                for name, found in (("web", web), ("bulk", bulk), ("tenant", tenant))
            )
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _https(self, folder: Path, origins: Origins, port: int) -> dict[str, str]:
        """Return the server's options for visitors with TLS."""
        if self.visitors == PLAIN or self.protocol == "tcp":
            return {}
        options = {"--https": f"127.0.0.1:{port}"}
        if self.visitors == TERMINATED:
            made, pair = origins.with_tls().certificate, folder / "certificates"
            pair.mkdir(mode=0o700)
            for file in (made.certificate, made.key):
                shutil.copy(file, pair)
            options["--certificates"] = str(pair)
        return options

    def _start_server(self, processes: Processes, env: dict[str, str], tcp_ports: range, https: dict[str, str]) -> int:
        agents_port = free_port()
        options = {
            "--http": f"127.0.0.1:{free_port()}",
            "--agents": f"127.0.0.1:{agents_port}",
            "--tcp-ports": f"{tcp_ports[0]}-{tcp_ports[-1]}",
            "--data": f"{env['HOME']}/server",
        }
        known = self._run("server", "--help", env=env)
        options |= {other: f"127.0.0.1:{free_port()}" for other in ("--https", "--admin") if other in known} | https
        words = [word for option in options.items() for word in option]
        server = processes.start([*_PORTWAY, "server", *words, *self._links()], "server", env)
        wait_for_listener(agents_port, COMMAND_S, server)
        return agents_port

    def _start_agent(self, processes: Processes, env: dict[str, str], name: str, origin_port: int, port: int) -> Address:
        place = ["--port", str(port)] if self.protocol == "tcp" else ["--name", name]
        inspect = ["--inspect", f"127.0.0.1:{free_port()}"] if self.inspected else []
        agent = processes.start([*_PORTWAY, self.protocol, str(origin_port), *place, *inspect, *self._links()], f"agent-{name}", env)
        # Wait here: the next agent may share its identity, and both must not create it at the same time.
        return address_of(agent.first_line(FIRST_LINE_S))

    def _links(self) -> list[str]:
        return ["--plaintext-links"] if self.plaintext_links else []

    def _run(self, *args: str, env: dict[str, str]) -> str:
        try:
            done = subprocess.run([*_PORTWAY, *args], env=env, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        except subprocess.TimeoutExpired as exc:
            raise BenchError(f"portway {args[0]} took more than {COMMAND_S:g} s") from exc
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise BenchError(f"portway {' '.join(args[:2])} exited with {done.returncode}; last output: {lines[-1]}")
        return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class PortwayProxy:
    """`portway proxy` with its defaults, except that it may reach this machine."""

    name: str
    protocol: str
    needs: tuple[str, ...] = ()
    source: Path = SOURCE

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start it and wait until it accepts."""
        home, port = processes.folder / "home", free_port()
        home.mkdir(mode=0o700)
        argv = [*_PORTWAY, "proxy", "--listen", f"127.0.0.1:{port}", "--allow-private"]
        child = processes.start(argv, "proxy", portway_env(home, self.source))
        wait_for_listener(port, FIRST_LINE_S, child)
        return through(port, self.protocol, origins)
