"""One tiny run of `direct`, and runs in which a system is missing or broken."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.axes.base import Axis
from bench.axes.bulk import Bulk
from bench.axes.catalog import figures_of
from bench.axes.crowd import Crowd
from bench.axes.far import FarBulk
from bench.axes.idle import Idle
from bench.axes.latency import Latency
from bench.axes.stall import Stall
from bench.errors import BenchError
from bench.json_results import as_json
from bench.limits import raise_open_files
from bench.origins import Origins
from bench.plan import QUICK
from bench.process_stats import descendants
from bench.processes import Processes
from bench.report import figures_table
from bench.results import Results
from bench.runner import Runner
from bench.systems.base import Published, System
from bench.systems.direct import Direct
from bench.systems.links import Links, NetworkPath

TINY = replace(
    QUICK, warm_s=0.05, bulk_s=0.1, alone_s=0.2, beside_s=0.2, idle_visitors=40, minutes_max=1, far_s=0.5, crowd_visitors=60, stall_s=0.3
)
PATH = NetworkPath(rtt_s=0.02, rate_bits_per_s=40e6)
AXES: tuple[Axis, ...] = (Bulk("down", 1), Bulk("up", 2), Latency(""), Latency("visitor"), Latency("tenant"), Idle())
SLOW_AXES: tuple[Axis, ...] = (FarBulk("down", PATH), FarBulk("up", PATH), Crowd(), Stall("down"), Stall("up"))


@dataclass(frozen=True, slots=True)
class Broken:
    """A system whose process exits with an error message."""

    name: str = "broken"
    needs: tuple[str, ...] = ()

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        child = processes.start(["sh", "-c", "echo the tank is empty >&2; exit 3"], "engine")
        child.first_line(5)
        raise BenchError("unreachable")


@dataclass(frozen=True, slots=True)
class Absent(Direct):
    """A system that is not installed."""

    name: str = "absent"
    needs: tuple[str, ...] = ("no-such-program",)


def run(folder: Path, systems: tuple[System, ...], axes: tuple[Axis, ...]) -> Results:
    return Runner(systems, axes, TINY, folder, raise_open_files(), lambda line: None).run()


def test_direct_gives_every_figure_that_needs_no_other_program(tmp_path: Path) -> None:
    results = run(tmp_path, (Direct(),), AXES)

    for figure in figures_of(AXES):
        value = results.value("direct", figure.key)
        assert (value is None) if figure.used_by_system else (value is not None and value > 0), figure
    assert not results.notes
    written = json.loads(as_json(results, figures_of(AXES), {}, [], TINY))
    assert written["systems"]["direct"]["bulk-down-1"]["samples"] == [results.value("direct", "bulk-down-1")]


def test_the_slow_axes_give_their_figures_too(tmp_path: Path) -> None:
    results = run(tmp_path, (Direct(),), SLOW_AXES)

    assert list(results.notes) == ["direct: crowd: 60 visitors only: the target is about 9000"]
    assert results.value("direct", "crowd-lost") == 0
    for way in ("down", "up"):
        assert 0.5 < (results.value("direct", f"far-{way}") or 0) < 1.3
        assert (results.value("direct", f"far-{way}-p50") or 0) > 20
        assert (results.value("direct", f"stall-{way}-p99") or 0) > 0
        assert results.value("direct", f"stall-{way}-memory") is None


def test_a_broken_system_fails_alone(tmp_path: Path) -> None:
    axes: tuple[Axis, ...] = (Bulk("down", 1),)

    results = run(tmp_path, (Broken(), Direct()), axes)

    assert results.value("direct", "bulk-down-1")
    assert results.absence("broken", "bulk-down-1") == "failed"
    assert list(results.notes) == ["broken: engine ended; last output: the tank is empty"]


def test_a_missing_program_is_noted_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.tools.INSTALL", {"no-such-program": "apt install it"})

    results = run(tmp_path, (Absent(),), (Bulk("down", 1),))

    assert "not installed" in figures_table(results, figures_of((Bulk("down", 1),)))
    assert list(results.notes) == ["absent: no-such-program not installed (apt install it)"]


def test_a_run_that_stops_early_is_noted(tmp_path: Path) -> None:
    plan = replace(TINY, minutes_max=0.0001)

    results = Runner((Direct(),), AXES[:1], plan, tmp_path, 1024, lambda line: None).run()

    assert not results.measured("direct")
    assert list(results.notes) == ["stopped after 0.0001 minutes and 0 of 1 measurements, in round 1 of 1"]


def test_an_ended_run_leaves_no_process_behind(tmp_path: Path) -> None:
    before = descendants(os.getpid())

    run(tmp_path, (Direct(),), (Bulk("up", 2),))

    assert descendants(os.getpid()) == before
