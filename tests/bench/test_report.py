"""Figures, ratios and targets in the report."""

import pytest

from bench.axes.base import Figure
from bench.report import figures_table, number, ratio, ratio_table, report, target_line
from bench.results import Results
from bench.targets import Bound, Target, judge

SPEED = Figure("speed", "speed, GB/s")
DELAY = Figure("delay", "delay, ms", more_is_better=False)


def some_results() -> Results:
    results = Results(("direct", "portway x", "peer a", "peer b", "peer c"))
    results.add("direct", {"speed": 4.0})
    for speed in (0.9, 1.0, 1.2):
        results.add("portway x", {"speed": speed, "delay": 2.0})
    results.add("peer a", {"speed": 0.5, "delay": 4.0})
    results.add("peer b", {"speed": 2.0})
    results.absent("peer c", ["speed", "delay"], "not installed")
    results.note("peer c: c not installed (apt install c)")
    return results


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.012"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345, "12,300"), (-2.5, "-2.50")],
)
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_shows_median_spread_and_why_a_figure_is_missing() -> None:
    lines = figures_table(some_results(), [SPEED, DELAY]).splitlines()

    assert lines[0].split("|")[1:-1][1].strip() == "direct"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["speed, GB/s", "4.00", "1.00 ±15%", "0.500", "2.00", "not installed"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["delay, ms", "-", "2.00 ±0%", "4.00", "-", "not installed"]
    assert len({len(line) for line in lines}) == 1


def test_a_ratio_is_ours_over_theirs() -> None:
    assert ratio(some_results(), "portway x", "peer a", "speed") == "2.00x"
    assert ratio(some_results(), "portway x", "peer a", "delay") == "0.50x"
    assert ratio(some_results(), "portway x", "peer b", "delay") == "-"


def test_the_ratio_table_has_a_column_for_each_peer_that_was_measured() -> None:
    head = ratio_table(some_results(), [SPEED, DELAY], "portway x").splitlines()[0]

    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["portway x", "to direct", "to peer a", "to peer b"]


def test_a_target_is_compared_with_the_best_peer() -> None:
    verdict = judge(Target("portway x", "speed", ("peer a", "peer b", "peer c"), 0.8), some_results())

    assert (verdict.peer, verdict.ratio, verdict.met) == ("peer b", 0.5, False)


def test_a_cost_target_is_met_from_below() -> None:
    met = judge(Target("portway x", "delay", ("peer a",), 0.5, at_least=False), some_results())
    missed = judge(Target("portway x", "delay", ("peer a",), 0.4, at_least=False), some_results())

    assert (met.met, missed.met) == (True, False)


def test_a_target_without_figures_is_neither_met_nor_missed() -> None:
    target = Target("portway x", "speed", ("peer c",), 1.0)

    assert judge(target, some_results()).met is None
    assert target_line(target, some_results(), {}).startswith("- not measured: ")


def test_the_report_holds_machine_figures_ratios_notes_and_targets() -> None:
    target_set = ([Target("portway x", "speed", ("peer a",), 1.5)], [Bound("portway x", "delay", 1.0)])

    text = report(some_results(), [SPEED, DELAY], {"cores": "2"}, ["quiet"], target_set)

    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Machine",
        "## Figures",
        "## Ratios",
        "## Notes",
        "## Targets",
    ]
    assert "- met: portway x · speed, GB/s ≥ 1.5 x peer a: 2.00x" in text
    assert "- MISSED: portway x · delay, ms ≤ 1: 2.00" in text
    assert "- peer c: c not installed (apt install c)" in text


def test_without_peers_there_are_no_ratios() -> None:
    alone = Results(("portway x", "peer c"))
    alone.add("portway x", {"speed": 1.0})
    alone.absent("peer c", ["speed"], "not installed")

    assert "Ratios" not in report(alone, [SPEED], {"cores": "2"}, ["quiet"], ([], []))
