"""Costs of the most expensive inputs of a parser: nanoseconds of CPU per byte, and their growth with the length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.fuzz.campaign import ns_per_byte
from tests.fuzz.target import Target, corpus_of

SIZES = (1024, 4096, 16_384, 60_000)
ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """The dearest input of one size."""

    size: int
    """As asked for; a parser with a shorter limit gets what fits."""
    bytes: int
    ns_per_byte: float
    shape: str


def inputs(target: Target, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield inputs of about a size: shapes that should be dear, seeds and corpus one after the other, and single bytes."""
    for number, shape in enumerate(target.shapes):
        yield f"shape {number}", shape(size)
    for number, data in enumerate([*target.seeds, *corpus_of(target.name)]):
        if len(data) >= size // 2:
            yield f"input {number}", data
        elif data and not target.shapes:
            yield f"input {number} repeated", data * (size // len(data))
    for byte in (0, 0x20, 0x30, 0x61, 0xFF):
        yield f"byte {byte:#x}", bytes((byte,)) * size


def costs(target: Target, sizes: Iterable[int] = SIZES, rounds: int = ROUNDS) -> list[Cost]:
    """Return the dearest input of each size."""
    found = []
    for size in sizes:
        several = [Cost(size, len(data), ns_per_byte(target.parse, data, rounds), shape) for shape, data in inputs(target, size) if data]
        found.append(max(several, key=lambda one: one.ns_per_byte))
    return found


def growth(found: list[Cost]) -> float:
    """Return how many times dearer a byte is in the longest input than in one a quarter as long: 1 is linear, 4 quadratic."""
    longest = found[-1]
    shorter = [one for one in found if one.bytes <= longest.bytes // 3]
    return longest.ns_per_byte / shorter[-1].ns_per_byte if shorter else 1.0


def cost_table(targets: Iterable[Target]) -> str:
    """Return the table in Markdown."""
    head = "| parser | " + " | ".join(f"{size:,} bytes" for size in SIZES) + " | dearest | growth |"
    lines = [head, "|---|" + "---|" * (len(SIZES) + 2)]
    for target in (one for one in targets if one.by_byte):
        found = costs(target)
        figures = " | ".join(f"{one.ns_per_byte:.0f} ns" for one in found)
        lines.append(f"| {target.name} | {figures} | {found[-1].shape} | {growth(found):.1f} |")
    return "\n".join(lines)
