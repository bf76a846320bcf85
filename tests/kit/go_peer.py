"""hashicorp/yamux in its own process, controlled from the test's loop."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from portway.engine.socket_channel import SocketChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_listener

SOURCE = Path(__file__).resolve().parents[1] / "peers" / "yamux_go"
BUILD_S_MAX = 300


def build_go_peer() -> Path:
    """Return the built yamux peer; see `build_go`."""
    return build_go(SOURCE, "yamuxpeer", ("main.go", "go.mod", "go.sum"))


def build_go(source: Path, name: str, files: tuple[str, ...]) -> Path:
    """Build a Go program, or return it from a cache outside of the source tree.

    Skips without a Go toolchain. A module that cannot be downloaded is a failure, or a skip with PORTWAY_OFFLINE=1.
    """
    go = shutil.which("go")
    if go is None:
        pytest.skip("no `go` on PATH: the Go toolchain builds this peer")
    digest = hashlib.sha256(b"".join((source / file).read_bytes() for file in files)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portway-tests"
    program = cache / f"{name}-{digest[:16]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f"{program.name}.{os.getpid()}"
        made = subprocess.run(
            [go, "build", "-mod=readonly", "-buildvcs=false", "-o", fresh, "."],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=BUILD_S_MAX,
            check=False,
        )
        if made.returncode:
            if os.environ.get("PORTWAY_OFFLINE") == "1":
                pytest.skip(f"the Go program {name} cannot be built offline")
            pytest.fail(f"the Go program {name} cannot be built (PORTWAY_OFFLINE=1 skips it):\n{made.stderr}")
        fresh.replace(program)
    return program


class Command:
    """One command and, later, its result."""

    def __init__(self, text: str) -> None:
        """Start without a result."""
        self.text = text
        self.result: str | None = None
        self.error: str | None = None

    @property
    def done(self) -> bool:
        """True once there is a result or an error."""
        return self.result is not None or self.error is not None


class GoPeer:
    """A Go process at the far end of a link, and the `Mux` at the near end."""

    def __init__(
        self, engine: EngineLoop, program: Path, *, go_is_client: bool, settings: MuxSettings | None = None, flags: str = ""
    ) -> None:
        """Start the process, let it connect, and start the mux."""
        self._engine = engine
        self._commands: dict[str, Command] = {}
        self._text = b""
        self.accepted: list[MuxChannel] = []
        self.lost: list[str] = []
        with tcp_listener() as listener:
            host, port = listener.getsockname()
            role = "client" if go_is_client else "server"
            argv = [str(program), "-connect", f"{host}:{port}", "-role", role, *flags.split()]
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            listener.settimeout(10)
            sock, _ = listener.accept()
        sock.settimeout(0)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        engine.loop.add_reader(self.process.stdout, self._on_output)
        link = SocketChannel(engine.reactor, sock)
        self.mux = Mux(
            engine.reactor, link, client=not go_is_client, settings=settings, on_stream=self.accepted.append, on_lost=self.lost.append
        )

    def start(self, text: str) -> Command:
        """Send a command; its result arrives while the loop runs."""
        command = Command(text)
        number = str(len(self._commands))
        self._commands[number] = command
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number} {text}\n".encode())
        self.process.stdin.flush()
        return command

    def finish(self, command: Command, deadline_s: float = 20) -> str:
        """Return the result of a command that must succeed."""
        self._engine.run_until(lambda: command.done, deadline_s, command.text)
        assert command.error is None, f"{command.text}: {command.error}"
        assert command.result is not None
        return command.result

    def failure(self, command: Command, deadline_s: float = 20) -> str:
        """Return the error of a command that must fail."""
        self._engine.run_until(lambda: command.done, deadline_s, command.text)
        assert command.error is not None, f"{command.text} succeeded: {command.result}"
        return command.error

    def do(self, text: str, deadline_s: float = 20) -> str:
        """Send a command and return its result."""
        return self.finish(self.start(text), deadline_s)

    def _on_output(self) -> None:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(self.process.stdout)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            number, _, rest = line.decode().partition(" ")
            command = self._commands.get(number)
            if command is None:
                continue
            kind, _, text = rest.partition(" ")
            if kind == "ok":
                command.result = text
            else:
                command.error = text

    def close(self) -> str:
        """Close both ends and return the log of the Go process."""
        self.mux.close("the test is over")
        self._engine.settle()
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self._engine.loop.remove_reader(self.process.stdout)
        self.process.kill()
        self.process.wait(5)
        log = self.process.stderr.read().decode()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        return log
