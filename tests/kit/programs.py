"""Starts programs for a test, reads their output with deadlines, and stops them by pid."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

DEADLINE_S = 15.0
SOURCES = Path(__file__).resolve().parents[2] / "src"


@dataclass(frozen=True)
class Finished:
    """Exit code and output of a program."""

    code: int
    out: str
    err: str


class Lines:
    """Output of a program on one pipe, collected by a thread."""

    def __init__(self, pipe: IO[str]) -> None:
        """Collect until the pipe ends."""
        self._pipe = pipe
        self._changed = threading.Condition()
        self.lines: list[str] = []
        self._ended = False
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._pipe:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, deadline_s: float, start: int = 0) -> re.Match[str] | None:
        """Return the first match in a line from number `start` on, or None at the end of the pipe or the deadline."""
        until = time.monotonic() + deadline_s
        wanted = re.compile(pattern)
        with self._changed:
            while True:
                for number in range(start, len(self.lines)):
                    if match := wanted.search(self.lines[number]):
                        return match
                start = len(self.lines)
                left_s = until - time.monotonic()
                if self._ended or left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def join(self) -> str:
        """Wait for the end of the pipe and return its content."""
        self._thread.join(5)
        return "\n".join(self.lines)


class Program:
    """A running program, killed at the end of a `with` block; its output stays readable."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        name: str = "",
        inherit_env: bool = True,
    ) -> None:
        """Start `argv`; `stdin` is written at once and closed, by default it is empty."""
        self.name = name or str(argv[0])
        base = dict(os.environ) if inherit_env else {}
        self.process = subprocess.Popen(
            [str(part) for part in argv],
            env={**base, **(env or {})},
            cwd=cwd,
            text=True,
            errors="replace",
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        if stdin is not None and self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(stdin)
                self.process.stdin.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """True until it has exited."""
        return self.process.poll() is None

    def expect(self, pattern: str, deadline_s: float = DEADLINE_S, *, stream: str = "out", start: int = 0) -> re.Match[str]:
        """Return the first match in a line of `out` or `err`; fail with the output otherwise."""
        lines = self.out if stream == "out" else self.err
        match = lines.wait_for(pattern, deadline_s, start)
        if match is None:
            raise AssertionError(f"{self.name} did not print {pattern!r} within {deadline_s} s.\n{self.transcript()}")
        return match

    def first_line(self, deadline_s: float = DEADLINE_S) -> str:
        """Return the first line on stdout."""
        return self.expect("", deadline_s).string

    def transcript(self) -> str:
        """Return its output so far, for failure messages."""
        state = "running" if self.running else f"ended with {self.process.returncode}"
        out, err = "\n".join(self.out.lines[-40:]), "\n".join(self.err.lines[-40:])
        return f"--- {self.name} ({state})\n--- stdout\n{out}\n--- stderr\n{err}"

    def wait(self, deadline_s: float = DEADLINE_S) -> Finished:
        """Wait for its exit and return the result; fail if it still runs."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {deadline_s} s.\n{self.transcript()}") from None
        return Finished(code, self.out.join(), self.err.join())

    def signal(self, number: int) -> None:
        """Send a signal to this process."""
        if self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it with SIGKILL, like a crash."""
        self.signal(signal.SIGKILL)
        self.process.wait(5)

    def stop(self, deadline_s: float = 5.0) -> Finished:
        """Send SIGTERM, and SIGKILL if it does not exit in time."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.wait()

    def rss_bytes(self) -> int:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_rss_bytes(self) -> int:
        """Return its peak resident memory; it must still run."""
        peak = self._peak_rss_bytes()
        assert peak is not None, f"it has exited, and its memory is freed.\n{self.transcript()}"
        return peak

    def peak_rss_bytes_to_its_end(self, deadline_s: float) -> int:
        """Wait for its exit; return its peak resident memory, last read shortly before."""
        until = time.monotonic() + deadline_s
        peak = self.peak_rss_bytes()
        while (now := self._peak_rss_bytes()) is not None:
            peak = now
            assert time.monotonic() < until, f"{self.name} still runs after {deadline_s} s.\n{self.transcript()}"
            time.sleep(0.02)
        return peak

    def _peak_rss_bytes(self) -> int | None:
        """Return its peak resident memory, or None once it has exited: the kernel frees its memory before it is reaped."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return None if found is None else int(found[1]) * 1024

    def descriptors(self) -> int:
        """Return its number of open descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        for pipe in (self.process.stdout, self.process.stderr, self.process.stdin):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()


def portway(*arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None, name: str = "") -> Program:
    """Start `portway …` from this source tree with this Python."""
    argv = [sys.executable, "-m", "portway", *arguments]
    full = {"PYTHONPATH": str(SOURCES), "PYTHONUNBUFFERED": "1", **(env or {})}
    return Program(argv, env=full, stdin=stdin, name=name or "portway " + " ".join(str(part) for part in arguments[:2]))
