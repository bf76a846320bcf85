"""Processes of a run: their last words are heard, and who may end may end."""

import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load.counters import Counters
from bench.origins import Origins
from bench.processes import Child, Processes
from bench.system_runner import FAILURES_AN_AXIS_MAX, FAILURES_MAX, SystemRunner
from bench.systems.direct import Direct


def start(crew: Processes, program: str, name: str) -> Child:
    return crew.start([sys.executable, "-c", program], name)


def test_the_line_of_a_process_that_ended_at_once_is_heard(tmp_path: Path) -> None:
    with Processes(tmp_path / "crew") as crew:
        assert start(crew, "print('here', flush=True)", "short").first_line(10) == "here"
        with pytest.raises(BenchError, match="silent ended; it said: nothing"):
            start(crew, "pass", "silent").first_line(10)


def test_who_ends_with_success_may_be_done(tmp_path: Path) -> None:
    with Processes(tmp_path / "crew") as crew:
        done = start(crew, "print('x', flush=True)", "done")
        done.first_line(10)
        while not done.ended():
            pass

        crew.check(may_be_done=True)
        with pytest.raises(BenchError, match="done ended"):
            crew.check()

        failed = start(crew, "print('x', flush=True); raise SystemExit('broken')", "failed")
        failed.first_line(10)
        while not failed.ended():
            pass
        with pytest.raises(BenchError, match="failed ended; it said: broken"):
            crew.check(may_be_done=True)


def test_an_axis_that_fails_twice_costs_a_system_no_other(tmp_path: Path) -> None:
    stand = SystemRunner(Direct(), tmp_path, Origins(1, 2, Counters(tmp_path / "counted")))

    for _ in range(FAILURES_AN_AXIS_MAX):
        assert not stand.given_up("crowd")
        stand.failed("crowd")

    assert stand.given_up("crowd")
    assert not stand.given_up("bulk")
    for number in range(FAILURES_MAX - FAILURES_AN_AXIS_MAX):
        stand.failed(f"axis {number}")
    assert stand.given_up("bulk")
