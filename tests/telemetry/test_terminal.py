"""Text for terminals contains no control characters."""

import os

from hypothesis import given
from hypothesis import strategies as st

from portway.telemetry.terminal import Style, escape, table


def test_control_characters_are_escaped() -> None:
    assert escape("/a\x1b[2J\r\n\x9b1m") == r"/a\x1b[2J\r\n\x9b1m"
    assert escape("/abc\u202etxt.exe") == r"/abc\u202etxt.exe"
    assert escape("\udce9") == r"\udce9"


def test_harmless_text_is_unchanged() -> None:
    assert escape("/grüße/日本?x=1&y=ä") == "/grüße/日本?x=1&y=ä"


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert escape("a" * 10, 10) == "a" * 10
    assert escape("a" * 11, 10) == "aaaaaaa..."
    assert escape("\x00" * 11, 10) == r"\x00\x0..."


@given(st.text(st.characters()), st.integers(4, 50))
def test_the_result_is_printable_and_short(text: str, chars_max: int) -> None:
    assert escape(text, chars_max).isprintable()
    assert len(escape(text, chars_max)) <= chars_max


def test_a_status_is_coloured_by_its_class() -> None:
    style = Style(colours=True)

    assert [style.status(code)[:5] for code in (200, 301, 404, 502)] == ["\x1b[32m", "301", "\x1b[33m", "\x1b[31m"]
    assert Style(colours=False).status(502) == "502"


def test_colours_are_only_for_terminals_that_allow_them() -> None:
    reader, writer = os.pipe()
    terminal, shell = os.openpty()

    assert not Style.of(writer, {}).colours
    assert Style.of(shell, {"TERM": "xterm"}).colours
    assert not Style.of(shell, {"TERM": "xterm", "NO_COLOR": "1"}).colours
    assert not Style.of(shell, {"TERM": "dumb"}).colours
    for descriptor in (reader, writer, terminal, shell):
        os.close(descriptor)
    assert not Style.of(writer, {}).colours


def test_tables_are_aligned() -> None:
    assert table([("a", "b"), ("ccc", "d")], indent=" ") == [" a    b", " ccc  d"]
    assert table([]) == []
