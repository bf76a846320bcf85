"""Fields that are lists."""

from collections.abc import Callable

import pytest

from portway.protocol.http1.authentication import CHALLENGE_PARTS_MAX, continues_on_connection
from portway.protocol.http1.connection import connection_options
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.lists import MEMBERS_MAX, members
from portway.protocol.http1.rewriting import ATTRIBUTES_MAX, HeadRewriter
from portway.protocol.http1.trailers import accepts_trailers, allowed_trailer_names
from portway.protocol.http1.upgrade import allowed_protocols


def test_members_are_returned_without_white_space_and_empty_ones() -> None:
    assert members(b"a, b,,\tc d ,\ne") == [b"a", b"b", b"c d", b"e"]
    assert members(b"") == []


@pytest.mark.parametrize("reader", [connection_options, allowed_protocols, accepts_trailers, allowed_trailer_names])
@pytest.mark.parametrize("separator", [b",", b"\n"])
def test_a_list_has_an_end(reader: Callable[[bytes], object], separator: bytes) -> None:
    reader(separator.join([b"a"] * MEMBERS_MAX))
    reader(separator * (MEMBERS_MAX - 1))
    with pytest.raises(MessageError, match="256 members"):
        reader(separator.join([b"a"] * (MEMBERS_MAX + 1)))
    with pytest.raises(MessageError, match="256 members"):
        reader(separator * MEMBERS_MAX)


def test_challenges_beyond_all_measure_are_taken_for_the_worst() -> None:
    harmless = b"Basic realm=x, "
    assert not continues_on_connection([(b"WWW-Authenticate", harmless * 100)])
    assert continues_on_connection([(b"WWW-Authenticate", harmless * (CHALLENGE_PARTS_MAX + 2))])


def test_a_cookie_has_a_bounded_number_of_attributes() -> None:
    rewriter = HeadRewriter("app.example.org", "example.org")

    def rewritten(attributes: int) -> list[tuple[bytes, bytes]]:
        fields = [(b"Set-Cookie", b"a=b" + b"; Domain=example.org" * attributes)]
        return rewriter.response(b"set-cookie", fields)

    assert rewritten(ATTRIBUTES_MAX) == [(b"Set-Cookie", b"a=b")]
    with pytest.raises(MessageError, match="attributes"):
        rewritten(ATTRIBUTES_MAX + 1)
