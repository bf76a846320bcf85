"""`python -m tests.soak`: mixed traffic over five tenants with a fault a minute, then quiet, then the table of what is left.

Exit code 1 when a floor is missed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.kit.descriptors import raise_descriptors
from tests.kit.programs import SOURCES
from tests.soak.cycles import Cycles
from tests.soak.faults import STEADY, Faults, Windows
from tests.soak.leaks import MB, SLOW, Row, Snapshot, judge, snapshot, table
from tests.soak.stand import SystemRunner
from tests.soak.traffic import Seen, Traffic, all_places

QUIET_S = 64.0
"""Idle streams to origins are kept for 60 s; then nothing of a visitor is left."""
WARM_MINUTES = 3.0
"""A shorter run is compared with a server that has served nobody yet, to save a time of quiet."""
SAMPLE_S = 2.0
MARK_S = 300.0
"""Memory counts from here on, or from the middle of a shorter run."""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Serve mixed traffic with faults for long, and look for leaks."
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long in all, quiet times included (30)")
    parser.add_argument("--fault-every", type=float, default=60.0, metavar="S", help="seconds between faults (60)")
    parser.add_argument("--restart-every", type=float, default=20.0, metavar="S", help="seconds between restarts of an agent (20)")
    parser.add_argument("--pace", type=float, default=1.0, help="how many times as much traffic (1)")
    parser.add_argument("--cycles", type=int, help="connections broken off at each stage (a third of the seconds: 600 in 30 minutes)")
    parser.add_argument("--quiet", type=float, default=QUIET_S, metavar="S", help=f"seconds of quiet before each look ({QUIET_S:g})")
    parser.add_argument("--no-dev", action="store_true", help="run the server without python -X dev: faster, and K7 sees less")
    parser.add_argument("--source", type=Path, default=SOURCES, metavar="DIR", help="a src folder of another version")
    return parser.parse_args(argv)


class Soak:
    """One run."""

    def __init__(self, stand: SystemRunner, options: argparse.Namespace, say: Callable[[str], None]) -> None:
        self._stand = stand
        self._options = options
        self._say = say
        self.windows = Windows()
        self.faults = Faults(stand, self.windows)
        self.samples: list[tuple[float, float]] = []

    def look(self) -> Snapshot:
        """Look at the server."""
        folders = (self._stand.home / "server",)
        return snapshot(self._stand.server, self._stand.inventory(), folders)

    async def traffic(self, seconds: float, *, faults: bool) -> Seen:
        """Make traffic for so long, then let it end."""
        places = all_places(self._stand.http_port, self._stand.tcp_ports)
        windows = self.windows
        traffic = Traffic(places, self._stand.spare_join, windows.explained, windows.origin_died, self._options.pace, self._say)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            visitors = tasks.create_task(traffic.run())
            sampling = tasks.create_task(self._sample(began, seconds))
            over, breaking = asyncio.Event(), []
            if faults:
                breaking = [
                    tasks.create_task(self._break(self.faults.one, self._options.fault_every, over)),
                    tasks.create_task(self._break(self.faults.restart_agent, self._options.restart_every, over)),
                ]
            while time.monotonic() - began < seconds:
                await asyncio.sleep(min(60.0, max(0.1, began + seconds - time.monotonic())))
                self._say(
                    f"{time.monotonic() - began:5.0f} s  {traffic.seen.done.total()} done, {traffic.seen.shown.total()} errors in faults, "
                    f"{len(traffic.seen.unexplained)} at other times, {len(traffic.seen.wrong)} wrong, "
                    f"{self._stand.server.rss_bytes() / MB:.1f} MB, faults: {len(self.faults.injected)}"
                )
            over.set()
            for each in breaking:
                await each
            traffic.stop()
            await visitors
            sampling.cancel()
        return traffic.seen

    async def _sample(self, began: float, seconds: float) -> None:
        mark = began + min(MARK_S, seconds / 2)
        while True:
            await asyncio.sleep(SAMPLE_S)
            if time.monotonic() >= mark:
                self.samples.append((time.monotonic() - began, self._stand.server.rss_bytes() / MB))

    @staticmethod
    async def _break(fault: Callable[[], Awaitable[None]], every_s: float, over: asyncio.Event) -> None:
        """Let things go wrong until it is over; the last fault is waited for, so that nothing stays stopped."""
        while not over.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await over.wait()
            except TimeoutError:
                await fault()


def rows_of(seen: Seen, stand: SystemRunner) -> list[Row]:
    """Return what visitors and origins saw as rows of the table."""
    broken = stand.broken_promises()
    logged_errors = [line for line in stand.server.err.lines if "Traceback" in line]
    return [
        Row("I1", "wrong, foreign or short bytes", str(len(seen.wrong)), "0", not seen.wrong),
        Row("I2", "breaks that an origin took for an end", str(len(broken)), "0", not broken),
        Row("F", "errors that no fault explains", str(len(seen.unexplained)), "0", not seen.unexplained),
        Row("F", "tracebacks of the server", str(len(logged_errors)), "0", not logged_errors),
    ]


async def soak(stand: SystemRunner, options: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Run everything; return the table."""
    run = Soak(stand, options, say)
    seconds = 60 * options.minutes
    warm_s = min(15.0, seconds / 10)
    if options.minutes >= WARM_MINUTES:
        await run.traffic(warm_s, faults=False)
        await run.faults.descriptor_pressure()  # an allocator keeps what most visitors at a time once needed: not what is looked for
        run.samples.clear()
        await asyncio.sleep(options.quiet)
    before = run.look()
    steady = stand.agents[STEADY, "http"]
    agent_before = steady.descriptors()
    seen = await run.traffic(max(25.0, seconds - warm_s - 2 * options.quiet), faults=True)
    cycles = options.cycles if options.cycles is not None else int(seconds / 3)
    say(f"breaking off {cycles} connections at each stage")
    broken_off = await asyncio.to_thread(Cycles(stand).run, cycles)
    say(f"quiet for {options.quiet:g} s")
    await asyncio.sleep(options.quiet)
    after = run.look()
    for line in stand.broken_promises()[:20]:
        say(line)
    say(f"done: {dict(seen.done)}; errors in faults: {dict(seen.shown)}; left out: {dict(seen.left_out)}; faults: {run.faults.injected}")
    slow = [float(found[1]) for line in stand.server.err.lines if (found := SLOW.search(line))]
    say(f"{len(slow)} turns of the loop above 0.1 s, the longest {max(slow, default=0.0):.2f} s; 3 s are a stopped server's")
    say(f"{seen.bytes_checked / MB:.0f} MB checked, {sum(broken_off.values())} connections broken off at {len(broken_off)} stages")
    rows = rows_of(seen, stand) + judge(before, after, run.samples, stand.server.err.lines)
    kept = steady.descriptors() - agent_before
    rows.append(Row("K1", "descriptors of an agent that stayed", f"{kept:+d}", "±3", abs(kept) <= 3))
    return rows


def main() -> int:
    """Run, print the table, judge."""
    options = parse_arguments(sys.argv[1:])
    raise_descriptors()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with SystemRunner(options.source, dev=not options.no_dev) as stand:
        rows = asyncio.run(soak(stand, options, say))
        if not all(row.holds for row in rows):
            say("\n".join(stand.server.err.lines[-60:]))
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
