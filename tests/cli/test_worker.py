"""A worker without a working supervisor ends with a reason."""

import os
import sys
from pathlib import Path

import pytest

from portway.cli.worker import worker_command
from portway.server.workers.ipc import ipc_pair
from tests.kit.programs import SOURCES


def start(sent: bytes, cwd: Path | None = None) -> tuple[int, str]:
    """Start a worker whose supervisor sends `sent` and closes; return its exit code and its stderr."""
    import subprocess

    ours, theirs = ipc_pair()
    with theirs:
        if sent:
            ours.send(sent)
        ours.close()
        done = subprocess.run(
            [*worker_command("warning", as_json=False), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return done.returncode, done.stderr


def test_a_worker_whose_supervisor_is_gone_ends_with_a_reason() -> None:
    code, output = start(b"")

    assert code == 1
    assert output == "portway: no configuration from the supervisor: the other end is closed\n"


def test_a_worker_with_an_invalid_message_ends_with_a_reason() -> None:
    code, output = start(b"\x01")

    assert code == 1
    assert output.startswith("portway: no configuration from the supervisor: ")


def test_a_worker_runs_this_python_with_the_log_options_of_its_server() -> None:
    argv = worker_command("debug", as_json=True)

    assert argv[0] == sys.executable
    assert argv[-4:] == ["-m", "portway.cli.worker", "debug", "json"]


def test_a_worker_searches_the_current_folder_only_if_its_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    assert "-P" not in worker_command("debug", as_json=True)
    monkeypatch.setattr(sys, "path", ["/somewhere/bin", *sys.path])
    (tmp_path / "msgspec.py").write_text("raise SystemExit('taken over')")

    code, output = start(b"", cwd=tmp_path)

    assert (code, output) == (1, "portway: no configuration from the supervisor: the other end is closed\n")
