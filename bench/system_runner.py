"""Runs one system: starts it when first needed, checks it, restarts it after a failure, stops it at the end."""

from collections import Counter
from pathlib import Path

from bench.errors import BenchError, StartFailed
from bench.origins import Origins
from bench.processes import Processes
from bench.systems.base import Published, System
from bench.systems.health import wait_until_healthy
from bench.systems.links import Links, LocalLinks, NetworkPath, WanLinks

HEALTHY_S = 15.0
FAILURES_MAX = 6  # then it is skipped, so that a broken system cannot use up the run's time
FAILURES_AN_AXIS_MAX = 2  # then that axis is skipped, so that the others are still measured


class SystemRunner:
    """One system and its current processes."""

    def __init__(self, system: System, folder: Path, origins: Origins) -> None:
        self.system = system
        self._folder = folder
        self._origins = origins
        self._starts = 0
        self._failures: Counter[str] = Counter()
        self._running: tuple[Processes, Published] | None = None
        self._network_path: NetworkPath | None = None
        self._relays: Processes | None = None
        """Processes that emulate the network path; not part of the system, but stopped with it."""

    def running(self, *, fresh: bool, network_path: NetworkPath | None = None) -> tuple[Processes, Published]:
        """Return processes and addresses of the healthy system; restart it first if `fresh` or if it runs over another network path.

        Raises:
            StartFailed: it did not start.
            BenchError: one of its processes has exited.
        """
        if fresh or network_path != self._network_path:
            self.stop()
        self._network_path = network_path
        if self._running is None:
            self._running = self._start()
        self._running[0].check()
        return self._running

    def failed(self, axis: str) -> None:
        """Record a failure on `axis`; the next measurement restarts the system."""
        self._failures[axis] += 1
        self.stop()

    def is_abandoned(self, axis: str = "") -> bool:
        """Return whether it failed too often, on `axis` or in all."""
        return self._failures[axis] >= FAILURES_AN_AXIS_MAX or self._failures.total() >= FAILURES_MAX

    def _start(self) -> tuple[Processes, Published]:
        self._starts += 1
        processes = Processes(self._folder / f"{self.system.name.replace(' ', '-')}-{self._starts}")
        try:
            published = self.system.start(processes, self._origins, self._links(processes.folder / "network-path"))
            wait_until_healthy(published, processes, HEALTHY_S)
        except BaseException as exc:
            processes.stop()
            self.stop()
            if isinstance(exc, OSError | BenchError):
                raise StartFailed(str(exc)) from exc
            raise
        return processes, published

    def _links(self, folder: Path) -> Links:
        if self._network_path is None:
            return LocalLinks()
        self._relays = Processes(folder)
        return WanLinks(self._network_path, self._relays)

    def stop(self) -> None:
        """Stop its processes; safe to call twice."""
        if self._running is not None:
            self._running[0].stop()
            self._running = None
        if self._relays is not None:
            self._relays.stop()
            self._relays = None
