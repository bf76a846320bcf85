"""The benchmark's command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.axes.base import Axis
from bench.axes.catalog import AXES
from bench.axes.catalog import USUAL as USUAL_AXES
from bench.plan import FULL_MINUTES_MAX, QUICK, USUAL, Plan
from bench.systems.base import System
from bench.systems.catalog import SYSTEMS
from bench.systems.catalog import USUAL as USUAL_SYSTEMS
from bench.systems.portway import Portway
from bench.targets import GOALS


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    systems: tuple[System, ...]
    axes: tuple[Axis, ...]
    plan: Plan
    json_path: Path | None
    chart_path: Path | None
    goals: str
    listing: bool


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare Portway with its peers on this machine, over loopback.")
    parser.add_argument("--list", action="store_true", help="show systems and axes, and what is not installed")
    parser.add_argument("--only", metavar="AXES", help="axes whose name contains one of these words: bulk,keepalive; all: every axis")
    parser.add_argument(
        "--systems", metavar="SYSTEMS", help='systems whose name contains one of these words: "rathole,portway tcp"; all: every system'
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, below two minutes: does it work, what is the order of magnitude"
    )
    parser.add_argument("--full", action="store_true", help="every axis and every system, an hour")
    parser.add_argument("--rounds", type=int, help="rounds (3; with --quick 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="make every measurement this many times as long")
    parser.add_argument("--minutes", type=float, help="stop after this time (11; with --quick 2, with --full 80) and report what there is")
    parser.add_argument(
        "--against", type=Path, metavar="SRC", help="measure Portway from this source folder too, as a peer: another commit's src, for one"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all samples there too")
    parser.add_argument(
        "--chart", type=Path, metavar="OUT.svg", help="draw all figures there too, and beside it a PNG where a program can make one"
    )
    parser.add_argument("--targets", choices=sorted(GOALS), default="first", help="which targets to judge")
    return parser


def matching(words: str, names: Sequence[str]) -> list[int]:
    """Places of the names that contain one of the comma-separated words; all with the word `all`."""
    wanted = [word.strip().lower() for word in words.split(",") if word.strip()]
    return [place for place, name in enumerate(names) if "all" in wanted or any(word in name.lower() for word in wanted)]


def other_portways(systems: Sequence[System], source: Path) -> tuple[System, ...]:
    """Each of Portway's systems once more, with the package in `source`."""
    ours = [system for system in systems if isinstance(system, Portway)]
    return tuple(replace(system, name=f"other {system.name}", source=source.resolve()) for system in ours)


def _plan(given: argparse.Namespace) -> Plan:
    plan = QUICK if given.quick else USUAL
    minutes_max = FULL_MINUTES_MAX if given.full else plan.minutes_max
    return replace(plan, rounds=given.rounds or plan.rounds, minutes_max=given.minutes or minutes_max).scaled(given.scale)


def parse_options(argv: Sequence[str]) -> Options:
    """Read the command line; a wrong one ends the process with 2 and a sentence."""
    parser = _parser()
    given = parser.parse_args(argv)
    systems, axes = (SYSTEMS, AXES) if given.full or given.list else (USUAL_SYSTEMS, USUAL_AXES)
    if given.systems is not None:
        systems = tuple(SYSTEMS[place] for place in matching(given.systems, [system.name for system in SYSTEMS]))
    if given.only is not None:
        axes = tuple(AXES[place] for place in matching(given.only, [axis.name for axis in AXES]))
    if given.against is not None:
        if not (given.against / "portway").is_dir():
            parser.error(f"--against: no package portway in {given.against}; give a checkout's src folder")
        systems += other_portways(systems, given.against)
    if not systems or not axes:
        parser.error(f"no such {'axis' if systems else 'system'}; `python -m bench --list` shows all")
    plan = _plan(given)
    if plan.rounds < 1 or given.scale <= 0 or plan.minutes_max <= 0:
        parser.error("--rounds, --scale and --minutes want a positive number")
    return Options(systems, axes, plan, given.json, given.chart, given.targets, given.list)
