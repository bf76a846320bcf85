"""Comparison of several workers with one process."""

import pytest

from bench.workers import KINDS, Measured, show


def several(first: float, second: float, *, parts: tuple[float, float] = (500.0, 500.0)) -> Measured:
    found = Measured()
    cpu_s = {"supervisor": 0.001, "worker 1": first, "worker 2": second, "agent 1": 0.1, "agent 2": 0.2}
    found.add(list(parts), 2.0, cpu_s)
    return found


def test_rounds_add_up() -> None:
    found = several(0.010, 0.020)
    found.add([100.0, 300.0], 1.0, {"worker 1": 0.004, "worker 2": 0.016})

    assert found.done == [600.0, 800.0]
    assert found.elapsed_s == 3.0
    assert found.cost("worker 2") == pytest.approx(0.036 / 1400)
    assert found.serving() == ["supervisor", "worker 1", "worker 2"]


def test_the_busiest_worker_counts_per_operation_of_its_own_agent() -> None:
    assert several(0.010, 0.020).busiest() == pytest.approx(0.020 / 1000)
    assert several(0.010, 0.030, parts=(250.0, 750.0)).busiest() == pytest.approx(0.020 / 1000)


def test_a_supervisor_that_does_the_work_is_the_busiest() -> None:
    found = several(0.001, 0.001)
    found.cpu_s["supervisor"] = 0.5

    assert found.busiest() == pytest.approx(0.5 / 1000)


def test_the_report_shows_shares_and_the_gain() -> None:
    one = Measured()
    one.add([500.0, 500.0], 2.0, {"server": 0.040, "agent 1": 0.1, "agent 2": 0.1})
    lines = show(KINDS[0], one, several(0.015, 0.024))

    assert "    worker 1       15.00   38% of the server's CPU, for 50% of operations" in lines
    assert lines[-1] == "  with free cores, several processes serve 1.67 times as many as one"
