"""What commands that run until they are stopped have in common: signals, console, logs, status socket."""

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
from portway.telemetry.line_writer import LineWriter
from portway.telemetry.logs import LogSink, get_log
from portway.telemetry.status_socket import serve_status

STOP_S_MAX = 5.0
"""How long a program may take to say goodbye after the first signal; then it ends as it is."""

EXIT_FORCED = 1

COLLECT_AFTER = (20_000, 20, 20)
"""Thresholds of the cycle collector: objects made and not freed, then collections of one generation before the next."""

STDOUT, STDERR = 1, 2

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Output:
    """The two ways out of a running program; neither ever blocks it."""

    out: LineWriter
    err: LineWriter


@contextmanager
def open_output(*, as_json: bool, log_level: str) -> Iterator[Output]:
    """Open stdout for the console and stderr for logs, and write what waits at the end."""
    dropped = _json_left_out if as_json else _left_out
    out = LineWriter(STDOUT, dropped_line=dropped)
    both = Output(out, out if _same_terminal() else LineWriter(STDERR))
    try:
        with LogSink(both.err, log_level, form="json" if as_json else "human"):
            yield both
    finally:
        both.out.close()
        both.err.close()


def _same_terminal() -> bool:
    """Return whether both go to one screen, where a person expects them in the order in which they were written."""
    try:
        return os.isatty(STDOUT) and os.ttyname(STDOUT) == os.ttyname(STDERR)
    except OSError:
        return False


def run_until_stopped(work: Callable[[], Coroutine[Any, Any, int]], drain_s: float = 0.0) -> int:
    """Run `work` in a new loop; SIGINT, SIGTERM or SIGHUP cancels it, and that counts as done (0).

    A second signal, or STOP_S_MAX (and `drain_s`, which `work` may take for that) after the first, ends the process at once. It may hold as many descriptors as the
    system allows.

    Raises:
        PortwayError: as `work` raised it; the first, when a group of tasks raised several.
    """
    raise_limit()
    _tune_gc()
    try:
        return asyncio.run(_stoppable(work, drain_s))
    except BaseExceptionGroup as group:
        told = [exc for exc in _leaves(group) if isinstance(exc, PortwayError)]
        if not told or len(told) < len(_leaves(group)):
            raise
        raise told[0] from group


def _tune_gc() -> None:
    """Look for garbage cycles less often, and never among the code: with Python's own thresholds a profile of new
    connections showed 8 % in the collector.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def with_status(name: str, document: Callable[[], bytes], work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `work` while `portway status` can ask for `document`; without that, if its socket cannot be made."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(serve_status(status_path(name), document))
            if inspection.is_wanted():
                path = status_path(name).with_suffix(".inspect")
                await stack.enter_async_context(serve_status(path, inspection.inventory))
        except (ConfigError, UnavailableError) as exc:
            log.warning("no status socket", why=exc)
        return await work()


def status_path(name: str) -> Path:
    """Return where this process's status socket is: `agent-4711.sock` in the user's runtime directory.

    Raises:
        ConfigError: there is no runtime directory that is ours alone.
    """
    return runtime_dir() / f"{name}-{os.getpid()}.sock"


async def _stoppable(work: Callable[[], Coroutine[Any, Any, int]], drain_s: float) -> int:
    loop = asyncio.get_running_loop()
    stopping = False
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work(), name="command")

        def stop(number: int) -> None:
            nonlocal stopping
            if number == signal.SIGINT and os.isatty(STDERR):
                os.write(STDERR, b"\n")  # the terminal has shown ^C: what follows, and the prompt, get a line of their own
            if stopping:
                _end_now()
            stopping = True
            task.cancel()
            loop.call_later(drain_s + STOP_S_MAX, _end_now)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants it ignored
                loop.add_signal_handler(number, stop, number)
    if task.cancelled():
        return 0
    return task.result()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the single errors of a group of groups."""
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found


def _end_now() -> None:
    sys.stderr.flush()
    os._exit(EXIT_FORCED)


def _left_out(count: int) -> str:
    return f"... {count} lines left out: whoever reads this was too slow"


def _json_left_out(count: int) -> str:
    return json_line({"event": "left_out", "count": count})
