"""Processes that `portway status` cannot query are found in /proc."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from portway.cli.others import processes_of_other_users, processes_with_other_runtime_dir
from tests.kit.programs import Program


def test_a_process_of_another_user_is_found() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a program of another user")
    user = pwd.getpwnam("nobody").pw_name
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        Path(folder).chmod(0o755)
        fake = Path(folder) / "portway"
        fake.write_text("#!/bin/sh\necho ready\nwhile :; do sleep 0.1; done\n")
        fake.chmod(0o755)
        with Program(["setpriv", "--reuid", user, "--clear-groups", "/bin/sh", fake, "server"], name="portway") as program:
            program.expect("ready")
            assert (program.pid, user, "server") in list(processes_of_other_users()), program.transcript()


def test_without_proc_nothing_is_found(tmp_path: Path) -> None:
    assert list(processes_of_other_users(tmp_path / "none")) == []


@pytest.mark.parametrize("theirs", ["/run", ""])
def test_an_own_process_with_another_runtime_directory_is_found(tmp_path: Path, theirs: str) -> None:
    fake = tmp_path / "portway"
    fake.write_text("#!/bin/sh\necho ready\nwhile :; do sleep 0.1; done\n")
    fake.chmod(0o755)
    setting = [f"XDG_RUNTIME_DIR={theirs}"] if theirs else ["-u", "XDG_RUNTIME_DIR"]
    with pytest.MonkeyPatch.context() as patch, Program(["env", *setting, "/bin/sh", fake, "server"], name="portway") as program:
        program.expect("ready")
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert (program.pid, "server", theirs) in list(processes_with_other_runtime_dir(shown=()))
        assert program.pid not in [pid for pid, _, _ in processes_with_other_runtime_dir(shown={program.pid})]
        if theirs:
            patch.setenv("XDG_RUNTIME_DIR", theirs)
        else:
            patch.delenv("XDG_RUNTIME_DIR")
        assert program.pid not in [pid for pid, _, _ in processes_with_other_runtime_dir(shown=())]


def test_a_process_with_a_hidden_environment_is_found_without_its_directory(tmp_path: Path) -> None:
    folder = tmp_path / "12"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"/opt/portway/bin/python\0/opt/portway/bin/portway\0server\0")

    assert list(processes_with_other_runtime_dir(shown=(), proc=tmp_path)) == [(12, "server", None)]
