"""A thread that runs blocking calls one after another, each with a deadline."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from portway.config.thread_calls import ThreadCall, run_calls
from portway.errors import UnavailableError

T = TypeVar("T")

CALLS_MAX = 256
"""Queued calls: a few for each order under way, and questions for the time of renewal."""

ABANDONED_MAX = 4
"""Threads that may hang in a call after its deadline; each may hold a connection and a stack."""


class SerialThread:
    """Runs blocking calls in one thread at a time.

    A call that exceeds its deadline cannot be interrupted: its thread is abandoned, and a new one runs the next calls. Whatever the call
    used must then be replaced too. The threads are daemons: a call that hangs never keeps the program from exiting.
    """

    def __init__(self, name: str) -> None:
        """Start no thread yet."""
        self._name = name
        self._calls: queue.Queue[ThreadCall | None] | None = None
        self._abandoned: list[threading.Thread] = []
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], T], deadline_s: float) -> T:
        """Return the result of a call; the deadline includes the calls before it.

        Raises:
            UnavailableError: the call took too long, or too many are queued.
        """
        calls = self._open()
        if calls.qsize() >= CALLS_MAX:
            raise UnavailableError(f"{self._name}: {CALLS_MAX} calls are queued already")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        calls.put(ThreadCall(call, asyncio.get_running_loop(), result))
        try:
            async with asyncio.timeout(deadline_s):
                return await result
        except TimeoutError:
            if self._calls is calls and self._thread is not None:
                calls.put(None)
                self._abandoned.append(self._thread)
                self._calls = None
            raise UnavailableError(f"{self._name}: not complete after {deadline_s:g} s") from None

    def close(self) -> None:
        """Let the thread end after the calls in the queue."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None

    def _open(self) -> queue.Queue[ThreadCall | None]:
        if self._calls is not None:
            return self._calls
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= ABANDONED_MAX:
            raise UnavailableError(f"{self._name}: {ABANDONED_MAX} calls hang already")
        calls: queue.Queue[ThreadCall | None] = queue.Queue()
        self._calls = calls
        self._thread = threading.Thread(target=run_calls, args=(calls,), name=self._name, daemon=True)
        self._thread.start()
        return calls
