"""Snapshots of a program's resources, and the table that compares two of them (threats K1 to K7)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from portway.telemetry.inspection import Inventory
from tests.kit.programs import Program

DESCRIPTORS_MAX = 3
TASKS_MAX = 3
RSS_SHARE_MAX = 0.05
RSS_MB_MAX = 2.0
"""Minimum limit, for small processes: allocators grow in steps of a megabyte."""
SLOPE_MB_PER_H_MAX = 1.0
SLOPE_MB_MAX = 1.0
"""Growth over the whole run that may be noise: a run of minutes cannot distinguish 1 MB per hour from an allocator's steps."""
SLOPE_S_MIN = 600.0
"""Minimum time for a slope: before it, memory still grows to what the traffic needs."""
OBJECTS_SHARE_MAX = 0.02
OBJECTS_MAX = 1500
"""For caches of heads, hosts and addresses that fill during a run; each is bounded."""
INSTANCES_MAX = 12
"""Objects of one of our classes that may remain, such as pooled streams of the last minute and timers."""

MB = 1e6

CACHES = re.compile(
    r"RequestHeadCache|AskedBefore|AnsweredBefore|ResponseHeadCache|_cached_hosts|TimerWheel\._(buckets|ticks)"
    r"|FailureDelays\._(failed|succeeded)|Sources\._logged_in|LoginThrottle\._sources|Timer\._bucket|Heartbeat\._samples"
)
"""Tables whose entries expire later, each with its own bound (docs/limits.md)."""


@dataclass(frozen=True)
class Snapshot:
    """Resources of an idle program at one moment."""

    descriptors: Counter[str]
    """Number by kind."""
    rss_mb: float
    inventory: Inventory
    close_wait: int
    children: int
    files: tuple[str, ...]


def snapshot(program: Program, inventory: Inventory, folders: Iterable[Path]) -> Snapshot:
    """Take a snapshot of a program."""
    links = [_target(entry) for entry in Path(f"/proc/{program.pid}/fd").iterdir()]
    sockets = {link[8:-1] for link in links if link.startswith("socket:")}
    files = tuple(sorted(str(file) for folder in folders for file in folder.rglob("*") if file.is_file()))
    return Snapshot(
        descriptors=Counter(link.partition(":")[0] if ":" in link else link for link in links if link),
        rss_mb=program.rss_bytes() / MB,
        inventory=inventory,
        close_wait=_in_state(sockets, "08"),
        children=len(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()),
        files=files,
    )


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def _in_state(inodes: set[str], state: str) -> int:
    """Return the number of these sockets in a state of /proc/net/tcp (08 is CLOSE_WAIT)."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(fields[3] == state and fields[9] in inodes for fields in map(str.split, lines))


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    number: str
    what: str
    found: str
    limit: str
    holds: bool


def growing(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the counts that have grown, without caches."""
    return {
        name: count - before.get(name, 0)
        for name, count in sorted(after.items())
        if count > before.get(name, 0) and not CACHES.search(name)
    }


def slope_per_h(samples: Sequence[tuple[float, float]]) -> float:
    """Return the growth per hour: the median of the slopes between all pairs of samples (Theil-Sen)."""
    slopes = [(late - early) / (to - at) for number, (at, early) in enumerate(samples) for to, late in samples[number + 1 :] if to > at]
    return 3600 * median(slopes) if slopes else 0.0


def lowest_each_minute(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the lowest sample of each minute, which excludes short peaks of faults and large downloads."""
    minutes: dict[int, tuple[float, float]] = {}
    for at, value in samples:
        minute = int(at // 60)
        minutes[minute] = min(minutes.get(minute, (at, value)), (at, value), key=lambda one: one[1])
    return list(minutes.values())


WARNINGS = re.compile(r"ResourceWarning|was never awaited|was never retrieved|Traceback|RuntimeWarning")
SLOW = re.compile(r"Executing .* took ([0-9.]+) seconds")


def judge(before: Snapshot, after: Snapshot, samples: Sequence[tuple[float, float]], log_lines: Sequence[str]) -> list[Row]:
    """Return the table; `samples` are times (s) and memory (MB) since the mark, at least one per minute."""
    old, new = before.inventory, after.inventory
    descriptors = after.descriptors.total() - before.descriptors.total()
    instances = {name: more for name, more in growing(old.instances, new.instances).items() if more > INSTANCES_MAX}
    tables = {name: more for name, more in growing(old.tables, new.tables).items() if more > INSTANCES_MAX}
    mark = samples[0][1] if samples else before.rss_mb
    rss_max = max(mark * RSS_SHARE_MAX, RSS_MB_MAX)
    hours = (samples[-1][0] - samples[0][0]) / 3600 if len(samples) > 1 else 0.0
    long = 3600 * hours >= SLOPE_S_MIN
    slope, slope_max = slope_per_h(lowest_each_minute(samples)), max(SLOPE_MB_PER_H_MAX, SLOPE_MB_MAX / hours if long else 0.0)
    objects = new.objects - old.objects
    objects_max = max(int(old.objects * OBJECTS_SHARE_MAX), OBJECTS_MAX)
    warnings = [line for line in log_lines if WARNINGS.search(line)]
    files = sorted(set(after.files) - set(before.files))
    rows = [
        ("K1", "descriptors", f"{descriptors:+d}", f"±{DESCRIPTORS_MAX}", abs(descriptors) <= DESCRIPTORS_MAX),
        ("K2", "tasks", f"{new.tasks - old.tasks:+d}", f"±{TASKS_MAX}", abs(new.tasks - old.tasks) <= TASKS_MAX),
        ("K3", "memory since the mark, MB", f"{after.rss_mb - mark:+.1f} on {mark:.1f}", f"{rss_max:+.1f}", after.rss_mb - mark <= rss_max),
        (
            "K3",
            "slope of memory, MB per hour",
            f"{slope:+.2f}",
            f"{slope_max:+.2f}" if long else "from 10 minutes on",
            not long or slope <= slope_max,
        ),
        ("K4", "objects of the garbage collector", f"{objects:+d} on {old.objects}", f"{objects_max:+d}", objects <= objects_max),
        ("K4", "objects of our classes", _listed(instances), f"{INSTANCES_MAX:+d} each", not instances),
        ("K5", "entries of tables", _listed(tables), f"{INSTANCES_MAX:+d} each", not tables),
        ("K6", "sockets in CLOSE_WAIT", str(after.close_wait), "0", after.close_wait == 0),
        ("K6", "child processes, files left", f"{after.children}, {len(files)}", "0, 0", not after.children and not files),
        ("K7", "warnings of python -X dev", _listed(Counter(map(_short, warnings))), "0", not warnings),
    ]
    return [Row(*row) for row in rows]


def _short(line: str) -> str:
    return line.strip()[:100]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.removeprefix('portway.')} {more:+d}" for name, more in counts.items()) or "0"


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = ["| # | what | found | limit | verdict |", "|---|---|---|---|---|"]
    return "\n".join(
        lines + [f"| {row.number} | {row.what} | {row.found} | {row.limit} | {'holds' if row.holds else 'MISSED'} |" for row in rows]
    )
