"""Child processes that run portway commands: start, output, stop."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

from portway.errors import UnavailableError

STOP_S_MAX = 4.0
"""Time for a child to exit after SIGTERM, before it is killed."""

LINE_BYTES_MAX = 256 * 1024
"""The path of a request has up to 16 kB, and JSON may encode each byte as six."""

_TAIL_LINES_MAX = 8


class Child:
    """One running portway command. `stop` may be called twice."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, stderr_file: Path) -> None:
        """`stderr_file` receives the child's stderr."""
        self.name = name
        self._process = process
        self._stderr_file = stderr_file

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines of the child's stdout until it is closed."""
        stdout = self._process.stdout
        while stdout is not None and (line := await stdout.readline()):
            yield line.decode("utf-8", "replace").rstrip("\n")

    async def ended(self) -> UnavailableError:
        """Wait until the child exits; return an error with its exit status and the end of its stderr."""
        code = await self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return UnavailableError(f"the demo's {self.name} exited unexpectedly ({how}). End of its stderr:\n{self.stderr_tail()}")

    def stderr_tail(self) -> str:
        """Return the last lines of the child's stderr."""
        lines = self._stderr_file.read_text("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES_MAX:]) or "  (empty)"

    async def stop(self, stop_s_max: float = STOP_S_MAX) -> None:
        """Terminate the child; kill it after `stop_s_max` seconds."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(stop_s_max):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def start(name: str, arguments: list[str], environ: Mapping[str, str], stderr_file: Path) -> Child:
    """Start `portway ARGUMENTS` with its stderr appended to `stderr_file`."""
    with stderr_file.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *_command(arguments),
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=LINE_BYTES_MAX,
            # Ctrl-C reaches the terminal's whole process group; in its own session the child is stopped in order.
            start_new_session=True,
        )
    return Child(name, process, stderr_file)


async def first_line_of(name: str, arguments: list[str], environ: Mapping[str, str], stderr_file: Path, run_s_max: float = 20.0) -> str:
    """Run `portway ARGUMENTS` to its end and return the first line of its stdout.

    Raises:
        UnavailableError: it failed, or took longer than `run_s_max`.
    """
    child = await start(name, arguments, environ, stderr_file)
    try:
        async with asyncio.timeout(run_s_max):
            lines = [line async for line in child.lines()]
            end = await child.ended()
    except TimeoutError:
        raise UnavailableError(f"the demo's {name} took longer than {run_s_max:g} s") from None
    finally:
        await child.stop()
    if not lines:
        raise end
    return lines[0]


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child, without the user's PORTWAY_ settings, which are not meant for the demo."""
    return {key: value for key, value in environ.items() if not key.startswith("PORTWAY_")}


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "portway.demo.parent_death", str(os.getpid()), *arguments]
