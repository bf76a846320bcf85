"""How crowded the machine is: what takes so many times longer here says nothing of the program that took its time."""

import time

WORK_S = 0.01
"""Longer than a scheduler's turn, so that those who want the same core show."""


class MachineLoad:
    """Compares the time that a little work took with the time that it had a core for."""

    def __init__(self) -> None:
        """Start without a look."""
        self._took_s = self._worked_s = 0.0

    def sample(self) -> None:
        """Do a little work, now."""
        began, worked = time.monotonic(), time.thread_time()
        while (now := time.thread_time()) - worked < WORK_S:
            pass
        self._worked_s += now - worked
        self._took_s += time.monotonic() - began

    @property
    def slowdown(self) -> float:
        """How many times longer all looks together took than their work: 1 on a free machine."""
        return max(1.0, self._took_s / self._worked_s)
