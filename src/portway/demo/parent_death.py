"""Becomes one portway command that ends when the demo that started it is gone, however that ended.

`python -m portway.demo.parent_death PARENT ARGUMENT...` is `python -m portway ARGUMENT...`. Without it a demo that was killed
with -9 would leave a server behind, which keeps its ports.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux: the kernel sends us this signal when our parent dies. It outlives exec."""


def die_with_parent(parent: int) -> bool:
    """Ask the kernel to end this process after `parent`; False when the parent is already gone. Elsewhere than on Linux: nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent


if __name__ == "__main__" and die_with_parent(int(sys.argv[1])):
    os.execv(sys.executable, [sys.executable, "-m", "portway", *sys.argv[2:]])  # noqa: S606 - our own program, no shell
