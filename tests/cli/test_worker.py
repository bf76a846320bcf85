"""A worker without a proper supervisor ends with a reason."""

import os
import sys
from pathlib import Path

import pytest

from portway.cli.worker import worker_command
from portway.server.workers.ipc import ipc_pair
from tests.kit.programs import SOURCES


def start(said: bytes, cwd: Path | None = None) -> tuple[int, str]:
    """Start a worker whose supervisor says something and is gone; return its exit code and its words."""
    import subprocess

    ours, theirs = ipc_pair()
    with theirs:
        if said:
            ours.send(said)
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
    code, said = start(b"")

    assert code == 1
    assert said == "portway: the supervisor did not say what to do: the other end is gone\n"


def test_a_worker_that_is_told_nonsense_ends_with_a_reason() -> None:
    code, said = start(b"\x01")

    assert code == 1
    assert said.startswith("portway: the supervisor did not say what to do: ")


def test_a_worker_is_this_python_with_the_logs_of_its_server() -> None:
    words = worker_command("debug", as_json=True)

    assert words[0] == sys.executable
    assert words[-4:] == ["-m", "portway.cli.worker", "debug", "json"]


def test_a_worker_takes_no_module_from_the_current_folder_unless_its_server_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    assert "-P" not in worker_command("debug", as_json=True)
    monkeypatch.setattr(sys, "path", ["/somewhere/bin", *sys.path])
    (tmp_path / "msgspec.py").write_text("raise SystemExit('taken over')")

    code, said = start(b"", cwd=tmp_path)

    assert (code, said) == (1, "portway: the supervisor did not say what to do: the other end is gone\n")
