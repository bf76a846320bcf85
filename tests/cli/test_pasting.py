"""A secret pasted into a terminal is read completely, is not echoed, and does not reach the shell."""

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
from portway.cli.pasting import prompt_for_paste
try:
    print("got", ascii(prompt_for_paste("Secret")), flush=True)
except click.Abort:
    print("nothing", flush=True)
print("then", ascii(sys.stdin.readline()), flush=True)
"""


class Terminal:
    """A terminal with a program that prompts, and what the terminal shows."""

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
def test_a_paste_is_read_completely_without_echo(typed: str, got: str, terminal: Terminal) -> None:
    terminal.type(typed)
    terminal.until(f"got {got}")

    assert terminal.seen.count("3c") == got.count("3c")
    assert terminal.program.poll() is None


def test_a_last_line_without_a_line_break_is_waited_for(terminal: Terminal) -> None:
    """In canonical mode a terminal passes on whole lines: the last one would be missing until Enter is pressed."""
    terminal.type("first half\nsecond half")
    time.sleep(3 * MORE_S)
    assert "got" not in terminal.seen
    terminal.type("\n")
    terminal.until(r"got 'first half\nsecond half\n'")


def test_late_input_is_discarded_and_the_terminal_restored(terminal: Terminal) -> None:
    terminal.type("S3cret\n")
    terminal.until("got")
    terminal.type("ls\n")
    terminal.until(r"then 'ls\n'")
    assert "ls\r\n" in terminal.seen.partition("got")[2], "typed text is echoed again"


def test_the_end_of_the_input_aborts(terminal: Terminal) -> None:
    terminal.type("\x04")
    terminal.until("nothing")
