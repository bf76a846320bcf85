"""Formats text for terminals: escaping, colours, alignment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CUT = "..."


def escape(text: str, chars_max: int = 0) -> str:
    r"""Return `text` without characters that a terminal would interpret or that would hide text.

    Control characters, lone surrogates and marks of writing direction are escaped, as in `\x1b`.
    Longer text is cut to `chars_max` (0: never).
    """
    shown = text if not chars_max else text[: chars_max + 1]  # escaping never shortens a character
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else _escaped(char) for char in shown)
    return shown if not chars_max or len(shown) <= chars_max else shown[: chars_max - len(CUT)] + CUT


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Style:
    """Text styles, with or without colours."""

    colours: bool

    @classmethod
    def of(cls, descriptor: int, environ: Mapping[str, str] = os.environ) -> "Style":
        """Return the style for a descriptor: colours on a terminal, unless NO_COLOR or TERM=dumb is set."""
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        return cls(is_terminal(descriptor) and not plain)

    def bold(self, text: str) -> str:
        """Return text for the most important part."""
        return self._coloured("1", text)

    def dim(self, text: str) -> str:
        """Return text for the least important part."""
        return self._coloured("2", text)

    def good(self, text: str) -> str:
        """Return text for a success."""
        return self._coloured("32", text)

    def warn(self, text: str) -> str:
        """Return text for a warning."""
        return self._coloured("33", text)

    def bad(self, text: str) -> str:
        """Return text for an error."""
        return self._coloured("31", text)

    def status(self, code: int) -> str:
        """Return an HTTP status, coloured by its class."""
        text = f"{code:03d}"
        if code >= 500:
            return self.bad(text)
        if code >= 400:
            return self.warn(text)
        return self.good(text) if 200 <= code < 300 else text

    def _coloured(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours else text


def is_terminal(descriptor: int) -> bool:
    """Return whether this descriptor is a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def table(rows: Sequence[tuple[str, ...]], indent: str = "") -> list[str]:
    """Return rows with their columns aligned, two spaces apart."""
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
