"""A server under attack, its innocent tenant, and the tokens of attacker and neighbour."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.attacks.child import Child
from tests.attacks.cores import other_cores, pin, run_when_idle, server_cores
from tests.e2e.world import steady_ports
from tests.kit.programs import SOURCES, Finished, Program

START_S = 30.0
INNOCENT, ATTACKER, NEIGHBOUR = "innocent", "mallory", "neighbour"
TCP_PORTS = 8


@dataclass(frozen=True)
class Resources:
    """Current resource use of a process."""

    rss_bytes: int
    descriptors: int
    cpu_s: float


def resources_of(pid: int) -> Resources:
    """Return the resource use of a process from /proc (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    rss_bytes = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Resources(rss_bytes, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), cpu_s)


class Site:
    """One server with its tokens; leaving the `with` block stops all its programs."""

    def __init__(self, source: Path = SOURCES, *, flags: Sequence[str] = (), descriptors: int = 0, sink: bool = False) -> None:
        """Start a server from the sources in `source` and create its tokens; a `sink` runs only while its core is idle."""
        self.source = source
        self.home = Path(tempfile.mkdtemp(prefix="portway-attack-"))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        first = steady_ports(TCP_PORTS + 2)
        self.http_port, self.agents_port = first, first + 1
        words = ["server", "--http", f"127.0.0.1:{self.http_port}", "--agents", f"127.0.0.1:{self.agents_port}", "--https", "off"]
        words += ["--tcp-ports", f"{first + 2}-{first + 1 + TCP_PORTS}", "--data", str(self.home / "server"), "--log-level", "warning"]
        try:
            self.server = self.start(*words, *flags, name="server", descriptors=descriptors)
            self.server.expect(r"\bagents +\S+:\d", START_S)
            pin(self.server.pid, server_cores())
            made = [self.start("token", "create", name, "--data", str(self.home / "server")) for name in (INNOCENT, ATTACKER, NEIGHBOUR)]
            self.join_text, self.attackers_join_text, self.neighbours_join_text = (_join(one.wait(START_S)) for one in made)
            if sink:
                run_when_idle(self.server.pid)
        except BaseException:
            self._stack.close()
            raise

    def start(self, *words: str, name: str = "", join_text: str = "", descriptors: int = 0) -> Program:
        """Start `portway …` on the cores that the server does not use."""
        home = self.home / (name or "any")
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        env |= {"PYTHONPATH": str(self.source), "PYTHONUNBUFFERED": "1"}
        if join_text:
            env["PORTWAY_JOIN"] = join_text
        shell = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"'] if descriptors else []
        program = Program([*shell, sys.executable, "-m", "portway", *words], env=env, inherit_env=False, name=name)
        self._stack.enter_context(program)
        pin(program.pid, other_cores())
        return program

    def innocent_host(self) -> str:
        """Start the innocent tenant's origin and agent; return the host of its tunnel."""
        origin = self._stack.enter_context(Child("tests.attacks.echo_origin", {"tenant": INNOCENT}))
        port = origin.ready()["port"]
        agent = self.start("http", str(port), "--name", INNOCENT, name="innocent agent", join_text=self.join_text)
        return urlsplit(agent.first_line(START_S)).netloc

    def resources(self) -> Resources:
        """Return the current resource use of the server."""
        assert self.server.running, self.server.transcript()
        return resources_of(self.server.pid)

    def reset_peak(self) -> None:
        """Reset the memory peak of the server (proc(5), clear_refs)."""
        Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Return the memory peak since the last reset."""
        return self.server.peak_rss_bytes()

    def logged_errors(self) -> list[str]:
        """Return the errors that the server logged."""
        return [line for line in self.server.err.lines if re.search(r"Traceback|\berror\b", line)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _join(made: Finished) -> str:
    assert made.code == 0, made
    return made.out.strip()
