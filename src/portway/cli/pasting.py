"""Takes a secret that is pasted into a terminal: not shown, and whole, however many lines it was wrapped into."""

import os
import select
import sys
import termios

import click

MORE_S = 0.3
"""How long after a line break more of the same paste may come: a terminal passes it on in one go, a slow network in pieces."""

PASTE_BYTES_MAX = 64 * 1024
"""A join string has 200."""

_ERASE, _CLEAR, _END = b"\x7f\x08", b"\x15", b"\x04"
_BRACKETS = (b"\x1b[200~", b"\x1b[201~")
"""What some terminals put around what is pasted."""


def ask_pasted(question: str) -> str:
    """Ask on stderr, and return what is typed or pasted on stdin, a terminal, up to the last line break.

    `input` and its kin return the first line; the rest of a wrapped secret would be taken for commands by the shell afterwards.

    Raises:
        click.Abort: nothing came before the end of the input.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
        click.echo(f"{question}: ", nl=False, err=True)
        pasted = _read(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # what comes too late must not reach the shell
        click.echo(err=True)
    for bracket in _BRACKETS:
        pasted = pasted.replace(bracket, b"")
    return pasted.decode("ascii", "replace")


def _read(terminal: int) -> bytes:
    taken = bytearray()
    while len(taken) < PASTE_BYTES_MAX:
        if taken.endswith((b"\n", b"\r")) and taken.strip() and not select.select([terminal], [], [], MORE_S)[0]:
            break
        piece = os.read(terminal, 4096)
        for number in piece or _END:
            key = bytes((number,))
            if key in _ERASE:
                del taken[-1:]
            elif key == _CLEAR:
                taken.clear()
            elif key == _END:
                if not taken.strip():
                    raise click.Abort
                return bytes(taken)
            else:
                taken += key
    return bytes(taken)
