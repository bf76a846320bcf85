"""The chart of a run: all measured figures are drawn, long bars are broken, names are escaped."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.axes.base import Figure
from bench.chart.bars import Bar, Group, groups_of, machine_line, read_run
from bench.chart.files import png_argv, write_png
from bench.chart.svg import NAMES, SCALE, WIDTH, draw
from bench.json_results import as_json
from bench.plan import QUICK
from bench.results import Results

SVG = "{http://www.w3.org/2000/svg}"


def some_run() -> str:
    results = Results(("direct", "portway x", "peer <&>", "absent"))
    results.add("direct", {"speed": 100.0, "delay": 1.0})
    for speed in (0.9, 1.0, 1.2):
        results.add("portway x", {"speed": speed, "lost": 0.0})
    results.add("peer <&>", {"speed": 0.5})
    figures = [
        Figure("speed", "speed, GB/s"),
        Figure("delay", "delay, ms", more_is_better=False),
        Figure("lost", "lost"),
        Figure("never", "?"),
    ]
    return as_json(results, figures, {"cores": "2"}, ["quiet"], QUICK)


def test_each_measured_figure_is_a_group() -> None:
    run = read_run(some_run())

    groups = groups_of(run)

    assert [(group.title, group.more_is_better) for group in groups] == [("speed, GB/s", True), ("delay, ms", False), ("lost", True)]
    assert groups[0].bars[1].spread == pytest.approx(0.15)
    assert [bar.system for bar in groups[0].bars] == ["direct", "portway x", "peer <&>"]
    assert [group.title for group in groups_of(run, ["del"])] == ["delay, ms"]
    assert machine_line(run) == "cores 2; quiet."


def test_direct_does_not_set_the_scale() -> None:
    assert groups_of(read_run(some_run()))[0].longest == pytest.approx(1.05)
    assert Group("", True, (Bar("direct", 2.0, 0),)).longest == pytest.approx(2.1)
    assert Group("", True, (Bar("a", 0.0, 0),)).longest == 1.0


def test_the_chart_is_complete() -> None:
    text, height = draw("a < b", "many words " * 60, groups_of(read_run(some_run())))

    tree = ET.fromstring(text)
    words = [element.text for element in tree.iter(f"{SVG}text")]
    assert tree.get("width") == str(WIDTH)
    assert tree.get("height") == str(height)
    assert {"a < b", "peer <&>", "portway x", "1.00 ±15%", "100", "less is better"} <= set(words)
    assert "prefers-color-scheme: dark" in text
    bars = [element for element in tree.iter(f"{SVG}rect") if "bar" in element.get("class", "").split()]
    assert len(bars) == 5
    assert all(float(bar.get("width", "0")) <= SCALE for bar in bars)
    assert len([each for each in tree.iter(f"{SVG}line") if each.get("class") == "gap"]) == 1  # direct, far beyond the others
    assert all(float(match) <= height for match in re.findall(r' y="([0-9.]+)"', text))
    assert NAMES < WIDTH


def test_invalid_json_of_a_run_is_an_error() -> None:
    for text in ("[]", "{}", json.dumps({"machine": {}}), "no json"):
        with pytest.raises(ValueError, match=r"expected the JSON|Expecting value"):
            read_run(text)


def test_png_comes_from_rsvg_or_a_browser(tmp_path: Path) -> None:
    svg = tmp_path / "a.svg"

    assert png_argv("/usr/bin/rsvg-convert", svg, tmp_path / "a.png", 100, "p")[-1] == str(svg)
    browser = png_argv("/usr/bin/chromium", svg, tmp_path / "a.png", 100, "p")
    assert f"--window-size={WIDTH},100" in browser
    assert browser[-1] == svg.as_uri()


def test_without_a_program_the_svg_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert write_png(tmp_path / "a.svg", 10).startswith("no PNG: neither rsvg-convert (apt install")
