"""`python -m tests.attacks`: runs each attack on a server of its own next to an innocent client, and prints its latencies and errors.

The server has one core, all other processes the other. "Alone" means that the same attackers run against a sink: a second server
that gets the first one's core only while it is idle. So the attackers do the same work in both cases, and only the attacked
server differs.
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
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks", description="Attack a server and measure the effect on an innocent client."
    )
    parser.add_argument("attacks", nargs="*", metavar="NAME", help="run attacks whose name contains NAME (all)")
    parser.add_argument("--list", action="store_true", help="list all attacks")
    parser.add_argument("--rounds", type=int, default=1, help="run ROUNDS rounds and show medians (1; a campaign uses 5)")
    parser.add_argument("--seconds", type=float, help="run each attack for SECONDS (each has its own default)")
    parser.add_argument(
        "--no-alone", action="store_true", help="skip the runs against the sink: twice as fast, p99 is compared with 10 ms only"
    )
    parser.add_argument("--source", type=Path, default=SOURCES, metavar="DIR", help="attack the version in the src folder DIR")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write all figures to OUT")
    return parser.parse_args(argv)


def run(attack: Attack, options: argparse.Namespace) -> tuple[list[Side], list[Side]]:
    """Run all rounds of one attack, alternately against server and sink."""
    beside, alone = [], []
    for _ in range(options.rounds):
        beside.append(measure(attack, options.source, against_sink=False, seconds=options.seconds))
        if not options.no_alone:
            alone.append(measure(attack, options.source, against_sink=True, seconds=options.seconds))
    return beside, alone


def main() -> int:
    """Run the selected attacks; return 1 if one does harm."""
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
            print(f"{attack.name}: cannot be run: {exc}", file=sys.stderr)
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
