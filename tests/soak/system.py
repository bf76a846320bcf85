"""Programs of a soak: one server, and five tenants with their agents and origins."""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec

from portway.protocol.join_string import parse
from portway.telemetry.inspection import VARIABLE, Inventory
from portway.telemetry.status_socket import query_status
from tests.attacks.child import ROOT
from tests.e2e.world import steady_ports
from tests.kit.programs import SOURCES, Program
from tests.soak.streams import TENANTS, name_of

START_S = 60.0
TCP_PORTS = 2 * TENANTS

MALLOC_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Makes glibc return large freed blocks to the kernel (mallopt(3)). By default it raises these thresholds to the largest freed block,
and keeps tens of megabytes after the first stalled downloads; the measured memory should be what the program uses."""


class SoakSystem:
    """All programs, stopped at the end of a `with` block. Agents and origins can be restarted with the same names and ports."""

    def __init__(self, source: Path = SOURCES, *, dev: bool = True, descriptors: int = 4096) -> None:
        """Start all programs. With `dev` the server runs under `python -X dev`, which warns of unclosed resources."""
        self.source = source
        self.home = Path(tempfile.mkdtemp(prefix="portway-soak-"))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        first = steady_ports(TCP_PORTS + 2)
        self.http_port, self.agents_port, self.tcp_first = first, first + 1, first + 2
        self.origins: dict[int, Program] = {}
        self.origin_ports: dict[int, tuple[int, int]] = {}
        self.agents: dict[tuple[int, str], Program] = {}
        self.ended: list[Program] = []
        """Replaced programs; their output still counts."""
        words = ["--http", f"127.0.0.1:{self.http_port}", "--agents", f"127.0.0.1:{self.agents_port}", "--https", "off"]
        words += ["--tcp-ports", f"{self.tcp_first}-{self.tcp_first + TCP_PORTS - 1}", "--data", str(self.home / "server")]
        try:
            flags = ("-X", "dev") if dev else ()
            self.server = self._start("server", *words, "--log-level", "warning", flags=flags, descriptors=descriptors, name="server")
            self.server.expect(r"\bagents +\S+:\d", START_S)
            self.joins = [self._token(name_of(tenant)) for tenant in range(TENANTS)]
            self.spare_join = parse(self._token("spare"))
            for tenant in range(TENANTS):
                self.start_origin(tenant)
                for kind in ("http", "tcp"):
                    self.start_agent(tenant, kind)
            for agent in self.agents.values():
                agent.expect("://", START_S)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, *words: str, name: str, flags: tuple[str, ...] = (), join: str = "", descriptors: int = 0) -> Program:
        home = self.home / name
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        env |= {"PYTHONPATH": str(self.source), "PYTHONUNBUFFERED": "1", VARIABLE: "1", **MALLOC_SETTINGS}
        if join:
            env["PORTWAY_JOIN"] = join
        shell = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"'] if descriptors else []
        return self._stack.enter_context(
            Program([*shell, sys.executable, *flags, "-m", "portway", *words], env=env, inherit_env=False, name=name)
        )

    def _token(self, name: str) -> str:
        made = self._start("token", "create", name, "--data", str(self.home / "server"), name=f"token {name}").wait(START_S)
        assert made.code == 0, made
        return made.out.strip()

    def start_origin(self, tenant: int) -> None:
        """Start a tenant's origin, on its previous ports."""
        ports = self.origin_ports.get(tenant, (0, 0))
        env = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        words = [sys.executable, "-m", "tests.soak.origin", str(tenant), *map(str, ports)]
        origin = self._stack.enter_context(Program(words, env=env, cwd=ROOT, name=f"origin of {name_of(tenant)}"))
        self._replace(self.origins, tenant, origin)
        found = origin.expect(r"ports (\d+) (\d+)", START_S)
        self.origin_ports[tenant] = (int(found[1]), int(found[2]))

    def start_agent(self, tenant: int, kind: str) -> None:
        """Start one of a tenant's agents, which claims its previous address."""
        port = self.origin_ports[tenant][kind == "tcp"]
        address = ["--name", name_of(tenant)] if kind == "http" else ["--port", str(self.tcp_port(tenant))]
        agent = self._start(kind, str(port), *address, name=f"{kind} agent of {name_of(tenant)}", join=self.joins[tenant])
        self._replace(self.agents, (tenant, kind), agent)

    def _replace(self, programs: dict[tuple[int, str], Program] | dict[int, Program], key: object, program: Program) -> None:
        table: dict[object, Program] = programs  # type: ignore[assignment]
        if key in table:
            self.ended.append(table[key])
        table[key] = program

    def tcp_port(self, tenant: int) -> int:
        """Return a tenant's public port."""
        return self.tcp_first + tenant

    @property
    def tcp_ports(self) -> list[int]:
        """All tenants' public ports."""
        return [self.tcp_port(tenant) for tenant in range(TENANTS)]

    def inventory(self) -> Inventory:
        """Return the server's inventory of objects."""
        path = self.home / "server" / "portway" / f"server-{self.server.pid}.inspect"
        document = query_status(path, 60.0)
        assert document is not None, self.server.transcript()
        return msgspec.json.decode(document, type=Inventory)

    def violations(self) -> list[str]:
        """Return the violations that origins printed."""
        programs = [*self.origins.values(), *self.ended]
        return [line for program in programs for line in program.out.lines if line.startswith("broken:")]

    def host(self, agent: Program) -> str:
        """Return the host in an agent's first line."""
        return urlsplit(agent.first_line(START_S)).hostname or ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
