"""Processes of a run: their output is reported when they end, and only those that may end can."""

import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load.counters import Counters
from bench.origins import Origins
from bench.processes import Child, Processes
from bench.system_runner import FAILURES_AN_AXIS_MAX, FAILURES_MAX, SystemRunner
from bench.systems.direct import Direct


def start(processes: Processes, program: str, name: str) -> Child:
    return processes.start([sys.executable, "-c", program], name)


def test_the_line_of_a_process_that_ends_at_once_is_read(tmp_path: Path) -> None:
    with Processes(tmp_path / "crew") as processes:
        assert start(processes, "print('here', flush=True)", "short").first_line(10) == "here"
        with pytest.raises(BenchError, match="silent ended; last output: nothing"):
            start(processes, "pass", "silent").first_line(10)


def test_a_process_that_may_be_done_must_end_with_0(tmp_path: Path) -> None:
    with Processes(tmp_path / "crew") as processes:
        done = start(processes, "print('x', flush=True)", "done")
        done.first_line(10)
        while not done.ended():
            pass

        processes.check(may_be_done=True)
        with pytest.raises(BenchError, match="done ended"):
            processes.check()

        failed = start(processes, "print('x', flush=True); raise SystemExit('broken')", "failed")
        failed.first_line(10)
        while not failed.ended():
            pass
        with pytest.raises(BenchError, match="failed ended; last output: broken"):
            processes.check(may_be_done=True)


def test_an_axis_that_fails_twice_is_skipped_and_no_other(tmp_path: Path) -> None:
    runner = SystemRunner(Direct(), tmp_path, Origins(1, 2, Counters(tmp_path / "counted")))

    for _ in range(FAILURES_AN_AXIS_MAX):
        assert not runner.is_abandoned("crowd")
        runner.failed("crowd")

    assert runner.is_abandoned("crowd")
    assert not runner.is_abandoned("bulk")
    for number in range(FAILURES_MAX - FAILURES_AN_AXIS_MAX):
        runner.failed(f"axis {number}")
    assert runner.is_abandoned("bulk")
