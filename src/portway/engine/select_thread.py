"""A thread that waits in `select` for a loop that can not: where neither poller nor loop has a descriptor to wait on."""

import asyncio
import queue
import select
import selectors
import socket
import threading
from collections.abc import Callable

Wanted = tuple[list[int], list[int]]
"""Descriptors to wait for: readable ones, writable ones."""

JOIN_S = 1.0
"""How long closing waits for the thread, which has only to return from `select`."""


class SelectThread:
    """Wakes the loop when a selector would have news. The thread gets copies of numbers, and calls nothing but `select`.

    At most one wait is under way. When it is over, the loop's thread runs `wake` and hands over what to wait for next; when
    that changes meanwhile, the wait is cut short by a byte and begun anew.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], selector: selectors.BaseSelector) -> None:
        """Start the thread; it waits for nothing yet."""
        self._loop = loop
        self._wake = wake
        self._selector = selector
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._orders: queue.SimpleQueue[Wanted | None] = queue.SimpleQueue()
        self._waiting = False
        self._stale = False
        self._asked = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="portway poller", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Wait for what the selector now holds, from the loop's next turn on."""
        self._stale = True
        if not self._asked and not self._closed:
            self._asked = True
            self._loop.call_soon(self._hand_over)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._orders.put(None)
        self._ring()
        self._thread.join(JOIN_S)
        self._bell.close()
        self._button.close()

    def _hand_over(self) -> None:
        self._asked = False
        if self._closed:
            return
        if not self._waiting:
            self._waiting, self._stale = True, False
            keys = self._selector.get_map().values()
            readers = [key.fd for key in keys if key.events & selectors.EVENT_READ]
            self._orders.put((readers, [key.fd for key in keys if key.events & selectors.EVENT_WRITE]))
        elif self._stale:
            self._stale = False
            self._ring()

    def _over(self) -> None:
        self._waiting = False
        if not self._closed:
            self._wake()
            self._hand_over()

    def _ring(self) -> None:
        try:
            self._button.send(b"\0")
        except BlockingIOError:
            pass  # it rings already

    def _run(self) -> None:
        while (wanted := self._orders.get()) is not None:
            readers, writers = wanted
            try:
                # Windows tells a failed connect as exceptional, and only there.
                select.select([self._bell.fileno(), *readers], writers, writers)
                self._bell.recv(4096)
            except (OSError, ValueError):
                pass  # nobody rang; or a descriptor was closed meanwhile, and the loop's thread has new orders
            try:
                self._loop.call_soon_threadsafe(self._over)
            except RuntimeError:
                return  # the loop is closed
