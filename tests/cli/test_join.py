"""`portway join`: takes the string from stdin, a prompt, a file or the environment, and keeps it."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from portway.agent.joining import find_join
from tests.cli.conftest import Portway

JOIN = "portway://abc." + "S3cret" * 7 + "@example.org:4443"


@pytest.fixture
def data(home: Path) -> Path:
    return home / "XDG_DATA_HOME" / "portway"


def test_what_comes_on_stdin_is_kept(portway: Portway, data: Path) -> None:
    done = portway("join", input=f"{JOIN}\n")

    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"Kept in {data / 'agent-join'}. Next: portway http 3000\n"
    assert str(find_join(None, {}, data)) == JOIN


def test_a_file_or_the_environment_does_as_well(portway: Portway, data: Path, home: Path) -> None:
    file = home / "join"
    file.touch(0o600)
    file.write_text(JOIN.replace("example", "filed"))

    assert portway("join", "--join-file", str(file)).exit_code == 0
    assert find_join(None, {}, data).host == "filed.org"
    assert portway("join", env={"PORTWAY_JOIN": JOIN}).exit_code == 0
    assert find_join(None, {}, data).host == "example.org"


def test_nonsense_is_refused_and_nothing_is_kept(portway: Portway, data: Path) -> None:
    done = portway("join", input="hello\n")

    assert done.exit_code == 2
    assert "this is no join string" in done.stderr
    assert not data.exists()


def test_on_the_command_line_it_is_refused_with_the_reason(portway: Portway, data: Path) -> None:
    done = portway("join", JOIN)

    assert done.exit_code == 2
    assert "can be seen by everybody on this machine" in done.stderr
    assert not data.exists()


def test_at_a_terminal_it_asks_and_does_not_show_what_is_typed(home: Path, data: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "portway", "join"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as program:
        os.close(theirs)
        said = b""
        while b"not shown" not in said:
            said += os.read(ours, 1000)
        os.write(ours, JOIN.encode() + b"\n")
        while b"Kept in" not in said:
            said += os.read(ours, 1000)
        assert program.wait(10) == 0
    os.close(ours)

    assert b"S3cret" not in said
    assert str(find_join(None, {}, data)) == JOIN
