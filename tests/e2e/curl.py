"""Runs curl as a visitor: hashes what it gets without storing it, feeds it what it sends, and reports how it ended."""

import fcntl
import hashlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import pytest

PIPE_BYTES = 1 << 20
TIME_S_MAX = 100
"""After this curl gives up by itself (28), so that no test hangs on it."""

PARTIAL_FILE, RECV_ERROR = 18, 56
"""How curl reports that an answer was cut: fewer bytes than promised, or a reset."""


@dataclass(frozen=True)
class Got:
    """How curl ended, and what it got."""

    code: int
    size: int
    sha256: str
    tail: bytes
    """The last bytes, at least 1000 where there were as many."""
    said: str


class Curl:
    """A running curl. Skips the test where there is none."""

    def __init__(self, *arguments: str, body: Iterator[bytes] | None = None) -> None:
        """Start it; `body` goes to its stdin, for `-T -`. This machine's settings and proxies do not count."""
        path = shutil.which("curl")
        if path is None:
            pytest.skip("no curl on this machine")
        command = [path, "-q", "-sS", "-N", "--ipv4", "--noproxy", "*", "--max-time", str(TIME_S_MAX), *arguments]
        stdin = subprocess.PIPE if body is not None else subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        assert self._process.stdout is not None
        self._out = self._process.stdout
        fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._digest, self._size, self._tail = hashlib.sha256(), 0, b""
        self._feeder = threading.Thread(target=self._feed, args=(body,), daemon=True)
        if body is not None:
            self._feeder.start()

    def read(self, size: int) -> None:
        """Take in at least `size` bytes in all; an end before is an error."""
        while self._size < size:
            if not self._take():
                raise AssertionError(f"curl ended after {self._size} of {size} bytes: {self.finish()}")

    def finish(self) -> Got:
        """Read the rest; return how it ended."""
        while self._take():
            pass
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace")
        return Got(self._process.wait(TIME_S_MAX), self._size, self._digest.hexdigest(), self._tail, said)

    def _take(self) -> bool:
        piece = self._out.read(PIPE_BYTES)
        if not piece:
            return False
        self._digest.update(piece)
        self._size += len(piece)
        self._tail = (self._tail + piece)[-1000:] if len(piece) < 1000 else piece[-1000:]
        return True

    def _feed(self, body: Iterator[bytes]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with stdin:
                for piece in body:
                    view = memoryview(piece)
                    while view:
                        view = view[stdin.write(view) :]
        except OSError:
            pass  # curl ended before its body did, and reports why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(5)
        if self._feeder.is_alive():
            self._feeder.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
