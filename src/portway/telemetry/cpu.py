"""CPU time of this process, and the time it waited for a busy core."""

import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDULE = Path("/proc/self/schedstat")
"""Main thread, where the reactor runs: nanoseconds on a core, nanoseconds runnable but waiting, slices (Linux, Documentation/scheduler)."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds since the process began; only differences are meaningful."""

    used_s: float = 0.0
    """On a core: all threads, user and kernel time."""
    waited_s: float = 0.0
    """Runnable while all cores were busy; 0 where the system does not report it."""

    def __sub__(self, before: "CpuTime") -> "CpuTime":
        return CpuTime(max(0.0, self.used_s - before.used_s), max(0.0, self.waited_s - before.waited_s))


def cpu_time() -> CpuTime:
    """Return the CPU time used and waited for so far; takes microseconds."""
    try:
        waited_s = int(_SCHEDULE.read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited_s = 0.0
    return CpuTime(time.process_time(), waited_s)
