"""Keeps one system running through a run: started when first needed, checked, started again after a failure, stopped at the end."""

from collections import Counter
from pathlib import Path

from bench.errors import BenchError, StartFailed
from bench.origins import Origins
from bench.processes import Processes
from bench.systems.base import Published, System
from bench.systems.health import wait_until_healthy
from bench.systems.links import Far, Line, Links, Near

HEALTHY_S = 15.0
FAILURES_MAX = 6  # a system that fails more often gets no further chance, so that a broken one cannot eat the run's time
FAILURES_AN_AXIS_MAX = 2  # the same for one axis: what it cannot do must not cost it all the others


class SystemRunner:
    """One system and the processes that it has now."""

    def __init__(self, system: System, folder: Path, origins: Origins) -> None:
        self.system = system
        self._folder = folder
        self._origins = origins
        self._starts = 0
        self._failures: Counter[str] = Counter()
        self._running: tuple[Processes, Published] | None = None
        self._line: Line | None = None
        self._relays: Processes | None = None
        """Of the line: no part of the system, they end with it."""

    def running(self, *, fresh: bool, line: Line | None = None) -> tuple[Processes, Published]:
        """The system's processes and addresses, healthy; newly started if `fresh`, or when it runs over another line than `line`.

        Raises:
            StartFailed: it does not start.
            BenchError: one of its processes has ended since.
        """
        if fresh or line != self._line:
            self.stop()
        self._line = line
        if self._running is None:
            self._running = self._start()
        self._running[0].check()
        return self._running

    def failed(self, axis: str) -> None:
        """Something went wrong with it on `axis`: start again before the next measurement."""
        self._failures[axis] += 1
        self.stop()

    def given_up(self, axis: str = "") -> bool:
        """Whether it failed too often, on `axis` or as a whole."""
        return self._failures[axis] >= FAILURES_AN_AXIS_MAX or self._failures.total() >= FAILURES_MAX

    def _start(self) -> tuple[Processes, Published]:
        self._starts += 1
        crew = Processes(self._folder / f"{self.system.name.replace(' ', '-')}-{self._starts}")
        try:
            published = self.system.start(crew, self._origins, self._links(crew.folder / "line"))
            wait_until_healthy(published, crew, HEALTHY_S)
        except BaseException as exc:
            crew.stop()
            self.stop()
            if isinstance(exc, OSError | BenchError):
                raise StartFailed(str(exc)) from exc
            raise
        return crew, published

    def _links(self, folder: Path) -> Links:
        if self._line is None:
            return Near()
        self._relays = Processes(folder)
        return Far(self._line, self._relays)

    def stop(self) -> None:
        """Stop its processes; may be called twice."""
        if self._running is not None:
            self._running[0].stop()
            self._running = None
        if self._relays is not None:
            self._relays.stop()
            self._relays = None
