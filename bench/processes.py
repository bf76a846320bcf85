"""Processes of a system or of the load: started with logs in a folder, checked, and always stopped by pid."""

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
TAIL_BYTES = 16 * 1024  # an agent that logs every request fills its log fast


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")


class Child:
    """One started process; its output goes to files, so that no full pipe can stall it."""

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
        """Return whether it has exited."""
        return self._process.poll() is not None

    def done(self) -> bool:
        """Return whether it has exited with 0."""
        return self._process.poll() == 0

    def last_output(self) -> str:
        """Return the last lines of its output, for error messages."""
        output = _tail(self._stderr) + _tail(self._stdout)
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        return " / ".join(lines[-LOG_LINES_SHOWN:]) or "nothing"

    def first_line(self, deadline_s: float) -> str:
        """Return the first line of its standard output.

        Raises:
            BenchError: it exited or printed no line in `deadline_s` seconds.
        """
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            ended = self.ended()  # checked before reading, so that the final output is complete
            line, newline, _ = self._stdout.read_text(errors="replace").partition("\n")
            if newline:
                return line.strip()
            if ended:
                break
            time.sleep(0.02)
        state = "ended" if self.ended() else f"printed no line in {deadline_s:g} s"
        raise BenchError(f"{self.name} {state}; last output: {self.last_output()}")

    def stop(self) -> None:
        """Terminate it, kill its descendants, and wait until it has exited."""
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
    """Processes that are measured and stopped together; a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._children: list[Child] = []

    def start(self, argv: list[str], name: str, env: dict[str, str] | None = None) -> Child:
        """Start a process; `name` must be unique in this group.

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
        """Return whether there is no process."""
        return not self._children

    def check(self, *, may_be_done: bool = False) -> None:
        """Raise BenchError with the last output of a process that has exited; `may_be_done` allows exit code 0."""
        for child in self._children:
            if child.ended() and not (may_be_done and child.done()):
                raise BenchError(f"{child.name} ended; last output: {child.last_output()}")

    def cpu_s(self) -> float:
        """Return the CPU seconds that all of them used, with their descendants."""
        return cpu_s_of([child.pid for child in self._children])

    def memory_bytes(self) -> int:
        """Return the memory that all of them use now, with their descendants."""
        return memory_bytes_of([child.pid for child in self._children])

    def stop(self) -> None:
        """Stop all, the last started first; safe to call twice."""
        while self._children:
            self._children.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
