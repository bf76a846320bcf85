"""A worker without a proper supervisor ends with a reason."""

import os
import sys

from portway.cli.worker import command
from portway.server.workers.post import pair
from tests.kit.programs import SOURCES


def start(said: bytes) -> tuple[int, str]:
    """Start a worker whose supervisor says something and is gone; return its exit code and its words."""
    import subprocess

    ours, theirs = pair()
    with theirs:
        if said:
            ours.send(said)
        ours.close()
        done = subprocess.run(
            [*command("warning", as_json=False), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return done.returncode, done.stderr


def test_a_worker_whose_supervisor_is_gone_ends_with_a_reason() -> None:
    code, said = start(b"")

    assert code == 1
    assert said == "portway: the supervisor did not say what to do: the other end is gone\n"


def test_a_worker_that_is_told_nonsense_ends_with_a_reason() -> None:
    code, said = start(b"\x01")

    assert code == 1
    assert said.startswith("portway: the supervisor did not say what to do: ")


def test_a_worker_is_this_python_with_the_logs_of_its_server() -> None:
    assert command("debug", as_json=True) == [sys.executable, "-m", "portway.cli.worker", "debug", "json"]
