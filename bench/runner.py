"""Runs every axis on every system, interleaved and in rounds, so that a disturbance of the machine affects all alike."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.axes.base import Axis, Subject
from bench.errors import BenchError, StartFailed
from bench.origins import Origins, start_origins
from bench.plan import Plan
from bench.processes import Processes
from bench.report import number
from bench.results import Results
from bench.system_runner import FAILURES_MAX, SystemRunner
from bench.systems.base import System
from bench.tools import missing

ProgressReporter = Callable[[str], None]
"""Receives progress lines."""


class Runner:
    """Runs a plan."""

    def __init__(
        self,
        systems: Sequence[System],
        axes: Sequence[Axis],
        plan: Plan,
        folder: Path,
        files_max: int,
        report_progress: ProgressReporter,
        *,
        tls: bool = False,
    ) -> None:
        """`tls` also starts the origins behind TLS, which systems with TLS visitors need."""
        self._systems, self._axes, self._plan = tuple(systems), tuple(axes), plan
        self._folder, self._files_max, self._report_progress, self._tls = folder, files_max, report_progress, tls
        self.results = Results(tuple(system.name for system in systems))

    def run(self) -> Results:
        """Run until the plan is done or its time is up; stop all started processes in any case."""
        until = time.monotonic() + 60 * self._plan.minutes_max
        with ExitStack() as cleanup:
            processes = cleanup.enter_context(Processes(self._folder / "origins"))
            origins = start_origins(processes, self._files_max, tls=self._tls)
            runners = [SystemRunner(system, self._folder, origins) for system in self._installed()]
            for runner in runners:
                cleanup.callback(runner.stop)
            for place, (index, axis, runner) in enumerate(self._order(runners)):
                if time.monotonic() > until:
                    done = f"{place} of {len(self._order(runners))} measurements, in round {index + 1} of {self._plan.rounds}"
                    self.results.note(f"stopped after {self._plan.minutes_max:g} minutes and {done}")
                    break
                self._measure(runner, axis, origins, index)
        return self.results

    def _order(self, runners: list[SystemRunner]) -> list[tuple[int, Axis, SystemRunner]]:
        """Return all systems per axis, each time starting with another one, so that none always follows the same neighbour."""
        order = []
        for index in range(self._plan.rounds):
            for place, axis in enumerate(self._possible_axes()):
                first = (index + place) % max(len(runners), 1)
                order += [(index, axis, runner) for runner in runners[first:] + runners[:first]]
        return order

    def _installed(self) -> list[System]:
        found = []
        for system in self._systems:
            reason = missing(system.needs)
            if reason is None:
                found.append(system)
            else:
                self.results.absent(system.name, _keys(self._axes), "not installed")
                self.results.note(f"{system.name}: {reason}")
        return found

    def _possible_axes(self) -> list[Axis]:
        found = []
        for axis in self._axes:
            reason = missing(axis.needs)
            if reason is None:
                found.append(axis)
            else:
                for system in self._systems:
                    self.results.absent(system.name, _keys([axis]), "not installed")
                self.results.note(f"{axis.name}: {reason}")
        return found

    def _measure(self, runner: SystemRunner, axis: Axis, origins: Origins, index: int) -> None:
        if runner.is_abandoned(axis.name):
            return
        name = runner.system.name
        try:
            system, published = runner.running(fresh=axis.fresh, network_path=axis.network_path)
            with Processes(self._folder / "load") as load:
                reading = axis.measure(Subject(system, load, published, origins), self._plan)
        except BenchError as exc:
            self._failed(runner, axis, exc)
            return
        without = {figure.key for figure in axis.figures if figure.used_by_system and system.empty()}
        figures = {key: value for key, value in reading.figures.items() if key not in without}
        self.results.add(name, figures)
        for note in reading.notes:
            self.results.note(f"{name}: {axis.name}: {note}")
        shown = ", ".join(f"{key} {number(value)}" for key, value in figures.items())
        self._report_progress(f"{index + 1}/{self._plan.rounds} {name}: {shown or axis.name}")

    def _failed(self, runner: SystemRunner, axis: Axis, error: BenchError) -> None:
        name = runner.system.name
        runner.failed(axis.name)
        self.results.absent(name, _keys([axis]), "failed")
        # a system that does not start gets one note, not one per axis
        self.results.note(f"{name}: {error}" if isinstance(error, StartFailed) else f"{name}: {axis.name}: {error}")
        self._report_progress(f"{name}: {axis.name} failed: {error}")
        if runner.is_abandoned():
            self.results.absent(name, _keys(self._axes), "failed")
            self.results.note(f"{name}: skipped after {FAILURES_MAX} failures")


def _keys(axes: Sequence[Axis]) -> list[str]:
    return [figure.key for axis in axes for figure in axis.figures]
