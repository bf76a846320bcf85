"""Requests of the operator to read files again (SIGHUP)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("portway.config")


class ReloadRequests:
    """Passes each request to everything that reads files. Not thread-safe."""

    def __init__(self) -> None:
        """Start without receivers."""
        self._receivers: list[Callable[[], None]] = []

    @contextmanager
    def received_by(self, receiver: Callable[[], None]) -> Iterator[None]:
        """Call `receiver` for each request within the block; it must not block."""
        self._receivers.append(receiver)
        try:
            yield
        finally:
            self._receivers.remove(receiver)

    def request(self) -> None:
        """Pass on a request."""
        log.info("reload requested")
        for receiver in self._receivers:
            receiver()


reload_requests = ReloadRequests()
"""Those of this process, as a signal reaches a process and not a part of it."""
