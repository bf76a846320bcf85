"""Measures how busy the machine is, so that tests of durations can allow for it."""

import time

WORK_S = 0.01
"""Longer than a scheduler's time slice, so that competing processes have an effect."""


class MachineLoad:
    """Compares the wall-clock time of a little work with its CPU time."""

    def __init__(self) -> None:
        """Start without a sample."""
        self._took_s = self._worked_s = 0.0

    def sample(self) -> None:
        """Do a little work and measure it."""
        began, worked = time.monotonic(), time.thread_time()
        while (now := time.thread_time()) - worked < WORK_S:
            pass
        self._worked_s += now - worked
        self._took_s += time.monotonic() - began

    @property
    def slowdown(self) -> float:
        """Wall-clock time of all samples divided by their CPU time; 1 on an idle machine."""
        return max(1.0, self._took_s / self._worked_s)
