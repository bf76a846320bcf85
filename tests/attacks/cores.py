"""Gives each process its core: the server under attack one, everything else the other."""

import os
from pathlib import Path


def server_cores() -> set[int]:
    """Return the core of the servers; the only one where there is only one."""
    return {min(os.sched_getaffinity(0))}


def other_cores() -> set[int]:
    """Return the cores of everything else."""
    cores = os.sched_getaffinity(0)
    return cores - server_cores() or cores


def pin(pid: int, cores: set[int]) -> None:
    """Let a process, with all the threads that it has now, run on `cores` alone; those that it starts later inherit that."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def run_when_idle(pid: int) -> None:
    """Give a process a core only while nobody else wants it (sched(7), SCHED_IDLE)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
