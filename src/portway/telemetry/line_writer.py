"""Writes lines to a descriptor from a thread of its own, so that a stalled terminal or pipe never holds up who speaks."""

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable

LINES_MAX = 2000
"""Lines that wait for a stalled reader; beyond that they are counted instead of kept."""

LINE_CHARS_MAX = 16 * 1024
"""Room for a traceback. With LINES_MAX it bounds what a stalled reader can cost to 32 MB of text, in practice 0.2 MB."""

GATHER_S = 0.05
"""After a write, lines gather for as long: a thread woken for each of thousands a second costs those who speak more
than all their other work. The first line after a quiet moment goes out at once."""

CLOSE_S_MAX = 1.0
"""How long the end of a program waits for a reader that does not read."""


def lines_dropped(count: int) -> str:
    """Return the line that stands for `count` dropped ones."""
    return f"... {count} lines dropped: the reader was too slow"


class LineWriter:
    """A bounded way out for lines of text; `write` never blocks and never raises."""

    def __init__(self, descriptor: int, *, lines_max: int = LINES_MAX, dropped_line: Callable[[int], str] = lines_dropped) -> None:
        """Write to `descriptor`, which stays the caller's; `dropped_line` says how many lines are missing."""
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._dropped_line = dropped_line
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._closing = False
        self._broken = False
        self._news = threading.Condition()
        self._waiting = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lines to descriptor {descriptor}", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take one line, without its end; drop and count it when too many wait."""
        with self._news:
            if self._broken or self._closing:
                return
            if len(self._lines) >= self._lines_max:
                self._dropped += 1
                return
            self._lines.append(line[:LINE_CHARS_MAX])
            if self._waiting:
                self._waiting = False
                self._news.notify()

    def close(self, timeout_s: float = CLOSE_S_MAX) -> None:
        """Write what waits, for at most `timeout_s`, and end; may be called twice."""
        with self._news:
            self._closing = True
            self._over.set()
            self._news.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (lines := self._taken()) is not None:
            try:
                self._write_all("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            except OSError:
                # The reader is gone (`portway http 3000 | head -1`). The tunnel goes on; its lines have no reader.
                with self._news:
                    self._broken = True
                    self._lines.clear()
                return
            self._over.wait(GATHER_S)

    def _taken(self) -> list[str] | None:
        """Wait for lines and take all of them; None at the end."""
        with self._news:
            while not self._lines and not self._closing:
                self._waiting = True
                self._news.wait()
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
                # Somebody who shares the terminal made it non-blocking.
                select.select([], [self._descriptor], [], 1.0)
