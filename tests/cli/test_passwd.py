"""`portway passwd`: passwords typed or read, and files that are old or new."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portway.credentials.password_file import read_users
from portway.protocol.password_hash import parse_password_hash
from tests.cli.conftest import Portway


def test_a_password_from_standard_input_is_added_changed_and_removed(portway: Portway, tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    added = portway("passwd", str(file), "ann", input="sesame\nsecond line\n")
    assert (added.exit_code, added.stdout) == (0, "")
    assert "ann added to" in added.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ((name, first),) = read_users(file)
    assert name == "ann"
    assert parse_password_hash(first).matches(b"sesame")

    assert portway("passwd", str(file), "bob", input="u\u0308ber").exit_code == 0
    assert parse_password_hash(dict(read_users(file))["bob"]).matches("\u00fcber".encode()), "composed, as browsers send it"
    changed = portway("passwd", str(file), "ann", input="other")
    assert "ann changed in" in changed.stderr
    assert [name for name, _ in read_users(file)] == ["ann", "bob"]
    assert parse_password_hash(read_users(file)[0][1]).matches(b"other")

    assert portway("passwd", str(file), "ann", "--delete").exit_code == 0
    assert [name for name, _ in read_users(file)] == ["bob"]
    missing = portway("passwd", str(file), "ann", "--delete")
    assert missing.exit_code == 2
    assert "unknown user 'ann'" in missing.stderr


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("a:b", "x", "user name 'a:b'"),
        ("ann", "", "password of 0 bytes"),
        ("ann", "x" * 2000, "password of 2000 bytes"),
    ],
)
def test_what_is_invalid_leaves_no_file(portway: Portway, tmp_path: Path, user: str, password: str, message: str) -> None:
    done = portway("passwd", str(tmp_path / "users.txt"), user, input=password)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_typed_password_is_asked_for_twice_and_not_echoed(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "portway", "passwd", str(file), "ann"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as program:
        os.close(theirs)
        shown = b""
        for asked, typed in (
            (b"Password of ann: ", b"sesame\n"),
            (b"again: ", b"sesamo\n"),
            (b"Password of ann: ", b"sesame\n"),
            (b"again: ", b"sesame\n"),
        ):
            shown = b""
            while not shown.endswith(asked):
                shown += os.read(ours, 1000)
            os.write(ours, typed)
        shown = b""
        while b"added to" not in shown:
            shown += os.read(ours, 1000)
        assert program.wait(10) == 0
    os.close(ours)
    assert b"sesam" not in shown
    assert parse_password_hash(read_users(file)[0][1]).matches(b"sesame")
