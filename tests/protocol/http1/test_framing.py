"""Where bodies end."""

import pytest

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import CHUNKED, NO_BODY, UNTIL_END, body_for_visitor, parse_length, quoted, request_body, response_body


def test_a_request_without_framing_has_no_body() -> None:
    assert request_body(None, None, 11) == NO_BODY
    assert response_body(200, b"GET", None, None, 11) == UNTIL_END


@pytest.mark.parametrize(
    ("length", "coding", "version"),
    [
        (b"1", b"chunked", 11),
        (None, b"chunked", 10),
        (None, b"gzip", 11),
        (None, b"", 11),
        (None, b"chunked\nchunked", 11),
        (b"1\n1", None, 11),
    ],
)
def test_framing_that_two_readers_could_read_differently_is_refused(length: bytes | None, coding: bytes | None, version: int) -> None:
    with pytest.raises(MessageError):
        request_body(length, coding, version)
    with pytest.raises(MessageError):
        response_body(200, b"GET", length, coding, version)
    with pytest.raises(MessageError):
        response_body(204, b"GET", length, coding, version)


@pytest.mark.parametrize("digits", [b"", b"+1", b"-1", b" 1", b"1 ", b"1_0", b"0x1", b"1.0", b"\xb2", b"1\n", b"1" * 20, b"\xd9\xa5"])
def test_a_length_is_ascii_digits_and_nothing_else(digits: bytes) -> None:
    with pytest.raises(MessageError):
        parse_length(digits)


def test_a_length_may_have_19_digits() -> None:
    assert parse_length(b"9" * 19) == 9_999_999_999_999_999_999
    assert parse_length(b"007") == 7


@pytest.mark.parametrize(
    ("body", "version", "goes_on"),
    [(7, 10, 7), (7, 11, 7), (CHUNKED, 11, CHUNKED), (CHUNKED, 10, UNTIL_END), (UNTIL_END, 11, CHUNKED), (UNTIL_END, 10, UNTIL_END)],
)
def test_a_visitor_gets_the_best_framing_that_its_version_knows(body: int, version: int, goes_on: int) -> None:
    assert body_for_visitor(body, version) == goes_on


def test_wire_bytes_are_shown_short_and_escaped() -> None:
    assert quoted(b"a\x00\n") == "'a\\x00\\n'"
    assert len(quoted(b"x" * 1000)) < 50
