"""Programs that cannot be asked, found in the kernel's list."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from portway.cli.others import programs_elsewhere, programs_of_others
from tests.kit.programs import Program


def test_a_program_of_another_user_is_found() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a program of another user")
    somebody = pwd.getpwnam("nobody").pw_name
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        Path(folder).chmod(0o755)
        fake = Path(folder) / "portway"
        fake.write_text("#!/bin/sh\necho ready\nwhile :; do sleep 0.1; done\n")
        fake.chmod(0o755)
        with Program(["setpriv", "--reuid", somebody, "--clear-groups", "/bin/sh", fake, "server"], name="portway") as program:
            program.expect("ready")
            assert (program.pid, somebody, "server") in list(programs_of_others()), program.said()


def test_a_missing_list_is_empty(tmp_path: Path) -> None:
    assert list(programs_of_others(tmp_path / "none")) == []


@pytest.mark.parametrize("theirs", ["/run", ""])
def test_an_own_program_with_another_runtime_directory_is_found(tmp_path: Path, theirs: str) -> None:
    fake = tmp_path / "portway"
    fake.write_text("#!/bin/sh\necho ready\nwhile :; do sleep 0.1; done\n")
    fake.chmod(0o755)
    setting = [f"XDG_RUNTIME_DIR={theirs}"] if theirs else ["-u", "XDG_RUNTIME_DIR"]
    with pytest.MonkeyPatch.context() as patch, Program(["env", *setting, "/bin/sh", fake, "server"], name="portway") as program:
        program.expect("ready")
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert (program.pid, "server", theirs) in list(programs_elsewhere(shown=()))
        assert program.pid not in [pid for pid, _, _ in programs_elsewhere(shown={program.pid})]
        if theirs:
            patch.setenv("XDG_RUNTIME_DIR", theirs)
        else:
            patch.delenv("XDG_RUNTIME_DIR")
        assert program.pid not in [pid for pid, _, _ in programs_elsewhere(shown=())]


def test_a_program_whose_environment_is_hidden_is_found_without_its_directory(tmp_path: Path) -> None:
    folder = tmp_path / "12"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"/opt/portway/bin/python\0/opt/portway/bin/portway\0server\0")

    assert list(programs_elsewhere(shown=(), proc=tmp_path)) == [(12, "server", None)]
