"""Reads a secret that is pasted into a terminal: without echo, and complete even if it is wrapped into several lines."""

import os
import select
import sys
import termios

import click

MORE_S = 0.3
"""Wait for TIME after a line break for the rest of a paste: a terminal sends it at once, a slow network in pieces."""

PASTE_BYTES_MAX = 64 * 1024
"""A join string has about 200."""

_ERASE, _CLEAR, _END = b"\x7f\x08", b"\x15", b"\x04"
_BRACKETS = (b"\x1b[200~", b"\x1b[201~")
"""Bracketed paste: some terminals enclose pasted text in these."""


def prompt_for_paste(question: str) -> str:
    """Prompt on stderr, and return the text typed or pasted on stdin, a terminal, up to its last line break.

    `input` and `getpass` return the first line only; the shell would then run the rest of a wrapped secret as commands.

    Raises:
        click.Abort: the input ended before any text.
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
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # late input must not reach the shell
        click.echo(err=True)
    for bracket in _BRACKETS:
        pasted = pasted.replace(bracket, b"")
    return pasted.decode("ascii", "replace")


def _read(terminal: int) -> bytes:
    received = bytearray()
    while len(received) < PASTE_BYTES_MAX:
        if received.endswith((b"\n", b"\r")) and received.strip() and not select.select([terminal], [], [], MORE_S)[0]:
            break
        piece = os.read(terminal, 4096)
        for number in piece or _END:
            key = bytes((number,))
            if key in _ERASE:
                del received[-1:]
            elif key == _CLEAR:
                received.clear()
            elif key == _END:
                if not received.strip():
                    raise click.Abort
                return bytes(received)
            else:
                received += key
    return bytes(received)
