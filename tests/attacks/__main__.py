"""`python -m tests.attacks`: every attack on a server of its own, with an innocent client beside it, and a table of what it noticed.

The server has one core, everybody else the other. "Alone" are the same attackers against a sink: a second server, which gets
the first one's core only while that one does not want it. So the attackers do the same work on both sides, and what differs
is the server under attack alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.attacks.attack import Attack, all_attacks
from tests.attacks.child import ChildError
from tests.attacks.measure import Side, as_dict, measure
from tests.attacks.report import judge, row, table
from tests.kit.programs import SOURCES


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description="Attack a server, and measure what others notice.")
    parser.add_argument("attacks", nargs="*", metavar="NAME", help="attacks whose name contains one of these words (all)")
    parser.add_argument("--list", action="store_true", help="show all attacks")
    parser.add_argument("--rounds", type=int, default=1, help="rounds; figures are medians (1; a campaign takes 5)")
    parser.add_argument("--seconds", type=float, help="how long each attack lasts (each has a time of its own)")
    parser.add_argument("--no-alone", action="store_true", help="leave the sink out: twice as fast, p99 judged by 10 ms alone")
    parser.add_argument("--source", type=Path, default=SOURCES, metavar="DIR", help="a src folder of another version to attack")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there too")
    return parser.parse_args(argv)


def run(attack: Attack, options: argparse.Namespace) -> tuple[list[Side], list[Side]]:
    """Run all rounds of one attack, beside and alone in turns."""
    beside, alone = [], []
    for _ in range(options.rounds):
        beside.append(measure(attack, options.source, against_sink=False, seconds=options.seconds))
        if not options.no_alone:
            alone.append(measure(attack, options.source, against_sink=True, seconds=options.seconds))
    return beside, alone


def main() -> int:
    """Run what was asked for; 1 when an attack does harm."""
    options = parse_arguments(sys.argv[1:])
    chosen = [one for one in all_attacks().values() if not options.attacks or any(word in one.name for word in options.attacks)]
    if options.list:
        for one in chosen:
            print(f"{one.name:28} {one.threat:8} {one.about}")
        return 0
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    harm = 0
    for attack in chosen:
        began = time.monotonic()
        try:
            beside, alone = run(attack, options)
        except (ChildError, AssertionError) as exc:
            print(f"{attack.name}: could not be run: {exc}", file=sys.stderr)
            harm += 1
            continue
        wrong = judge(attack, beside, alone)
        harm += bool(wrong)
        rows.append(row(attack, beside, alone))
        figures[attack.name] = {"wrong": wrong, "beside": [as_dict(one) for one in beside], "alone": [as_dict(one) for one in alone]}
        print(f"{attack.name}: {'; '.join(wrong) or 'holds'} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
        if options.json is not None:
            options.json.write_text(json.dumps(figures, indent=1))
    print(table(rows))
    return 1 if harm else 0


if __name__ == "__main__":
    sys.exit(main())
