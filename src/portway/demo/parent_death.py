"""Runs one portway command that ends together with the demo that started it, even if that was killed.

`python -m portway.demo.parent_death PARENT ARGUMENT...` is `python -m portway ARGUMENT...`. Without this, a demo
killed with -9 would leave a server that occupies its ports.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux: the kernel sends this signal when the parent dies. The setting survives exec."""


def die_with_parent(parent: int) -> bool:
    """Let the kernel terminate this process when `parent` dies (Linux only); return False if the parent is already gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent


if __name__ == "__main__" and die_with_parent(int(sys.argv[1])):
    os.execv(sys.executable, [sys.executable, "-m", "portway", *sys.argv[2:]])  # noqa: S606 - fixed program, no shell
