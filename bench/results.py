"""All figures of a run: what was measured, what failed, and what is remarkable about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.percentiles import spread


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one system over all rounds."""

    median: float
    spread: float
    """Half of the distance between the extremes, as a share of the median."""

    samples: tuple[float, ...]


@dataclass(slots=True)
class Results:
    """Grows while the run goes on."""

    systems: tuple[str, ...]
    """In the order of the table."""

    _samples: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _absences: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    """Sentences for under the table, in order, each once."""

    def add(self, system: str, figures: dict[str, float]) -> None:
        """One reading."""
        for key, value in figures.items():
            self._samples.setdefault((system, key), []).append(value)

    def absent(self, system: str, keys: Sequence[str], word: str) -> None:
        """`word` stands in the cells of these figures unless another round has them; say why in a note."""
        for key in keys:
            self._absences[system, key] = word

    def note(self, sentence: str) -> None:
        """Keep a sentence for the reader."""
        self.notes[sentence] = None

    def summary(self, system: str, key: str) -> Summary | None:
        """The figure, or None when there is none."""
        samples = self._samples.get((system, key))
        return Summary(median(samples), spread(samples), tuple(samples)) if samples else None

    def absence(self, system: str, key: str) -> str:
        """What stands in the cell of a missing figure."""
        return self._absences.get((system, key), "-")

    def value(self, system: str, key: str) -> float | None:
        """The median alone."""
        found = self.summary(system, key)
        return found.median if found else None

    def measured(self, system: str) -> bool:
        """Whether it has any figure."""
        return any(name == system for name, _ in self._samples)
