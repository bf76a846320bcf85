"""Byte counters in shared memory: load processes write them, the benchmark reads them meanwhile."""

import mmap
import struct
from pathlib import Path

SLOTS = 256  # one per connection and process, so that no slot is shared
_SLOT = struct.Struct("=Q")


class Counters:
    """A file of `SLOTS` counters, mapped into every process that counts."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOTS * _SLOT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SLOTS * _SLOT.size)

    def put(self, slot: int, count: int) -> None:
        """Set the count of `slot`; numbers beyond the last slot wrap around."""
        _SLOT.pack_into(self._map, slot % SLOTS * _SLOT.size, count)

    def get(self, slot: int) -> int:
        """Return the count of `slot`."""
        value: int = _SLOT.unpack_from(self._map, slot % SLOTS * _SLOT.size)[0]
        return value

    def total(self) -> int:
        """Return the sum of all slots."""
        return sum(value for (value,) in _SLOT.iter_unpack(self._map))
