"""Results of a run: samples, missing figures and notes."""

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
    """Results, collected during the run."""

    systems: tuple[str, ...]
    """In the order of the table."""

    _samples: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _absences: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    """Notes for the report, in order, without duplicates."""

    def add(self, system: str, figures: dict[str, float]) -> None:
        """Add the figures of one measurement."""
        for key, value in figures.items():
            self._samples.setdefault((system, key), []).append(value)

    def absent(self, system: str, keys: Sequence[str], word: str) -> None:
        """Show `word` for these figures unless another round measures them; a note should give the reason."""
        for key in keys:
            self._absences[system, key] = word

    def note(self, sentence: str) -> None:
        """Add a note."""
        self.notes[sentence] = None

    def summary(self, system: str, key: str) -> Summary | None:
        """Return the figure, or None without samples."""
        samples = self._samples.get((system, key))
        return Summary(median(samples), spread(samples), tuple(samples)) if samples else None

    def absence(self, system: str, key: str) -> str:
        """Return the text for a missing figure."""
        return self._absences.get((system, key), "-")

    def value(self, system: str, key: str) -> float | None:
        """Return the median, or None without samples."""
        found = self.summary(system, key)
        return found.median if found else None

    def measured(self, system: str) -> bool:
        """Return whether a system has any figure."""
        return any(name == system for name, _ in self._samples)
