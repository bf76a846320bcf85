"""Programs of other users, found in the kernel's list."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from portway.cli.others import programs_of_others
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
