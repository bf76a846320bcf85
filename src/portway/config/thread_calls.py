"""Blocking calls that a thread runs one after another, and whose results come back to a loop."""

import asyncio
import queue
from collections.abc import Callable
from typing import Any, NamedTuple


class ThreadCall(NamedTuple):
    """A call for the thread, and the future of its result, which belongs to `loop`."""

    run: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    result: "asyncio.Future[Any]"


def run_calls(calls: "queue.Queue[ThreadCall | None]") -> None:
    """Run calls until there is None, or the loop was closed; the body of a thread. Those whose caller gave up are skipped."""
    while (call := calls.get()) is not None:
        if call.result.cancelled():
            continue  # timed out: calls behind one that hangs must not add up
        try:
            result, error = call.run(), None
        except BaseException as exc:  # noqa: BLE001 - raised in the caller
            result, error = None, exc
        try:
            call.loop.call_soon_threadsafe(_settle, call.result, result, error)
        except RuntimeError:
            return  # the loop was closed meanwhile


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
