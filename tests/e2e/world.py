"""A server and its agents as real programs, in folders and on ports of their own; at the end all their output is checked."""

import base64
import http.client
import itertools
import json
import os
import random
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from portway.agent.identity import ensure_identity
from portway.protocol.join_string import JoinString, parse
from portway.telemetry.line_writer import GATHER_S
from tests.kit.programs import DEADLINE_S, SOURCES, Finished, Program

ReportMeasurement = Callable[[str], None]
"""The fixture `report_measurement`: a measurement for the end of the run."""

TCP_PORTS = 8
"""Public ports of each world's server."""

_FIRST_PORT, _LAST_PORT = 10240, 32000
"""Below what Linux gives to outgoing connections (32768), so that a port is still free when its server comes back."""

_next_port = itertools.count(random.SystemRandom().randrange(_LAST_PORT))


def steady_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports, below those of outgoing connections."""
    for at in _next_port:
        first = _FIRST_PORT + (at * count) % (_LAST_PORT - _FIRST_PORT - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError("unreachable")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Answer:
    """What a visitor got."""

    status: int
    error: str
    """The edge's own code; empty when the origin answered."""
    retry_after: str
    body: bytes
    seconds: float


@dataclass
class World:
    """Use it in a `with`; all programs are ended by their id, then their output and files are searched for secrets and tracebacks."""

    server_flags: tuple[str, ...] = ()
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="portway-e2e-")))
    programs: list[Program] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    """What must never be seen, by what it is."""
    token_ids: list[str] = field(default_factory=list)
    server_before: tuple[str, ...] = ()
    """Words before the server's, such as those that lower its limits."""
    https: bool = False
    """Whether the server has a TLS port, with certificates of its development CA."""

    def __post_init__(self) -> None:
        first = steady_ports(TCP_PORTS + 3)
        self.http_port, self.https_port, self.agents_port, self.tcp_port = first, first + 1, first + 2, first + 3
        self.agents_host = "127.0.0.1"
        self.programs_stack = ExitStack()
        for name in ("data", "run"):
            (self.home / name).mkdir(mode=0o700)
        self._names = itertools.count(1)

    # Programs.

    @property
    def environment(self) -> dict[str, str]:
        """Every program's environment, cleared of most variables."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        own = {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data"), "XDG_RUNTIME_DIR": str(self.home / "run")}
        return {**kept, **own, "PYTHONPATH": str(SOURCES), "PYTHONUNBUFFERED": "1"}

    def start(
        self,
        *words: str | Path,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
        tells_secrets: bool = False,
    ) -> Program:
        """Start `portway …` (behind the words `before`, such as `ip netns exec`), and keep all its output."""
        program = Program(
            [*before, sys.executable, "-m", "portway", *words],
            env={**self.environment, **(env or {})},
            inherit_env=False,
            stdin=stdin,
            name="portway " + " ".join(str(word) for word in words[:2]),
        )
        self.programs_stack.enter_context(program)
        if not tells_secrets:
            self.programs.append(program)
            self._check_command_line(program)
        return program

    def run(
        self, *words: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None, tells_secrets: bool = False
    ) -> Finished:
        """Run `portway …` to its end."""
        return self.start(*words, stdin=stdin, env=env, tells_secrets=tells_secrets).wait()

    @property
    def server_data(self) -> Path:
        """Where the server keeps its things."""
        return self.home / "server"

    def start_server(self, *flags: str, as_json: bool = True) -> Program:
        """Start the server, which has the same addresses each time, and return it once it listens."""
        words = ["server", "--http", f"127.0.0.1:{self.http_port}", "--agents", f"{self.agents_host}:{self.agents_port}"]
        words += ["--https", f"127.0.0.1:{self.https_port}" if self.https else "off"]
        words += ["--tcp-ports", f"{self.tcp_port}-{self.tcp_port + TCP_PORTS - 1}", "--data", str(self.server_data)]
        words += ["--log-level", "debug", *(["--json"] if as_json else []), *self.server_flags, *flags]
        server = self.start(*words, before=self.server_before)
        server.expect('"event":"listening"' if as_json else "advertised as")
        return server

    def token(self, name: str = "laptop", *flags: str) -> JoinString:
        """Make a token and return its join string."""
        made = self.run("token", "create", name, "--data", self.server_data, *flags, tells_secrets=True)
        assert made.code == 0, made
        join = parse(made.out)
        assert join.secret not in made.err
        self.secrets[f"the secret of token {name}"] = join.secret
        self.token_ids.append(join.token_id)
        return join

    def agent(
        self,
        join: JoinString,
        *words: str,
        data: str = "agent",
        as_json: bool = True,
        before: tuple[str, ...] = (),
    ) -> Program:
        """Start `portway http …` or `portway tcp …` with a join string from a file; agents with the same `data` are the same one."""
        file = self.home / f"join-{next(self._names)}"
        file.touch(mode=0o600)
        file.write_text(f"{join}\n")
        flags = ["--join-file", str(file), "--data", str(self.home / data), "--log-level", "debug", *(["--json"] if as_json else [])]
        return self.start(*words, *flags, before=before)

    # Visitors.

    def visit(self, name: str, path: str = "/hello", *, method: str = "GET", body: bytes | None = None, deadline_s: float = 20.0) -> Answer:
        """Send one request to `NAME.localhost` on a connection of its own."""
        begun = time.monotonic()
        line = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=deadline_s)
        try:
            line.request(method, path, body, {"Host": f"{name}.localhost:{self.http_port}", "Connection": "close"})
            got = line.getresponse()
            data = got.read()
        finally:
            line.close()
        return Answer(got.status, got.getheader("Portway-Error", ""), got.getheader("Retry-After", ""), data, time.monotonic() - begun)

    def call(self, port: int, data: bytes, deadline_s: float = 20.0) -> bytes:
        """Send bytes to a public tcp port, end, and return all that comes back; a reset raises."""
        with socket.create_connection(("127.0.0.1", port), timeout=deadline_s) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    @property
    def ca_file(self) -> Path:
        """The root certificate of the server's development CA."""
        return self.server_data / "dev-ca.pem"

    @contextmanager
    def dial_tls(
        self,
        name: str,
        *,
        deadline_s: float = 20.0,
        context: ssl.SSLContext | None = None,
        ca_file: Path | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Iterator[ssl.SSLSocket]:
        """Connect to the TLS port as a visitor of `NAME.localhost`, with `context` or one that trusts `ca_file`."""
        context = context or ssl.create_default_context(cafile=str(ca_file or self.ca_file))
        with (
            socket.create_connection(("127.0.0.1", self.https_port), timeout=deadline_s) as sock,
            context.wrap_socket(sock, server_hostname=f"{name}.localhost", session=session) as tls,
        ):
            yield tls

    # Secrets.

    def _check_command_line(self, program: Program) -> None:
        """Look at what `ps` shows of a program."""
        try:
            shown = Path(f"/proc/{program.pid}/cmdline").read_bytes()
        except OSError:
            return  # ended already, or no /proc here
        for what, secret in self.secrets.items():
            assert secret.encode() not in shown, f"{what} stands in the command line of {program.name}"

    def _keep_secret(self, what: str, raw: bytes) -> None:
        shapes = {"hex": raw.hex(), "base64": base64.b64encode(raw).decode().rstrip("="), "repr": repr(raw)[2:-1]}
        self.secrets |= {f"{what} in {shape}": text for shape, text in shapes.items()}

    def check_secrets(self) -> None:
        """Fail if a secret is in a program's output, in its command line, or in the server's data."""
        for file in self.home.glob("*/agent-identity"):
            self._keep_secret(f"the identity in {file.parent.name}", file.read_bytes())
            for token_id in self.token_ids:
                identity = ensure_identity(file.parent, token_id, lambda count: b"")
                self._keep_secret(f"the identity in {file.parent.name} for token {token_id}", identity)
        kept = {file: file.read_bytes() for file in self.server_data.rglob("*") if file.is_file()}
        for what, secret in self.secrets.items():
            for program in self.programs:
                for stream in ("out", "err"):
                    said = "\n".join(getattr(program, stream).lines)
                    assert secret not in said, f"{what} stands in what {program.name} said on std{stream}"
            for file, data in kept.items():
                assert secret.encode() not in data, f"{what} stands in {file}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: object, trace: object) -> None:
        for program in self.programs:
            self._check_command_line(program)
        self.programs_stack.close()
        try:
            if kind is None:
                for program in self.programs:
                    program.wait()
                    assert "Traceback" not in "\n".join(program.err.lines), program.transcript()
                self.check_secrets()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)


