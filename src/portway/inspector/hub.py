"""Wakes the open event streams of the API when something was stored; callable from any thread."""

import asyncio
from threading import Lock


class Hub:
    """The event streams that wait."""

    def __init__(self) -> None:
        """Start without streams."""
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = Lock()
        self.closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self) -> asyncio.Event:
        """Return an event that is set after each change; call it from the stream's loop."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = asyncio.get_running_loop()
        return event

    def leave(self, event: asyncio.Event) -> None:
        """Forget an event."""
        with self._lock:
            self._waiting.pop(event, None)

    def notify(self) -> None:
        """Wake all streams."""
        with self._lock:
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop was closed meanwhile
                self.leave(event)

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self.notify()
