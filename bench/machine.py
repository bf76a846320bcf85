"""Describes the machine, and how busy other programs kept it during a run."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from bench.process_stats import TICKS_PER_S
from bench.tools import version

PROGRAMS = ("haproxy", "nginx", "caddy", "wrk", "rathole", "bore", "frps", "openssl")
"""Programs whose versions are printed."""


def _first(path: str, pattern: str) -> str:
    try:
        match = re.search(pattern, Path(path).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return "unknown"
    return match[1].strip() if match else "unknown"


def describe() -> dict[str, str]:
    """Return cores, CPU, memory, kernel and versions as short texts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_kib = _first("/proc/meminfo", r"^MemTotal:\s+([0-9]+)")
    facts = {
        "cores": str(cores),
        "cpu": _first("/proc/cpuinfo", r"^model name\s*:\s*(.+)$"),
        "memory": f"{int(memory_kib) // 1024} MiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    return facts | {program: found for program in PROGRAMS if (found := version(program)) != "-"}


@dataclass(frozen=True, slots=True)
class MachineUse:
    """CPU seconds used on the whole machine, to detect a disturbed run."""

    busy_s: float
    """By all processes."""

    stolen_s: float
    """By the host of a virtual machine (steal)."""

    @classmethod
    def now(cls) -> "MachineUse":
        """Return the use since boot; fields of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal."""
        fields = [int(field) / TICKS_PER_S for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(busy_s=sum(fields[:3]) + sum(fields[5:7]), stolen_s=fields[7])


def disturbance(before: MachineUse, after: MachineUse, ours_s: float, elapsed_s: float) -> str:
    """Return a sentence on the use by other programs during a run whose own processes used `ours_s`."""
    whole_s = elapsed_s * (os.cpu_count() or 1)
    others = max(0.0, after.busy_s - before.busy_s - ours_s) / whole_s
    stolen = (after.stolen_s - before.stolen_s) / whole_s
    verdict = "quiet" if others + stolen < 0.05 else "disturbed: repeat on a quiet machine before relying on a small difference"
    return f"other programs used {others:.0%} of the machine, its host took {stolen:.1%} ({verdict})"
