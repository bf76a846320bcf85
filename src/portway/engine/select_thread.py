"""Waits in `select` on a thread, for systems where neither selector nor loop has a descriptor to wait on."""

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
"""How long `close` waits for the thread, which only has to return from `select`."""


class SelectThread:
    """Wakes the loop when a selector would have events. The thread gets copies of descriptor numbers and calls only `select`.

    At most one wait is pending. When it ends, the loop's thread runs `wake` and submits the next one; when the descriptors
    change meanwhile, the wait is interrupted by a byte and restarted.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], selector: selectors.BaseSelector) -> None:
        """Start the thread, without a wait."""
        self._loop = loop
        self._wake = wake
        self._selector = selector
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._requests: queue.SimpleQueue[Wanted | None] = queue.SimpleQueue()
        self._waiting = False
        self._outdated = False
        self._scheduled = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="portway poller", daemon=True)
        self._thread.start()

    def update(self) -> None:
        """Wait for the descriptors that the selector now contains, from the next iteration of the loop on."""
        self._outdated = True
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._submit)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._requests.put(None)
        self._interrupt()
        self._thread.join(JOIN_S)
        self._wake_reader.close()
        self._wake_writer.close()

    def _submit(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        if not self._waiting:
            self._waiting, self._outdated = True, False
            keys = self._selector.get_map().values()
            readers = [key.fd for key in keys if key.events & selectors.EVENT_READ]
            self._requests.put((readers, [key.fd for key in keys if key.events & selectors.EVENT_WRITE]))
        elif self._outdated:
            self._outdated = False
            self._interrupt()

    def _on_ready(self) -> None:
        self._waiting = False
        if not self._closed:
            self._wake()
            self._submit()

    def _interrupt(self) -> None:
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:
            pass  # already interrupted

    def _run(self) -> None:
        while (wanted := self._requests.get()) is not None:
            readers, writers = wanted
            try:
                # Windows reports a failed connect only as an exceptional condition.
                select.select([self._wake_reader.fileno(), *readers], writers, writers)
                self._wake_reader.recv(4096)
            except (OSError, ValueError):
                pass  # not interrupted; or a descriptor was closed meanwhile, and the loop's thread has submitted a new request
            try:
                self._loop.call_soon_threadsafe(self._on_ready)
            except RuntimeError:
                return  # the loop is closed
