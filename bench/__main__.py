"""`python -m bench`: measures, prints the report and stops every process that it started."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from bench.axes.catalog import figures_of
from bench.chart.bars import read_run
from bench.chart.files import write_chart
from bench.json_results import as_json, write_json
from bench.limits import raise_open_files
from bench.machine import MachineUse, describe, disturbance
from bench.options import Options, parse_options
from bench.report import report
from bench.runner import Runner
from bench.targets import TARGET_SETS
from bench.tools import missing


def listing(options: Options) -> str:
    """Return the systems and axes, with what each one lacks on this machine."""
    lines = ["systems:", *(f"  {system.name:<26} {missing(system.needs) or 'ready'}" for system in options.systems)]
    lines += ["axes:", *(f"  {axis.name:<26} {missing(axis.needs) or 'ready'}" for axis in options.axes)]
    return "\n".join(lines)


def _report_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, so that every process is stopped


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(options: Options) -> None:
    """Run the plan, write the files that were asked for and print the report."""
    files_max = raise_open_files()
    before, start, ours_s = MachineUse.now(), time.monotonic(), _cpu_s()
    with tempfile.TemporaryDirectory(prefix="portway-bench-", ignore_cleanup_errors=True) as folder:
        runner = Runner(options.systems, options.axes, options.plan, Path(folder), files_max, _report_progress, tls=options.tls)
        results = runner.run()
    elapsed_s = time.monotonic() - start
    many = "s" if options.plan.rounds > 1 else ""
    circumstances = [
        f"{options.plan.rounds} interleaved round{many} in {elapsed_s / 60:.1f} minutes; medians, ± half the distance between the extremes",
        "all traffic over loopback; origins and visitors share the machine with the systems",
        disturbance(before, MachineUse.now(), _cpu_s() - ours_s, elapsed_s),
    ]
    figures, machine = figures_of(options.axes), describe()
    text = as_json(results, figures, machine, circumstances, options.plan)
    if options.json_path is not None:
        write_json(options.json_path, text)
    if options.chart_path is not None:
        for line in write_chart(read_run(text), options.chart_path):
            _report_progress(line)
    print(report(results, figures, machine, circumstances, TARGET_SETS[options.target_set]))


def main() -> None:
    """Read the command line, then list or measure."""
    options = parse_options(sys.argv[1:])
    if options.listing:
        print(listing(options))
        return
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        measure(options)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
