"""A short soak: no byte is wrong, and no resource of visitors, agents and faults remains a minute later."""

import argparse
import asyncio

import pytest

from tests.kit.programs import SOURCES
from tests.soak.__main__ import parse_arguments, soak
from tests.soak.leaks import Row, Snapshot, judge, lowest_each_minute, slope_per_h, table
from tests.soak.system import SoakSystem

pytestmark = pytest.mark.timeout(400)

SHORT = ["--minutes", "0.6", "--fault-every", "5", "--restart-every", "7", "--cycles", "20", "--pace", "0.6"]

NOT_HERE = {"slope of memory, MB per hour", "memory since the mark, MB", "errors not explained by a fault"}
"""Checks that need a longer run or an idle machine."""


@pytest.fixture
def options() -> argparse.Namespace:
    return parse_arguments(SHORT)


@pytest.mark.long
def test_a_short_soak_leaks_nothing(options: argparse.Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    with SoakSystem(SOURCES) as system:
        rows = asyncio.run(soak(system, options, print))
    print(table(rows))
    missed = [row for row in rows if not row.holds and row.what not in NOT_HERE]
    assert missed == [], capsys.readouterr().out


def test_growth_of_each_kind_is_found() -> None:
    from collections import Counter

    from portway.telemetry.inspection import Inventory

    def snapshot_of(tasks: int, tables: dict[str, int], rss_mb: float, close_wait: int, files: tuple[str, ...]) -> Snapshot:
        found = Inventory(tasks, 10_000, 0, {"portway.mux.mux.Mux": tasks}, tables)
        return Snapshot(Counter({"socket": tasks}), rss_mb, found, close_wait, 0, files)

    before = snapshot_of(10, {"portway.edge.http.edge.HttpEdge._visitors": 0}, 50.0, 0, ("a",))
    after = snapshot_of(30, {"portway.edge.http.edge.HttpEdge._visitors": 20}, 60.0, 1, ("a", "b"))
    samples = [(60.0 * minute, 50.0 + minute) for minute in range(30)]
    said = ["x.py:1: ResourceWarning: unclosed socket"]
    missed = {(row.number, row.what) for row in judge(before, after, samples, said) if not row.holds}
    assert {number for number, _ in missed} == {"K1", "K2", "K3", "K4", "K5", "K6", "K7"}
    assert ("K3", "slope of memory, MB per hour") in missed
    assert all(row.holds for row in judge(before, before, [(60.0 * minute, 50.0) for minute in range(30)], []))


def test_a_slope_ignores_a_single_peak() -> None:
    samples = [(float(at), 50.0 + at / 3600) for at in range(0, 1800, 60)]
    samples[10] = (samples[10][0], 90.0)
    assert slope_per_h(samples) == pytest.approx(1.0, rel=0.01)


def test_a_short_peak_is_not_growth() -> None:
    samples = [(float(at), 90.0 if at % 60 < 40 else 50.0) for at in range(0, 1200, 2)]
    assert {value for _, value in lowest_each_minute(samples)} == {50.0}
    assert len(lowest_each_minute(samples)) == 20


def test_a_row_shows_its_verdict() -> None:
    assert "MISSED" in table([Row("K1", "descriptors", "+9", "±3", holds=False)])
