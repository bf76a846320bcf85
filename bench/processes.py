"""The processes of one system (or of the load): started with logs in a folder, watched, and always stopped by pid."""

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import BenchError
from bench.parent_death import die_with_parent
from bench.process_stats import cpu_s_of, descendants, memory_bytes_of

STOP_S = 5.0  # then SIGKILL
LOG_LINES_SHOWN = 4
TAIL_BYTES = 16 * 1024  # an agent that tells every request fills its log fast


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")


class Child:
    """One started process; its output goes to files, so that no pipe can fill and stall it."""

    def __init__(self, argv: list[str], name: str, folder: Path, env: dict[str, str] | None) -> None:
        self.name = name
        self._stdout, self._stderr = folder / f"{name}.out", folder / f"{name}.err"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=env,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        self.pid = self._process.pid

    def ended(self) -> bool:
        """Whether it is gone by itself."""
        return self._process.poll() is not None

    def done(self) -> bool:
        """Whether it has ended, and said that all went well."""
        return self._process.poll() == 0

    def complaint(self) -> str:
        """The last lines it wrote, for an error's text."""
        said = _tail(self._stderr) + _tail(self._stdout)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return " / ".join(lines[-LOG_LINES_SHOWN:]) or "nothing"

    def first_line(self, deadline_s: float) -> str:
        """The first line on its standard output.

        Raises:
            BenchError: it ended, or was silent for `deadline_s`.
        """
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            ended = self.ended()  # asked before reading: what it wrote last is then there
            line, newline, _ = self._stdout.read_text(errors="replace").partition("\n")
            if newline:
                return line.strip()
            if ended:
                break
            time.sleep(0.02)
        state = "ended" if self.ended() else f"printed no line in {deadline_s:g} s"
        raise BenchError(f"{self.name} {state}; it said: {self.complaint()}")

    def stop(self) -> None:
        """End it, its descendants too, and wait until they are gone."""
        family = descendants(self.pid)
        if not self.ended():
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_S)
        for pid in family:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass


class Processes:
    """Processes that are accounted together and stopped together; use it with `with`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._children: list[Child] = []

    def start(self, argv: list[str], name: str, env: dict[str, str] | None = None) -> Child:
        """Start a process; `name` is unique in this crew.

        Raises:
            BenchError: it cannot be started.
        """
        try:
            child = Child(argv, name, self.folder, env)
        except OSError as exc:
            raise BenchError(f"cannot start {argv[0]}: {exc}") from exc
        self._children.append(child)
        return child

    def empty(self) -> bool:
        """Whether it has no process at all."""
        return not self._children

    def check(self, *, may_be_done: bool = False) -> None:
        """Raise BenchError with its last words when one of the processes has ended; with `may_be_done` it may have with success."""
        for child in self._children:
            if child.ended() and not (may_be_done and child.done()):
                raise BenchError(f"{child.name} ended; it said: {child.complaint()}")

    def cpu_s(self) -> float:
        """CPU seconds that all of them, with their descendants, used until now."""
        return cpu_s_of([child.pid for child in self._children])

    def memory_bytes(self) -> int:
        """Memory that all of them, with their descendants, hold now."""
        return memory_bytes_of([child.pid for child in self._children])

    def stop(self) -> None:
        """Stop all, the last started first; may be called twice."""
        while self._children:
            self._children.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
