"""Makes a process end with the one that started it, so that a killed benchmark leaves nothing behind."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29


def die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent is gone; elsewhere do nothing."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went in between
            os.kill(os.getpid(), signal.SIGKILL)


def wake_on_time() -> None:
    """Ask Linux not to delay this thread's timers by its usual 50 µs: a load generator's schedule is its measure."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
