"""Writes charts: always an SVG, and a PNG where a program that converts it is on PATH."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.chart.bars import Run, groups_of, machine_line
from bench.chart.svg import WIDTH, draw

TITLE = "Portway compared with its peers"
PNG_S_MAX = 60.0
SCALE = 2  # pixels of the PNG for one of the SVG


def png_argv(program: str, svg: Path, png: Path, height: int, profile: str) -> list[str]:
    """Return the command line with which `program`, rsvg-convert or a Chromium, converts an SVG to a PNG."""
    if "rsvg" in program:
        return [program, "--zoom", str(SCALE), "--output", str(png), str(svg)]
    argv = [program, "--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    argv += [f"--force-device-scale-factor={SCALE}", f"--window-size={WIDTH},{height}", f"--screenshot={png}"]
    if os.geteuid() == 0:
        argv.append("--no-sandbox")  # Chromium refuses root otherwise; it only opens our own chart
    return [*argv, svg.absolute().as_uri()]


def write_png(svg: Path, height: int) -> str:
    """Write a PNG next to `svg`; return a line that reports the result."""
    programs = ("rsvg-convert", "chromium", "chromium-browser", "google-chrome")
    program = next((found for each in programs if (found := shutil.which(each))), None)
    if program is None:
        return "no PNG: neither rsvg-convert (apt install librsvg2-bin) nor chromium is installed"
    png = svg.with_suffix(".png").absolute()
    with tempfile.TemporaryDirectory(prefix="portway-chart-", ignore_cleanup_errors=True) as profile:
        argv = png_argv(program, svg, png, height, profile)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=PNG_S_MAX, check=False, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return f"no PNG: {program}: {exc}"
    if done.returncode != 0 or not png.exists():
        return f"no PNG: {program} exited with {done.returncode}: {done.stderr.strip()[-200:]}"
    return f"chart: {png}"


def write_chart(run: Run, svg: Path, words: Sequence[str] = ()) -> list[str]:
    """Draw a run to `svg` and to a PNG next to it; return a line for each file."""
    groups = groups_of(run, words)
    text, height = draw(TITLE, machine_line(run), groups)
    svg.parent.mkdir(parents=True, exist_ok=True)
    svg.write_text(text)
    return [f"chart: {svg}", write_png(svg, height)]
