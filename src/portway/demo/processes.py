"""Starts portway commands as processes of their own, reads their events, and ends each by its id."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

from portway.errors import UnavailableError

STOP_S_MAX = 4.0
"""How long a child may take to end after SIGTERM, before it is killed."""

LINE_BYTES_MAX = 256 * 1024
"""A request line's path has up to 16 kB, and JSON may write each byte as six."""

_TOLD_LINES_MAX = 8


class Child:
    """One running portway command. `stop` may be called twice."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, notes: Path) -> None:
        """`notes` is the file that takes what the child says on stderr."""
        self.name = name
        self._process = process
        self._notes = notes

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def lines(self) -> AsyncIterator[str]:
        """Yield what the child says on stdout, until it closes it."""
        stdout = self._process.stdout
        while stdout is not None and (line := await stdout.readline()):
            yield line.decode("utf-8", "replace").rstrip("\n")

    async def ended(self) -> UnavailableError:
        """Wait until the child has ended by itself; return how, with its own last words."""
        code = await self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return UnavailableError(f"the demo's {self.name} ended by itself ({how}). It said:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the child said on stderr."""
        lines = self._notes.read_text("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TOLD_LINES_MAX:]) or "  nothing"

    async def stop(self, stop_s_max: float = STOP_S_MAX) -> None:
        """Ask the child to end, and kill it when it does not within `stop_s_max`."""
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


async def start(name: str, arguments: list[str], environ: Mapping[str, str], notes: Path) -> Child:
    """Start `portway ARGUMENTS` with its stderr going to the file `notes`."""
    with notes.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *_command(arguments),
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=LINE_BYTES_MAX,
            # Ctrl-C reaches the whole group of the terminal; in a session of its own the child waits for its turn.
            start_new_session=True,
        )
    return Child(name, process, notes)


async def ask(name: str, arguments: list[str], environ: Mapping[str, str], notes: Path, answer_s_max: float = 20.0) -> str:
    """Run `portway ARGUMENTS` to its end and return the first line that it says.

    Raises:
        UnavailableError: it failed, or took longer than `answer_s_max`.
    """
    child = await start(name, arguments, environ, notes)
    try:
        async with asyncio.timeout(answer_s_max):
            lines = [line async for line in child.lines()]
            end = await child.ended()
    except TimeoutError:
        raise UnavailableError(f"the demo's {name} took longer than {answer_s_max:g} s") from None
    finally:
        await child.stop()
    if not lines:
        raise end
    return lines[0]


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child: without anybody's own Portway settings, which are not meant for a demo."""
    return {key: value for key, value in environ.items() if not key.startswith("PORTWAY_")}


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "portway.demo.parent_death", str(os.getpid()), *arguments]
