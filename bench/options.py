"""The benchmark's command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.axes.base import Axis
from bench.axes.catalog import AXES, PROXY_AXES, PROXY_USUAL, TLS_AXES
from bench.axes.catalog import TLS_USUAL as TLS_USUAL_AXES
from bench.axes.catalog import USUAL as USUAL_AXES
from bench.plan import FULL_MINUTES_MAX, QUICK, USUAL, Plan
from bench.systems.base import System
from bench.systems.catalog import PROXY_SYSTEMS, SYSTEMS, TLS_SYSTEMS
from bench.systems.catalog import TLS_USUAL as TLS_USUAL_SYSTEMS
from bench.systems.catalog import USUAL as USUAL_SYSTEMS
from bench.systems.portway import Portway, PortwayProxy
from bench.targets import TARGET_SETS


@dataclass(frozen=True, slots=True)
class Options:
    """Parsed options of a run."""

    systems: tuple[System, ...]
    axes: tuple[Axis, ...]
    plan: Plan
    json_path: Path | None
    chart_path: Path | None
    target_set: str
    listing: bool
    tls: bool
    """Visitors use TLS."""


_CHOICES: dict[str, tuple[tuple[System, ...], tuple[Axis, ...], tuple[System, ...], tuple[Axis, ...]]] = {
    "": (SYSTEMS, AXES, USUAL_SYSTEMS, USUAL_AXES),
    "tls": (TLS_SYSTEMS, TLS_AXES, TLS_USUAL_SYSTEMS, TLS_USUAL_AXES),
    "proxies": (PROXY_SYSTEMS, PROXY_AXES, PROXY_SYSTEMS, PROXY_USUAL),
}
"""All systems and axes of a kind of run, and those without `--full`."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare Portway with other tunnels and proxies on this machine, over loopback."
    )
    parser.add_argument("--list", action="store_true", help="list systems and axes, and which programs are missing")
    parser.add_argument(
        "--only", metavar="AXES", help="measure AXES: those whose name contains one of these words, as in bulk,keepalive; all: every axis"
    )
    parser.add_argument(
        "--systems",
        metavar="SYSTEMS",
        help='measure SYSTEMS: those whose name contains one of these words, as in "rathole,portway tcp"; all: every system',
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--tls", action="store_true", help="measure systems whose visitors use TLS, and check the targets for them")
    kind.add_argument("--proxies", action="store_true", help="measure forward proxies, and check the targets for them")
    parser.add_argument("--quick", action="store_true", help="run one short round in under two minutes, to check that everything works")
    parser.add_argument("--full", action="store_true", help="measure every axis on every system; takes an hour")
    parser.add_argument("--rounds", type=int, help="run ROUNDS rounds (3; with --quick 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the length of every measurement by SCALE")
    parser.add_argument(
        "--minutes", type=float, help="stop after MINUTES (11; with --quick 2, with --full 80) and report the results so far"
    )
    parser.add_argument(
        "--against", type=Path, metavar="SRC", help="also measure Portway from the source folder SRC, for example of another commit"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write all samples to OUT as JSON")
    parser.add_argument(
        "--chart",
        type=Path,
        metavar="OUT.svg",
        help="also draw all figures to OUT.svg, and to a PNG next to it if a converter is installed",
    )
    parser.add_argument(
        "--targets", choices=sorted(TARGET_SETS), help="check this set of targets (first; with --tls tls, with --proxies proxies)"
    )
    return parser


def matching(words: str, names: Sequence[str]) -> list[int]:
    """Return the indexes of the names that contain one of the comma-separated words; all indexes for the word `all`."""
    wanted = [word.strip().lower() for word in words.split(",") if word.strip()]
    return [place for place, name in enumerate(names) if "all" in wanted or any(word in name.lower() for word in wanted)]


def other_portways(systems: Sequence[System], source: Path) -> tuple[System, ...]:
    """Return a copy of each Portway system that runs the package in `source`."""
    ours = [system for system in systems if isinstance(system, Portway | PortwayProxy)]
    return tuple(replace(system, name=f"other {system.name}", source=source.resolve()) for system in ours)


def _plan(given: argparse.Namespace) -> Plan:
    plan = QUICK if given.quick else USUAL
    minutes_max = FULL_MINUTES_MAX if given.full else plan.minutes_max
    return replace(plan, rounds=given.rounds or plan.rounds, minutes_max=given.minutes or minutes_max).scaled(given.scale)


def parse_options(argv: Sequence[str]) -> Options:
    """Parse the command line; an invalid one ends the process with exit code 2 and a message."""
    parser = _parser()
    given = parser.parse_args(argv)
    kind = "tls" if given.tls else "proxies" if given.proxies else ""
    all_systems, all_axes, systems, axes = _CHOICES[kind]
    if given.full or given.list:
        systems, axes = all_systems, all_axes
    if given.systems is not None:
        systems = tuple(all_systems[place] for place in matching(given.systems, [system.name for system in all_systems]))
    if given.only is not None:
        axes = tuple(all_axes[place] for place in matching(given.only, [axis.name for axis in all_axes]))
    if given.against is not None:
        if not (given.against / "portway").is_dir():
            parser.error(f"--against: no package portway in {given.against}; give a checkout's src folder")
        systems += other_portways(systems, given.against)
    if not systems or not axes:
        parser.error(f"unknown {'axis' if systems else 'system'}; see `python -m bench --list{f' --{kind}' if kind else ''}`")
    plan = _plan(given)
    if plan.rounds < 1 or given.scale <= 0 or plan.minutes_max <= 0:
        parser.error("--rounds, --scale and --minutes: expected a positive number")
    targets = given.targets or kind or "first"
    return Options(systems, axes, plan, given.json, given.chart, targets, given.list, given.tls)
