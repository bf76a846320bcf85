"""`python -m tests.fuzz`: every parser for its part of the time, with mutations, structured inputs, and atheris where it is installed.

What breaks a parser is written to tests/fuzz/found/NAME-HASH and ends the run with 1. Put it into tests/fuzz/corpus/NAME once it is right:
`make test` tries all of them.
"""

import argparse
import hashlib
import importlib.util
import random
import sys
from pathlib import Path

from tests.fuzz.campaign import Campaign, Found
from tests.fuzz.costs import cost_table
from tests.fuzz.grow import FOUND, grow, with_atheris
from tests.fuzz.target import all_targets


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed every parser with what nobody would send.")
    parser.add_argument("targets", nargs="*", metavar="NAME", help="parsers whose name contains one of these words (all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for all of them together (60)")
    parser.add_argument("--seed", type=int, help="a number that makes the same inputs again (by chance)")
    parser.add_argument("--list", action="store_true", help="show all parsers")
    parser.add_argument("--costs", action="store_true", help="measure what the dearest inputs cost per byte, a table, instead")
    parser.add_argument("--grow", action="store_true", help="let atheris add to the corpora what reaches new lines, instead")
    parser.add_argument("--no-atheris", action="store_true", help="without coverage, also where atheris is installed")
    return parser.parse_args(argv)


def keep(name: str, data: bytes) -> Path:
    """Write an input that broke a parser to a file, and return it."""
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def main() -> int:
    """Fuzz; 1 when something was found."""
    options = parse_arguments(sys.argv[1:])
    chosen = [one for one in all_targets().values() if not options.targets or any(word in one.name for word in options.targets)]
    if options.list:
        print("\n".join(one.name for one in chosen))
        return 0
    if options.costs:
        print(cost_table(chosen))
        return 0
    number = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    coverage = not options.no_atheris and importlib.util.find_spec("atheris") is not None
    if options.grow:
        for target in chosen:
            print(f"{target.name:16} {grow(target, options.seconds / len(chosen)):4} inputs kept", file=sys.stderr)
        return 0
    print(f"seed {number}; {'with' if coverage else 'without'} atheris", file=sys.stderr)
    seconds, bad = options.seconds / max(1, len(chosen)), 0
    for target in chosen:
        found: Found = Campaign(target, number).run(seconds / 2 if coverage else seconds)
        for data, why in found.failures:
            bad += 1
            print(f"{target.name}: {why}\n  {data[:120]!r}\n  kept in {keep(target.name, data)}")
        if coverage and (said := with_atheris(target, seconds / 2)):
            bad += 1
            print(f"{target.name}, by atheris:\n  " + "\n  ".join(said))
        print(f"{target.name:16} {found.cases:8} inputs, {found.ns_per_byte:6.0f} ns a byte at most", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
