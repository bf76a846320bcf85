"""Where a head ends, and the lines in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import REQUEST_LIMITS, HeadBuffer, HeadLimits, parse_fields

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
NAMES = st.text("abcXYZ019-!~", min_size=1, max_size=10).map(str.encode)
VALUES = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b == 9 or (b >= 32 and b != 127)).strip(b" \t"))


@given(cuts=st.lists(st.integers(0, len(HEAD) + 5), max_size=8), follows=st.binary(max_size=5))
def test_a_head_is_found_wherever_it_was_cut(cuts: list[int], follows: bytes) -> None:
    wire = HEAD + follows
    buffer, found = HeadBuffer(), None
    at = 0
    for cut in [*sorted(cuts), len(wire)]:
        piece = wire[at:cut]
        if piece:
            found = buffer.feed(piece)
            at = cut
        if found is not None:
            break
    assert found == (HEAD, wire[len(HEAD) : at])


def test_a_head_may_be_as_long_as_the_bound_and_no_longer() -> None:
    def head(size: int) -> bytes:
        return HEAD[:-2] + b"B: " + b"x" * (size - len(HEAD) - 5) + b"\r\n\r\n"

    def feed(wire: bytes) -> tuple[bytes, bytes] | None:
        buffer, found = HeadBuffer(), None
        for at in range(0, len(wire), 1000):
            found = buffer.feed(wire[at : at + 1000])
        return found

    longest = head(REQUEST_LIMITS.bytes_max)
    assert feed(longest) == (longest, b"")
    with pytest.raises(MessageError) as caught:
        feed(head(REQUEST_LIMITS.bytes_max + 1))
    assert caught.value.code == "head_too_large"
    assert str(caught.value) == "a head of more than 98,304 bytes, the limit of this server (--max-request-head)"


def test_a_head_may_have_as_many_fields_and_bytes_as_the_limits_allow() -> None:
    limits = HeadLimits(200, 10, "--bytes", "--fields")

    def head(count: int, size: int) -> bytes:
        lines = b"A:\r\n" * (count - 1)
        return b"\r\n" + lines + b"B:" + b"x" * (size - len(lines) - 8) + b"\r\n\r\n"

    assert len(parse_fields(head(10, 200), 2, limits)) == 10
    for many, large, complaint in (
        (11, 100, "a head of 11 fields, at most 10 are accepted (--fields)"),
        (10, 201, "a head of more than 200 bytes, the limit of this server (--bytes)"),
    ):
        with pytest.raises(MessageError) as caught:
            parse_fields(head(many, large), 2, limits)
        assert (caught.value.code, str(caught.value)) == ("head_too_large", complaint)


def test_an_endless_start_line_is_a_target_too_long() -> None:
    with pytest.raises(MessageError) as caught:
        HeadBuffer().feed(b"GET /" + b"a" * REQUEST_LIMITS.bytes_max)
    assert caught.value.code == "target_too_long"


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1\n"], [b"GET / HTTP/1.1\r\nA: b", b"\n"], [b"\x16\x03\x01"], [b"\x00"], [b"\n"]])
def test_bytes_that_cannot_become_a_head_are_refused_at_once(pieces: list[bytes]) -> None:
    buffer = HeadBuffer()
    with pytest.raises(MessageError):
        for piece in pieces:
            assert buffer.feed(piece) is None


def test_a_line_end_that_was_cut_is_no_bare_lf() -> None:
    buffer = HeadBuffer()
    assert buffer.feed(b"GET / HTTP/1.1\r") is None
    assert buffer.feed(b"\nA: b\r\n\r") is None
    assert buffer.feed(b"\nrest") == (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", b"rest")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=20))
def test_fields_are_read_as_they_were_written(fields: list[tuple[bytes, bytes]]) -> None:
    fields = [(b"X" + name, value) for name, value in fields]
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"%b: %b \t\r\n" % field for field in fields) + b"\r\n"
    assert parse_fields(head, 16) == fields


def test_white_space_around_values_is_removed_and_inside_is_not() -> None:
    assert parse_fields(b"\r\nA:\t b c\t d \r\nB:\r\nC: \r\n\r\n", 2) == [(b"A", b"b c\t d"), (b"B", b""), (b"C", b"")]


@pytest.mark.parametrize(
    "block", [b"A: b\n", b"A: b\rc\r\n", b"A: b\r\r\n", b"A: b\r\n c\r\n", b" A: b\r\n", b"A : b\r\n", b": b\r\n", b"A\r\n", b"A: \x00\r\n"]
)
def test_a_line_that_is_not_one_field_is_refused(block: bytes) -> None:
    with pytest.raises(MessageError):
        parse_fields(b"\r\n" + block + b"\r\n", 2)


@pytest.mark.parametrize("block", [b"A: b\rc\r\n", b"A: b\nc: d\r\n", b"A: \x00\r\n", b"A: \x7f\r\n"])
def test_own_rules_are_checked_before_the_parser(block: bytes) -> None:
    with pytest.raises(MessageError, match="control byte"):
        parse_fields(b"\r\n" + block + b"\r\n", 2)
