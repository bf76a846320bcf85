"""A secret that is pasted into a terminal arrives whole, is not shown, and nothing of it reaches the shell."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from portway.cli.pasting import MORE_S
from tests.kit.programs import SOURCES

ASK = """
import click, sys
from portway.cli.pasting import ask_pasted
try:
    print("got", ascii(ask_pasted("Secret")), flush=True)
except click.Abort:
    print("nothing", flush=True)
print("then", ascii(sys.stdin.readline()), flush=True)
"""


class Terminal:
    """A terminal with a program on it that asks, and what is seen there."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-c", ASK],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""
        self.until("Secret: ")

    def until(self, text: str) -> None:
        """Read until `text` is seen."""
        deadline = time.monotonic() + 20
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    one.program.kill()
    one.program.wait()
    os.close(one.ours)


@pytest.mark.parametrize(
    ("typed", "got"),
    [
        ("S3cret\n", r"'S3cret\n'"),
        ("S3cret\r", r"'S3cret\n'"),
        ("S3\nc\n  ret\n", r"'S3\nc\n  ret\n'"),
        ("\n\nS3cret\n", r"'\n\nS3cret\n'"),
        ("S3cr\x7f\x7f\x7f3cret\n", r"'S3cret\n'"),
        ("nonsense\x15S3cret\n", r"'S3cret\n'"),
        ("\x1b[200~S3cret\x1b[201~\n", r"'S3cret\n'"),
        ("S3cret\x04", r"'S3cret'"),
    ],
)
def test_all_of_it_arrives_and_is_not_shown(typed: str, got: str, terminal: Terminal) -> None:
    terminal.type(typed)
    terminal.until(f"got {got}")

    assert terminal.seen.count("3c") == got.count("3c")
    assert terminal.program.poll() is None


def test_the_end_of_a_paste_that_has_no_line_break_is_waited_for(terminal: Terminal) -> None:
    """In its usual mode a terminal hands over whole lines: the last one would stay behind until somebody presses Enter."""
    terminal.type("first half\nsecond half")
    time.sleep(3 * MORE_S)
    assert "got" not in terminal.seen
    terminal.type("\n")
    terminal.until(r"got 'first half\nsecond half\n'")


def test_what_comes_too_late_is_thrown_away_and_the_terminal_is_as_before(terminal: Terminal) -> None:
    terminal.type("S3cret\n")
    terminal.until("got")
    terminal.type("ls\n")
    terminal.until(r"then 'ls\n'")
    assert "ls\r\n" in terminal.seen.partition("got")[2], "what is typed is shown again"


def test_the_end_of_the_input_is_a_no(terminal: Terminal) -> None:
    terminal.type("\x04")
    terminal.until("nothing")