# What programs print with --json.


def events(program: Program, name: str) -> Iterator[dict[str, Any]]:
    """Yield the events of one name that a program has emitted so far, including those batched to be written together."""
    time.sleep(2 * GATHER_S)
    for line in list(program.out.lines):
        if line.startswith(f'{{"event":"{name}"'):
            yield json.loads(line)


def event(program: Program, name: str, number: int = 1, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
    """Return a program's event number `number` of a name, once it has been emitted."""
    until = time.monotonic() + deadline_s
    start = 0
    while True:
        program.expect(f'^{{"event":"{name}"', max(0.01, until - time.monotonic()), start=start)
        found = list(events(program, name))
        if len(found) >= number:
            return found[number - 1]
        start = _line_behind(program, name, len(found))


def _line_behind(program: Program, name: str, count: int) -> int:
    """Return the number of the line behind the event number `count`."""
    for at, line in enumerate(program.out.lines):
        count -= line.startswith(f'{{"event":"{name}"')
        if not count:
            return at + 1
    return len(program.out.lines)


def moment(told: Mapping[str, Any]) -> float:
    """Return when an event was emitted, in seconds since 1970 (to the millisecond)."""
    return datetime.fromisoformat(told["time"]).timestamp()


def refusal(ended: Finished) -> dict[str, Any]:
    """Return the `refused` event with which an agent has ended."""
    told = [json.loads(line) for line in ended.out.splitlines() if line.startswith('{"event":"refused"')]
    assert told, ended
    last: dict[str, Any] = told[-1]
    return last


def altered(join: JoinString, **changes: Any) -> JoinString:
    """Return a join string with some parts changed."""
    return replace(join, **changes)


def assert_refused(ended: Finished, code: str, *words: str) -> None:
    """Fail unless a person's agent has ended with 3, and its last line contains these words and the code."""
    assert ended.code == 3, ended
    assert ended.out == "", "a URL was shown"
    line = ended.err.splitlines()[-1]
    assert line.startswith("portway: refused: "), ended.err
    assert f"({code})." in line
    for word in words:
        assert word in line, (word, line)


def web(name: str = "blog") -> tuple[str, ...]:
    """Return the arguments of an agent that exposes a port without a listener: these agents never get visitors."""
    return ("http", "1", "--name", name)
