"""Groups of bars for a chart, from the JSON of a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, cast

DIRECT = "direct"
HEADROOM = 1.05  # beyond the longest bar that sets the scale


class FigureRow(TypedDict):
    """A `Figure` in the JSON."""

    key: str
    label: str
    more_is_better: bool


class SummaryRow(TypedDict):
    """A `Summary` in the JSON."""

    median: float
    spread: float


class Run(TypedDict):
    """The part of the JSON that a chart uses."""

    machine: dict[str, str]
    circumstances: list[str]
    figures: list[FigureRow]
    systems: dict[str, dict[str, SummaryRow | None]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One system's figure."""

    system: str
    value: float
    spread: float
    """Half of the distance between the extremes, as a share of the value."""


@dataclass(frozen=True, slots=True)
class Group:
    """One figure of all systems that have it."""

    title: str
    more_is_better: bool
    bars: tuple[Bar, ...]

    @property
    def longest(self) -> float:
        """The value at the right end. `direct` does not set it, because it may be far larger; its bar is then drawn broken."""
        values = [bar.value for bar in self.bars if bar.system != DIRECT] or [bar.value for bar in self.bars]
        return max(values) * HEADROOM or 1.0


def read_run(text: str) -> Run:
    """Parse the JSON of a run.

    Raises:
        ValueError: not the JSON of a run.
    """
    run: object = json.loads(text)
    if not isinstance(run, dict) or not {"machine", "circumstances", "figures", "systems"} <= run.keys():
        raise ValueError("expected the JSON of a run with machine, circumstances, figures and systems: `python -m bench --json RUN.json`")
    return cast("Run", run)


def groups_of(run: Run, words: Sequence[str] = ()) -> list[Group]:
    """Return a group for each measured figure, in order; with `words` only those whose key contains one of them."""
    groups = []
    for figure in run["figures"]:
        if words and not any(word in figure["key"] for word in words):
            continue
        found = [(system, rows.get(figure["key"])) for system, rows in run["systems"].items()]
        bars = tuple(Bar(system, row["median"], row["spread"]) for system, row in found if row is not None)
        if bars:
            groups.append(Group(figure["label"], figure["more_is_better"], bars))
    return groups


def machine_line(run: Run) -> str:
    """Return the machine and the circumstances as one paragraph."""
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    return "; ".join([machine, *run["circumstances"]]) + "."
