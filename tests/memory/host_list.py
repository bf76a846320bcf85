"""`python -m tests.memory.host_list`: memory and time of a host list, a million names by default."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from portway.forward.policy.list_files import read_host_list
from portway.forward.policy.list_store import pause_for_reactor

LOOKUPS = 100_000


def resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--file", type=Path, help="read this list instead of a generated one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder, "list")
        if options.file is None:
            with path.open("w") as file:
                file.writelines(f"0.0.0.0 host-{number}.ads{number % 1013}.example\n" for number in range(options.names))
        before, begun = resident_mb(), time.monotonic()
        found = read_host_list(path, b"k" * 16, pause_for_reactor)
        took = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found.count:,} names, {found.skipped:,} lines skipped, {took:.1f} s")
    print(f"resident memory: {before:.0f} MB before, {resident_mb():.0f} MB after, {peak:.0f} MB at most")
    begun = time.monotonic()
    for number in range(LOOKUPS):
        found.matches(f"www.host-{number}.ads{number % 1013}.test")
    print(f"lookup of a name with five labels: {(time.monotonic() - begun) / LOOKUPS * 1e6:.1f} µs")


if __name__ == "__main__":
    main()
