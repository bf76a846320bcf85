"""A repeated response head gives the same result as parsing it, except after HEAD."""

import pytest

from portway.edge.http.head_cache import CACHED_FIELDS_MAX, CACHED_HEAD_BYTES_MAX, CACHED_RESPONSES_MAX, ResponseHeadCache
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.rewriting import HeadRewriter

PLAIN = HeadRewriter("app.localhost", "localhost")
HEAD = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 3\r\n\r\n"


def test_a_head_is_remembered() -> None:
    before = ResponseHeadCache(PLAIN)
    assert before.parse(HEAD, b"GET") is before.parse(HEAD, b"POST")


def test_a_head_that_differs_in_one_byte_is_read() -> None:
    before = ResponseHeadCache(PLAIN)
    before.parse(HEAD, b"GET")
    assert before.parse(HEAD.replace(b": 3", b": 4"), b"GET").response.body == 4
    with pytest.raises(MessageError):
        before.parse(HEAD.replace(b": 3", b": x"), b"GET")
    assert before.parse(HEAD, b"GET").response.body == 3


def test_the_same_bytes_mean_something_else_after_head() -> None:
    before = ResponseHeadCache(PLAIN)
    for _ in range(2):
        assert before.parse(HEAD, b"GET").response.body == 3
        assert before.parse(HEAD, b"HEAD").response.body == NO_BODY
        assert before.parse(HEAD, b"HEAD").response.length == 3


def test_each_visitor_gets_the_fields_of_its_connection() -> None:
    answered = ResponseHeadCache(PLAIN).parse(HEAD, b"GET")
    for _ in range(2):
        assert answered.head(11, keep_alive=True) == HEAD
        assert answered.head(11, keep_alive=False) == HEAD[:-2] + b"Connection: close\r\n\r\n"
        assert answered.head(10, keep_alive=True) == HEAD[:-2] + b"Connection: keep-alive\r\n\r\n"
        assert answered.head(10, keep_alive=False) == HEAD[:-2] + b"Connection: close\r\n\r\n"


def test_a_body_without_length_is_framed_for_each_version() -> None:
    answered = ResponseHeadCache(PLAIN).parse(b"HTTP/1.1 200 OK\r\n\r\n", b"GET")
    assert b"Transfer-Encoding: chunked" in answered.head(11, keep_alive=True)
    assert b"Transfer-Encoding" not in answered.head(10, keep_alive=False)


def test_few_heads_are_remembered_the_latest_ones() -> None:
    before = ResponseHeadCache(PLAIN)
    heads = [HEAD.replace(b"Date: x", b"Date: %d" % turn) for turn in range(CACHED_RESPONSES_MAX * 3)]
    said = [before.parse(head, b"GET") for head in heads]
    assert len(before._known) == CACHED_RESPONSES_MAX
    again = [before.parse(head, b"GET") is answered for head, answered in zip(heads[::-1], said[::-1], strict=True)]
    assert again[:CACHED_RESPONSES_MAX] == [True] * CACHED_RESPONSES_MAX
    assert not any(again[CACHED_RESPONSES_MAX:])


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        HEAD[:-2] + b"X: " + b"x" * CACHED_HEAD_BYTES_MAX + b"\r\n\r\n",
        HEAD[:-2] + b"X:\r\n" * CACHED_FIELDS_MAX + b"\r\n",
    ],
)
def test_interim_and_long_heads_are_not_remembered(head: bytes) -> None:
    before = ResponseHeadCache(PLAIN)
    assert before.parse(head, b"GET") is not before.parse(head, b"GET")
