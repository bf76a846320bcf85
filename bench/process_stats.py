"""CPU time and memory of processes, read from /proc."""

import os
import re
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_STAT = re.compile(rb"^([0-9]+) \(.*\) [A-Za-z] ([0-9]+) ", re.DOTALL)
_ANONYMOUS = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|RssAnon|RssShmem):\s+([0-9]+) kB$", re.MULTILINE)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # gone, or another user's
        return b""


def cpu_s(stat: bytes) -> float:
    """Return the CPU seconds in a line of /proc/PID/stat: fields 14 to 17 (proc(5)), counted after the name, which may contain anything."""
    fields = stat[stat.rfind(b")") + 2 :].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_S if len(fields) > 15 else 0.0


def memory_bytes(pid: int) -> int:
    """Return the anonymous and shared memory of one process.

    Uses the proportional share (PSS) where it can be read, so that pages shared by forked workers count once.
    Pages of program files do not count: their share depends on other processes, and no visitor adds any.
    """
    text = _read(f"/proc/{pid}/smaps_rollup") or _read(f"/proc/{pid}/status")
    return 1024 * sum(int(kib) for kib in _ANONYMOUS.findall(text))


def descendants(pid: int) -> list[int]:
    """Return all living descendants of `pid`."""
    parents: dict[int, int] = {}
    for entry in (each.name for each in os.scandir("/proc")):
        if entry.isascii() and entry.isdigit() and (match := _STAT.match(_read(f"/proc/{entry}/stat"))):
            parents[int(match[1])] = int(match[2])
    found, seen = [pid], {pid}
    for known in found:
        children = [child for child, parent in parents.items() if parent == known and child not in seen]
        seen.update(children)
        found += children
    return found[1:]


def family(pids: list[int]) -> list[int]:
    """Return these processes and their living descendants."""
    return sorted({*pids, *(child for pid in pids for child in descendants(pid))})


def cpu_s_of_one(pid: int) -> float:
    """Return the CPU seconds of one living process without its living children."""
    return cpu_s(_read(f"/proc/{pid}/stat"))


def cpu_s_of(pids: list[int]) -> float:
    """Return user and system seconds of these processes and their living descendants, with threads and ended children."""
    return sum(cpu_s(_read(f"/proc/{pid}/stat")) for pid in family(pids))


def memory_bytes_of(pids: list[int]) -> int:
    """Return the memory of these processes and their descendants."""
    return sum(memory_bytes(pid) for pid in family(pids))
