"""Life cycle of long-running commands: signals, output, logs, status socket."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portway.cli.descriptors import raise_limit
from portway.config.paths import runtime_dir
from portway.errors import ConfigError, PortwayError, UnavailableError
from portway.telemetry import inspection
from portway.telemetry.event_lines import json_line
from portway.telemetry.line_writer import LineWriter, lines_dropped
from portway.telemetry.logs import LogSink, get_log
from portway.telemetry.status_socket import serve_status

STOP_S_MAX = 5.0
"""Time for a graceful shutdown after the first signal; then the process exits."""

EXIT_FORCED = 1

COLLECT_AFTER = (20_000, 20, 20)
"""Thresholds of the cycle collector: net new objects, then collections of one generation before the next."""

STDOUT, STDERR = 1, 2

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Output:
    """Non-blocking writers to stdout and stderr."""

    out: LineWriter
    err: LineWriter


@contextmanager
def open_output(*, as_json: bool, log_level: str) -> Iterator[Output]:
    """Open stdout for the console and stderr for logs; flush both at the end."""
    out = LineWriter(STDOUT, dropped_line=_json_lines_dropped if as_json else lines_dropped)
    output = Output(out, out if _same_terminal() else LineWriter(STDERR))
    try:
        with LogSink(output.err, log_level, form="json" if as_json else "human"):
            yield output
    finally:
        output.out.close()
        output.err.close()


def _same_terminal() -> bool:
    """Return whether stdout and stderr are one terminal: its lines must keep the order in which they were written."""
    try:
        return os.isatty(STDOUT) and os.ttyname(STDOUT) == os.ttyname(STDERR)
    except OSError:
        return False


def run_until_stopped(
    work: Callable[[], Coroutine[Any, Any, int]], drain_s: float = 0.0, on_hangup: Callable[[], None] | None = None
) -> int:
    """Run `work` in a new loop; SIGINT, SIGTERM or SIGHUP cancels it, with exit code 0.

    With `on_hangup`, a SIGHUP from a user or program calls that instead; one from a terminal that was closed still cancels. A second signal, or `drain_s + STOP_S_MAX` seconds after the first, ends the process immediately. Raises the limit of file descriptors.

    Raises:
        PortwayError: as raised by `work`; the first one if a group of tasks raised several.
    """
    raise_limit()
    _tune_gc()
    try:
        return asyncio.run(_stoppable(work, drain_s, on_hangup))
    except BaseExceptionGroup as group:
        errors = _flatten(group)
        if not all(isinstance(exc, PortwayError) for exc in errors):
            raise
        raise errors[0] from group


def _tune_gc() -> None:
    """Collect cycles less often, and exclude what exists already: with Python's own thresholds, new connections spent 8 %
    of their CPU time in the collector.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def with_status(name: str, document: Callable[[], bytes], work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `work` and serve `document` to `portway status` meanwhile; if the socket cannot be created, only run `work`."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(serve_status(status_path(name), document))
            if inspection.is_requested():
                path = status_path(name).with_suffix(".inspect")
                await stack.enter_async_context(serve_status(path, inspection.inventory))
        except (ConfigError, UnavailableError) as exc:
            log.warning("status socket unavailable", reason=exc)
        return await work()


def status_path(name: str) -> Path:
    """Return where this process's status socket is: `agent-4711.sock` in the user's runtime directory.

    Raises:
        ConfigError: the runtime directory is not private to this user.
    """
    return runtime_dir() / f"{name}-{os.getpid()}.sock"


async def _stoppable(work: Callable[[], Coroutine[Any, Any, int]], drain_s: float, on_hangup: Callable[[], None] | None) -> int:
    loop = asyncio.get_running_loop()
    stopping = False
    had_terminal = _has_terminal()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work(), name="command")

        def stop(number: int) -> None:
            nonlocal stopping
            if number == signal.SIGHUP and on_hangup is not None and not (had_terminal and not _has_terminal()):
                on_hangup()
                return
            if number == signal.SIGINT and os.isatty(STDERR):
                os.write(STDERR, b"\n")  # after the terminal's ^C, so that the next output starts on its own line
            if stopping:
                _exit_now()
            stopping = True
            task.cancel()
            loop.call_later(drain_s + STOP_S_MAX, _exit_now)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as set by nohup
                loop.add_signal_handler(number, stop, number)
    if task.cancelled():
        return 0
    return task.result()


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group, including those of nested groups."""
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _flatten(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found


def _exit_now() -> None:
    sys.stderr.flush()
    os._exit(EXIT_FORCED)


def _json_lines_dropped(count: int) -> str:
    return json_line({"event": "lines_dropped", "count": count})
