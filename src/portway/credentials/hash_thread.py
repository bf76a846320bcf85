"""Compares passwords with their hashes in one thread of low priority: a hash takes 60 ms on purpose, and the reactor never computes one."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from portway.protocol.password_hash import PasswordHash

NICENESS = 10
"""Of the thread: a flood of guesses must not take the processor from the reactor."""


class HashThread:
    """One comparison at a time; the caller queues the others, and decides about their order."""

    def __init__(self) -> None:
        """Start the thread with the first comparison."""
        self._executor: ThreadPoolExecutor | None = None
        self.running = False

    def start(self, expected: PasswordHash, password: bytes, on_done: Callable[[bool], None]) -> None:
        """Compare in the thread, and call `on_done` with the result in the loop, unless the thread is closed before."""
        self.running = True
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "checks passwords", _lower_priority)
        done = asyncio.get_running_loop().run_in_executor(self._executor, expected.matches, password)
        done.add_done_callback(lambda future: self._finish(future, on_done))

    def close(self) -> None:
        """Stop the thread, after the comparison in progress."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _finish(self, future: "asyncio.Future[bool]", on_done: Callable[[bool], None]) -> None:
        self.running = False
        if not future.cancelled():
            on_done(future.exception() is None and future.result())


def _lower_priority() -> None:
    with contextlib.suppress(OSError):  # Linux has one priority per thread; elsewhere it stays
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
