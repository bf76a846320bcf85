"""Pins processes to cores: the attacked server to one, all others to the rest."""

import os
from pathlib import Path


def server_cores() -> set[int]:
    """Return the core of the servers, possibly the only one."""
    return {min(os.sched_getaffinity(0))}


def other_cores() -> set[int]:
    """Return the cores of everything else."""
    cores = os.sched_getaffinity(0)
    return cores - server_cores() or cores


def pin(pid: int, cores: set[int]) -> None:
    """Restrict a process and its current threads to `cores`; later threads inherit that."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def run_when_idle(pid: int) -> None:
    """Run a process only while its core is idle otherwise (sched(7), SCHED_IDLE)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
