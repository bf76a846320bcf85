"""Fuzz targets: a parser, the properties of its results, and initial inputs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from hypothesis.strategies import SearchStrategy, binary

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    parse: Callable[[bytes], object]
    """Only reads; raises nothing but what the parser promises. Its time is what an input costs."""
    check: Callable[[bytes], None]
    """Reads, and raises AssertionError unless all holds that must, another implementation's opinion included."""
    seeds: tuple[bytes, ...]
    dictionary: tuple[bytes, ...] = ()
    """Byte strings that mutations insert."""
    made: SearchStrategy[bytes] = field(default_factory=lambda: binary(max_size=2000))
    """Inputs with the structure that the parser expects, or nearly."""
    bytes_max: int = 4096
    """Longest input; some parsers refuse more at once."""
    by_byte: bool = True
    """Whether its cost depends on the length at all."""
    shapes: tuple[Callable[[int], bytes], ...] = ()
    """Inputs of a given size that may be dear."""


TARGETS: dict[str, Target] = {}


def add(target: Target) -> None:
    """Put a target on the list."""
    assert target.name not in TARGETS, target.name
    TARGETS[target.name] = target


def all_targets() -> dict[str, Target]:
    """Return every target by its name."""
    for path in sorted((Path(__file__).parent / "targets").glob("[a-z]*.py")):
        import_module(f"tests.fuzz.targets.{path.stem}")
    return TARGETS


def corpus_of(name: str) -> list[bytes]:
    """Return the saved inputs of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def quietly(parse: Callable[[bytes], object], *allowed: type[Exception]) -> Callable[[bytes], object]:
    """Return the same parser, whose promised errors are results."""

    def parsed(data: bytes) -> object:
        try:
            return parse(data)
        except allowed as exc:
            return exc

    return parsed


def outcome(parse: Callable[[], object], *allowed: type[Exception]) -> object:
    """Return what it returns, or the class of its promised error."""
    try:
        return parse()
    except allowed as exc:
        return type(exc)


def cuts(data: bytes, count: int = 3) -> Iterable[list[bytes]]:
    """Yield `data` in one piece, in single bytes, and cut at places that follow from itself."""
    yield [data]
    if len(data) <= 600:
        yield [data[at : at + 1] for at in range(len(data))]
    for step in range(1, count + 1):
        at = (sum(data[:64]) * step * 7 + step) % (len(data) + 1)
        yield [data[:at], data[at:]]
