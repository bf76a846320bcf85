"""Byte counters that several processes write and the benchmark reads while they run."""

import mmap
import struct
from pathlib import Path

SLOTS = 256  # one a connection and process, so that nobody shares a slot
_SLOT = struct.Struct("=Q")


class Counters:
    """A file of `SLOTS` numbers, mapped into every process that counts."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOTS * _SLOT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SLOTS * _SLOT.size)

    def put(self, slot: int, count: int) -> None:
        """Set what `slot` has counted; slots beyond the last start again at the first."""
        _SLOT.pack_into(self._map, slot % SLOTS * _SLOT.size, count)

    def get(self, slot: int) -> int:
        """What `slot` has counted."""
        value: int = _SLOT.unpack_from(self._map, slot % SLOTS * _SLOT.size)[0]
        return value

    def total(self) -> int:
        """All slots together."""
        return sum(value for (value,) in _SLOT.iter_unpack(self._map))
