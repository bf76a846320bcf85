"""Writes lines to a descriptor from its own thread, so that a stalled terminal or pipe never blocks the caller."""

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable

LINES_MAX = 2000
"""Lines buffered for a stalled reader; further ones are dropped and counted."""

LINE_CHARS_MAX = 16 * 1024
"""Enough for a traceback. Together with LINES_MAX, bounds the buffer of a stalled reader to 32 MB of text, in practice 0.2 MB."""

GATHER_S = 0.05
"""Time between writes, in which lines are collected: waking the thread for each of thousands of lines per second costs callers
more than all their other work. The first line after a pause is written at once."""

CLOSE_S_MAX = 1.0
"""How long `close` waits for a stalled reader."""


def lines_dropped(count: int) -> str:
    """Return the line that stands for `count` dropped ones."""
    return f"... {count} lines dropped: the reader was too slow"


class LineWriter:
    """Bounded writer of text lines; `write` never blocks and never raises."""

    def __init__(self, descriptor: int, *, lines_max: int = LINES_MAX, dropped_line: Callable[[int], str] = lines_dropped) -> None:
        """Write to `descriptor`, which the caller still owns; `dropped_line` returns the line that reports a number of dropped ones."""
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._dropped_line = dropped_line
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._closing = False
        self._broken = False
        self._lock = threading.RLock()  # entered directly by `write`: two calls less for each line
        self._changed = threading.Condition(self._lock)
        self._idle = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lines to descriptor {descriptor}", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line, given without a line break; drop and count it if the queue is full."""
        with self._lock:
            if self._broken or self._closing:
                return
            if len(self._lines) >= self._lines_max:
                self._dropped += 1
                return
            self._lines.append(line[:LINE_CHARS_MAX])
            if self._idle:
                self._idle = False
                self._changed.notify()

    def close(self, timeout_s: float = CLOSE_S_MAX) -> None:
        """Write the queued lines, for at most `timeout_s`, and stop; may be called twice."""
        with self._changed:
            self._closing = True
            self._closed.set()
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (lines := self._next_batch()) is not None:
            try:
                self._write_all("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            except OSError:
                # The reader is gone (`portway http 3000 | head -1`); the tunnel continues without output.
                with self._changed:
                    self._broken = True
                    self._lines.clear()
                return
            self._closed.wait(GATHER_S)

    def _next_batch(self) -> list[str] | None:
        """Wait for lines and return all of them; None at the end."""
        with self._changed:
            while not self._lines and not self._closing:
                self._idle = True
                self._changed.wait()
            lines = list(self._lines)
            self._lines.clear()
            if self._dropped:
                lines.append(self._dropped_line(self._dropped))
                self._dropped = 0
            return lines or None

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError as exc:
                if exc.errno != errno.EAGAIN:
                    raise
                # Another process made the shared terminal non-blocking.
                select.select([], [self._descriptor], [], 1.0)
