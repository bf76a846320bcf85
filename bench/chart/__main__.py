"""`python -m bench.chart RUN.json OUT.svg [WORDS]`: draws a saved run; WORDS, separated by commas, select figures by their keys."""

import sys
from pathlib import Path

from bench.chart.bars import read_run
from bench.chart.files import write_chart

USAGE = "usage: python -m bench.chart RUN.json OUT.svg [WORDS]"


def main() -> None:
    """Read the run, draw it and print the paths of the files."""
    if len(sys.argv) not in {3, 4}:
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    words = [word for word in (sys.argv[3] if len(sys.argv) == 4 else "").split(",") if word]
    try:
        lines = write_chart(read_run(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), words)
    except (OSError, ValueError) as exc:
        print(f"{sys.argv[1]}: {exc}", file=sys.stderr)
        sys.exit(1)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
