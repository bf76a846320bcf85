"""Locks a SQLite database in another process, so that nobody can read it: as one that recovers it on a slow disk would."""

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
    """Keep everybody from reading the database at `path` within the block; somebody must have it open already."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path) + "-shm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        assert holder.stdout.readline() == "locked\n", holder.stderr.read()
        yield
