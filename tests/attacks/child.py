"""Child processes that prepare, start on command, and report with JSON lines."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from bench.parent_death import die_with_parent
from tests.attacks.cores import other_cores, pin

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30.0


class ChildError(Exception):
    """A child exited or sent no line in time."""


class Child:
    """The parent's handle of a child; leaving the `with` block kills it."""

    def __init__(self, module: str, task: dict[str, Any]) -> None:
        """Start `python -m module` with its task."""
        self.module = module
        path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(task)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        pin(self._process.pid, other_cores())
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        for work in (self._read, self._read_errors):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def receive_line(self, deadline_s: float) -> Any:
        """Return its next line.

        Raises:
            ChildError: it exited or sent no line in time.
        """
        try:
            line = self._lines.get(timeout=deadline_s)
        except queue.Empty:
            raise ChildError(f"{self.module} sent no line within {deadline_s:g} s") from None
        if not line:
            self._process.wait(5)
            raise ChildError(f"{self.module} ended with {self._process.returncode}: {''.join(self._errors[-20:])}")
        return json.loads(line)

    def ready(self) -> Any:
        """Wait until it is ready and return its first line."""
        return self.receive_line(READY_S)

    def start_work(self) -> None:
        """Send the start command."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except (OSError, ValueError):
                    pass


def task_of_child() -> Any:
    """Return the task from the parent; from now on the child ends with its parent."""
    die_with_parent()
    return json.loads(sys.argv[1])


def send_line(value: object) -> None:
    """Send a value to the parent."""
    print(json.dumps(value), flush=True)


def wait_for_start() -> None:
    """Wait for the start command; exit if the parent is gone."""
    if not sys.stdin.readline():
        sys.exit(1)
