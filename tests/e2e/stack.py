"""A server and its agents as a person would start them: real programs on free ports, in a home of their own."""

import json
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.kit.programs import SOURCES, Program
from tests.kit.sockets import free_port

START_S = 30.0
"""How long a program may take to be there, on a machine that is busy with other tests."""

DESCRIPTORS = 1024
"""The soft limit that a login shell or a service has by default; programs must get along with it."""

PORTS = 60


@dataclass(frozen=True)
class Tunnel:
    """A running agent with one tunnel."""

    program: Program
    url: str
    host: str
    port: int

    def connect(self, timeout_s: float = 60.0, receive_bytes: int | None = None) -> socket.socket:
        """Return a visitor's blocking socket; `receive_bytes` makes its kernel buffer small."""
        sock = socket.socket()
        sock.settimeout(timeout_s)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def http(self, path: str) -> str:
        """Return the address of `path`, also through a tcp tunnel."""
        return f"http://{self.host}:{self.port}{path}"


class Stack:
    """One server and any number of agents. `with` ends them all."""

    def __init__(self, *, plaintext: bool, engine: str = "") -> None:
        """Start the server, and make a token; `engine` is what all programs get as PORTWAY_ENGINE."""
        self.plaintext = plaintext
        self._engine = engine
        self._folder = Path(tempfile.mkdtemp(prefix="pw-"))  # short: unix sockets are made below it
        self._agents: list[Program] = []
        self._known: dict[tuple[str, int, tuple[str, ...]], Tunnel] = {}
        for name in ("run", "home", "server"):
            (self._folder / name).mkdir(mode=0o700)
        first = free_port()
        self.server = self._start(
            "server", "--json", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off",
            "--tcp-ports", f"{first}-{min(first + PORTS, 65535)}", "--data", str(self._folder / "server"), *self._plain(),
        )  # fmt: skip
        try:
            listening = json.loads(self.server.expect('"listening"', START_S).string)
            self.http_port = int(listening["http"].rpartition(":")[2])
            with self._start("token", "create", "tests", "--data", str(self._folder / "server")) as token:
                made = token.wait(START_S)
            assert made.code == 0, made.err
            self._join = made.out.strip()
        except BaseException:
            self.close()
            raise

    def tunnel(self, kind: str, port: int, *options: str) -> Tunnel:
        """Return a tunnel of `kind` (http, tcp) to a local port; its agent is started, with `options`, where there is none yet."""
        known = self._known.get((kind, port, options))
        if known is not None and known.program.running:
            return known
        agent = self._start(kind, str(port), *options, "--data", str(self._folder / "agent"), *self._plain(), join=self._join)
        self._agents.append(agent)
        url = agent.first_line(START_S)
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._known[kind, port, options] = tunnel = Tunnel(agent, url, address.hostname, address.port)
        return tunnel

    def healthy(self) -> None:
        """Fail if a program ended, or reported an error on stderr."""
        for program in (self.server, *self._agents):
            assert program.running, program.transcript()
            assert "Traceback" not in "\n".join(program.err.lines), program.transcript()

    def close(self) -> None:
        """End all programs."""
        for program in (*self._agents, self.server):
            with program:
                program.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plain(self) -> list[str]:
        return ["--plaintext-links"] if self.plaintext else []

    def _start(self, *arguments: str, join: str = "") -> Program:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PORTWAY_")}
        home, run = str(self._folder / "home"), str(self._folder / "run")
        env |= {"HOME": home, "XDG_DATA_HOME": home, "XDG_RUNTIME_DIR": run, "PYTHONPATH": str(SOURCES)}
        if self._engine:
            env["PORTWAY_ENGINE"] = self._engine
        if join:
            env["PORTWAY_JOIN"] = join
        shell = ["/bin/sh", "-c", f'ulimit -S -n {DESCRIPTORS}; exec "$0" "$@"']
        argv = [*shell, sys.executable, "-m", "portway", *arguments]
        return Program(argv, env=env, name=f"portway {arguments[0]}", inherit_env=False)
