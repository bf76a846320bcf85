"""`python -m tests.soak`: mixed traffic of five tenants with a fault per minute, an idle time, then a table of leaks.

Exit code 1 when a limit is exceeded.
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
from tests.soak.system import SoakSystem
from tests.soak.traffic import Traffic, TrafficResults, all_addresses

QUIET_S = 64.0
"""Pools keep idle streams to origins for 60 s; after that nothing of a visitor remains."""
WARM_MINUTES = 3.0
"""A shorter run is compared with a server before its first visitor, to save one idle time."""
SAMPLE_S = 2.0
MARK_S = 300.0
"""Memory is measured from this time on, or from the middle of a shorter run."""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Serve mixed traffic with faults for a long time and look for leaks."
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="run for MINUTES in all, idle times included (30)")
    parser.add_argument("--fault-every", type=float, default=60.0, metavar="S", help="inject a fault every S seconds (60)")
    parser.add_argument("--restart-every", type=float, default=20.0, metavar="S", help="restart an agent every S seconds (20)")
    parser.add_argument("--pace", type=float, default=1.0, help="multiply the traffic by PACE (1)")
    parser.add_argument("--cycles", type=int, help="break off CYCLES connections at each stage (a third of the seconds: 600 in 30 minutes)")
    parser.add_argument(
        "--quiet", type=float, default=QUIET_S, metavar="S", help=f"stay idle for S seconds before each snapshot ({QUIET_S:g})"
    )
    parser.add_argument("--no-dev", action="store_true", help="run the server without python -X dev: faster, but K7 detects less")
    parser.add_argument("--source", type=Path, default=SOURCES, metavar="DIR", help="test the version in the src folder DIR")
    return parser.parse_args(argv)


class Soak:
    """One soak run."""

    def __init__(self, system: SoakSystem, options: argparse.Namespace, say: Callable[[str], None]) -> None:
        self._system = system
        self._options = options
        self._say = say
        self.windows = Windows()
        self.faults = Faults(system, self.windows)
        self.samples: list[tuple[float, float]] = []

    def snapshot(self) -> Snapshot:
        """Take a snapshot of the server."""
        folders = (self._system.home / "server",)
        return snapshot(self._system.server, self._system.inventory(), folders)

    async def traffic(self, seconds: float, *, faults: bool) -> TrafficResults:
        """Generate traffic for `seconds`, then wait until it has ended."""
        addresses = all_addresses(self._system.http_port, self._system.tcp_ports)
        windows = self.windows
        traffic = Traffic(addresses, self._system.spare_join, windows.explained, windows.origin_died, self._options.pace, self._say)
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
                    f"{time.monotonic() - began:5.0f} s  {traffic.seen.done.total()} done, {traffic.seen.in_faults.total()} errors in faults, "
                    f"{len(traffic.seen.unexplained)} at other times, {len(traffic.seen.wrong)} wrong, "
                    f"{self._system.server.rss_bytes() / MB:.1f} MB, faults: {len(self.faults.injected)}"
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
                self.samples.append((time.monotonic() - began, self._system.server.rss_bytes() / MB))

    @staticmethod
    async def _break(fault: Callable[[], Awaitable[None]], every_s: float, over: asyncio.Event) -> None:
        """Inject faults until `over` is set; wait for the last one, so that no process stays stopped."""
        while not over.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await over.wait()
            except TimeoutError:
                await fault()


def rows_of(seen: TrafficResults, system: SoakSystem) -> list[Row]:
    """Return the errors that visitors and origins saw as rows of the table."""
    broken = system.violations()
    logged_errors = [line for line in system.server.err.lines if "Traceback" in line]
    return [
        Row("I1", "wrong, foreign or missing bytes", str(len(seen.wrong)), "0", not seen.wrong),
        Row("I2", "resets that an origin saw as a proper end", str(len(broken)), "0", not broken),
        Row("F", "errors not explained by a fault", str(len(seen.unexplained)), "0", not seen.unexplained),
        Row("F", "tracebacks of the server", str(len(logged_errors)), "0", not logged_errors),
    ]


async def soak(system: SoakSystem, options: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Run traffic, faults and idle times; return the table."""
    run = Soak(system, options, say)
    seconds = 60 * options.minutes
    warm_s = min(15.0, seconds / 10)
    if options.minutes >= WARM_MINUTES:
        await run.traffic(warm_s, faults=False)
        await run.faults.descriptor_pressure()  # so that the allocator has reached its peak
        run.samples.clear()
        await asyncio.sleep(options.quiet)
    before = run.snapshot()
    steady = system.agents[STEADY, "http"]
    agent_before = steady.descriptors()
    seen = await run.traffic(max(25.0, seconds - warm_s - 2 * options.quiet), faults=True)
    cycles = options.cycles if options.cycles is not None else int(seconds / 3)
    say(f"breaking off {cycles} connections at each stage")
    broken_off = await asyncio.to_thread(Cycles(system).run, cycles)
    say(f"idle for {options.quiet:g} s")
    await asyncio.sleep(options.quiet)
    after = run.snapshot()
    for line in system.violations()[:20]:
        say(line)
    say(f"done: {dict(seen.done)}; errors in faults: {dict(seen.in_faults)}; skipped: {dict(seen.skipped)}; faults: {run.faults.injected}")
    slow = [float(found[1]) for line in system.server.err.lines if (found := SLOW.search(line))]
    say(f"{len(slow)} turns of the loop above 0.1 s, the longest {max(slow, default=0.0):.2f} s; the faults stop the server for 3 s")
    say(f"{seen.bytes_checked / MB:.0f} MB checked, {sum(broken_off.values())} connections broken off at {len(broken_off)} stages")
    rows = rows_of(seen, system) + judge(before, after, run.samples, system.server.err.lines)
    kept = steady.descriptors() - agent_before
    rows.append(Row("K1", "descriptors of an undisturbed agent", f"{kept:+d}", "±3", abs(kept) <= 3))
    return rows


def main() -> int:
    """Run and print the table; return 1 if a limit is exceeded."""
    options = parse_arguments(sys.argv[1:])
    raise_descriptors()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with SoakSystem(options.source, dev=not options.no_dev) as system:
        rows = asyncio.run(soak(system, options, say))
        if not all(row.holds for row in rows):
            say("\n".join(system.server.err.lines[-60:]))
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
