"""Makes a process end with the one that started it, so that a killed benchmark leaves nothing behind."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29


def die_with_parent() -> None:
    """Request SIGKILL from Linux when the parent ends; elsewhere do nothing."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended in between
            os.kill(os.getpid(), signal.SIGKILL)


def wake_on_time() -> None:
    """Disable the 50 µs timer slack of Linux for this thread: a load generator measures against its schedule."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
