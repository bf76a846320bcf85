"""State of a forward proxy behind `portway status`, derived from its events."""

import os
from collections import Counter
from collections.abc import Callable

import msgspec

from portway import __version__
from portway.forward.events import ClientDone, ForwardEvent, Listening


class ForwardStatus(msgspec.Struct, tag_field="program", tag="proxy"):
    """One running forward proxy, as reported by its status socket."""

    pid: int
    version: str
    since: float
    """Seconds since 1970."""
    address: str = ""
    results: dict[str, int] = {}
    """Clients so far, by result."""
    bytes_up: int = 0
    """Of ended tunnels, from clients to targets."""
    bytes_down: int = 0


class ForwardStatusTracker:
    """Receives all events and returns the current status."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is `clock.wall`."""
        self._results: Counter[str] = Counter()
        self._status = ForwardStatus(os.getpid(), __version__, clock())

    def __call__(self, event: ForwardEvent) -> None:
        """Update the status by one event."""
        if isinstance(event, Listening):
            self._status.address = event.address
        elif isinstance(event, ClientDone):
            self._results[str(event.result)] += 1
            self._status.bytes_up += event.upstream_stats.total_bytes if event.upstream_stats is not None else 0
            self._status.bytes_down += event.downstream_stats.total_bytes if event.downstream_stats is not None else 0

    def to_json(self) -> bytes:
        """Return the status as JSON."""
        self._status.results = dict(self._results)
        return msgspec.json.encode(self._status)
