"""Keeps original requests in memory, so that a replay in the same run can send what the store does not contain."""

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

BYTES_MAX = 32 * 1024 * 1024


class Original(NamedTuple):
    """A request as it was sent to the origin."""

    head: bytes
    body: bytes
    wire: bytes | None
    """The body with its chunked framing; None if it was not chunked."""

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.head) + len(self.body) + len(self.wire or b"") + 200


class Originals:
    """The latest requests with something redacted, by id, within a bound. Never written anywhere."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        """Start empty."""
        self._bytes_max = bytes_max
        self._found: OrderedDict[int, Original] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<{len(self._found)} originals>"

    def add(self, number: int, original: Original) -> None:
        """Add one, and drop the oldest beyond the bound."""
        with self._lock:
            self._found[number] = original
            self._bytes += original.size
            while self._bytes > self._bytes_max and self._found:
                _, oldest = self._found.popitem(last=False)
                self._bytes -= oldest.size

    def find(self, number: int) -> Original | None:
        """Return the original of an exchange, if it is still there."""
        return self._found.get(number)

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._found.clear()
            self._bytes = 0
