"""Locks a SQLite database in another process against reading, like a recovery on a slow disk."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The eight locks of a WAL database are bytes 120 to 127 of its -shm file (SQLite's os_unix.c, UNIX_SHM_BASE).
_HOLD = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shm:
    fcntl.lockf(shm, fcntl.LOCK_EX, 8, 120)
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Prevent reads of the database at `path` within the block; another process must have it open already."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path) + "-shm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        assert holder.stdout.readline() == "locked\n", holder.stderr.read()
        yield
