"""How much CPU this process uses, and how long it waited for a core that others had."""

import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDULE = Path("/proc/self/schedstat")
"""Of the main thread, where the reactor runs: nanoseconds on a core, nanoseconds ready and waiting, slices (Linux, Documentation/scheduler)."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds since the process began; only differences mean anything."""

    used_s: float = 0.0
    """On a core, all threads, in the kernel too."""
    waited_s: float = 0.0
    """Ready to run, while others had the cores; 0 where the system does not tell."""

    def __sub__(self, before: "CpuTime") -> "CpuTime":
        return CpuTime(max(0.0, self.used_s - before.used_s), max(0.0, self.waited_s - before.waited_s))


def cpu_time() -> CpuTime:
    """Return what this process has used and waited for so far; takes microseconds."""
    try:
        waited_s = int(_SCHEDULE.read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited_s = 0.0
    return CpuTime(time.process_time(), waited_s)
