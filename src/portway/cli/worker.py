"""What `portway server --workers N` starts N times: one worker. `python -m portway.cli.worker LEVEL FORM DESCRIPTOR`; nobody else calls it."""

import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path


def worker_command(log_level: str, *, as_json: bool) -> list[str]:
    """Return how a worker is started; the number of its line to the supervisor is still to be appended.

    It trusts the folders that this process trusts: `-m` alone would look for modules in the current one first.
    """
    safe = [] if sys.path[:1] == [str(Path.cwd())] else ["-P"]
    return [sys.executable, *safe, "-m", "portway.cli.worker", log_level, "json" if as_json else "human"]


def main(words: Sequence[str]) -> int:
    """Serve until the supervisor says to stop; return the exit code.

    Ctrl-C and a closed terminal reach the whole group of processes; they are the supervisor's to act on. SIGTERM ends
    one worker properly, and it is replaced.
    """
    from portway.cli.lifecycle import STDERR, run_until_stopped
    from portway.server.workers.worker import receive_config, run_worker
    from portway.telemetry.line_writer import LineWriter
    from portway.telemetry.logs import LogSink

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log_level, form, descriptor = words
    line = socket.socket(fileno=int(descriptor))
    line.set_inheritable(False)

    async def serve() -> int:
        await run_worker(orders, line)
        return 0

    errors = LineWriter(STDERR)
    try:
        with LogSink(errors, log_level, form="json" if form == "json" else "human"):
            orders = receive_config(line)
            return run_until_stopped(serve)
    finally:
        errors.close()


if __name__ == "__main__":
    from portway.cli.main import exit_code_of

    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
