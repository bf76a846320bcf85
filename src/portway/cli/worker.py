"""Entry point of a worker process, for `portway server --workers N` only: `python -m portway.cli.worker LEVEL FORM DESCRIPTOR`."""

import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path


def worker_command(log_level: str, *, as_json: bool) -> list[str]:
    """Return the command line of a worker; the caller appends the descriptor of its supervisor channel.

    The worker searches the same folders for modules as this process: plain `-m` would search the current one first.
    """
    safe = [] if sys.path[:1] == [str(Path.cwd())] else ["-P"]
    return [sys.executable, *safe, "-m", "portway.cli.worker", log_level, "json" if as_json else "human"]


def main(args: Sequence[str]) -> int:
    """Serve until the supervisor sends the order to stop; return the exit code.

    SIGINT and SIGHUP reach the whole process group and are handled by the supervisor. SIGTERM stops this worker
    gracefully, and the supervisor replaces it.
    """
    from portway.cli.lifecycle import STDERR, run_until_stopped
    from portway.server.workers.worker import receive_config, run_worker
    from portway.telemetry.line_writer import LineWriter
    from portway.telemetry.logs import LogSink

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log_level, form, descriptor = args
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)

    async def serve() -> int:
        await run_worker(config, channel)
        return 0

    errors = LineWriter(STDERR)
    try:
        with LogSink(errors, log_level, form="json" if form == "json" else "human"):
            config = receive_config(channel)
            return run_until_stopped(serve)
    finally:
        errors.close()


if __name__ == "__main__":
    from portway.cli.main import exit_code_of

    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
