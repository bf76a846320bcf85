"""Writes a run as JSON: every sample, the machine, the plan."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.axes.base import Figure
from bench.plan import Plan
from bench.results import Results


def as_json(results: Results, figures: Sequence[Figure], machine: dict[str, str], circumstances: Sequence[str], plan: Plan) -> str:
    """Return the run as JSON; a figure that was not measured is null."""
    rows: dict[str, dict[str, object]] = {}
    for system in results.systems:
        rows[system] = {}
        for figure in figures:
            found = results.summary(system, figure.key)
            rows[system][figure.key] = asdict(found) if found else None
    run = {
        "machine": machine,
        "circumstances": list(circumstances),
        "plan": asdict(plan),
        "figures": [asdict(figure) for figure in figures],
        "systems": rows,
        "notes": list(results.notes),
    }
    return json.dumps(run, indent=1, ensure_ascii=False)


def write_json(path: Path, text: str) -> None:
    """Write `text` to `path`, creating missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
