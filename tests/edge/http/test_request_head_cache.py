"""A repeated request head gives the same result as parsing it, and no other head does."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.edge.http.head_cache import CACHED_HEAD_BYTES_MAX, CachedRequest, RequestHeadCache, derive_request
from portway.protocol.http1.errors import MessageError

HEAD = b"GET /a?b HTTP/1.1\r\nHost: a.localhost\r\nX-Y: z\r\n\r\n"


def head_of(*fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def outcome(parse: Callable[[bytes], CachedRequest], head: bytes) -> object:
    """Return what is understood, or how the head is refused."""
    try:
        asked = parse(head)
    except MessageError as exc:
        return exc.code, str(exc)
    return asked


def test_what_follows_from_a_head() -> None:
    asked = RequestHeadCache().parse(b"DELETE /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    assert (asked.method, asked.path, asked.bodyless, asked.repeatable, asked.shareable) == ("DELETE", "/a?b", False, False, False)
    assert asked.take_lines() == b"DELETE /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n"


def test_a_head_is_remembered_from_the_second_time_on() -> None:
    before = RequestHeadCache()
    first, second, third = (before.parse(HEAD) for _ in range(3))
    assert first is not second
    assert second is third


def test_a_head_that_is_alike_but_for_its_target_is_understood_by_it() -> None:
    before = RequestHeadCache()
    seed = [before.parse(HEAD) for _ in range(2)][1]
    for target in (b"/", b"/b", b"//a?b?c", b"/" + b"x" * 2000, b"/%00~"):
        asked = before.parse(HEAD.replace(b"/a?b", target))
        assert (asked.request.host is seed.request.host) == (asked.long is None), "understood by what is known"
        assert asked == derive_request(HEAD.replace(b"/a?b", target))
        seed = [before.parse(HEAD) for _ in range(2)][1]


@pytest.mark.parametrize("seed", [b"http://a.localhost/a", b"HTTP://a.localhost/", b"https://a.localhost:80/a?b"])
def test_an_absolute_target_is_remembered_with_its_host(seed: bytes) -> None:
    before = RequestHeadCache()
    head = HEAD.replace(b"/a?b", seed)
    known = [before.parse(head) for _ in range(2)][1]
    assert before.parse(head) is known
    authority = seed[: seed.index(b"/", 8)]
    other = HEAD.replace(b"/a?b", authority + b"/other?c")
    assert before.parse(other) == derive_request(other)
    assert before.parse(other).request.host is known.request.host, "understood by what is known"
    for hostile in (authority + b".evil/a", authority + b"@evil/", authority + b":1/", authority + b"?x", authority, b"http://b/", b"/a"):
        other = HEAD.replace(b"/a?b", hostile)
        for _ in range(2):
            assert outcome(before.parse, head) == outcome(derive_request, head)
            assert outcome(before.parse, other) == outcome(derive_request, other)


TARGETS = [
    b"*",
    b"http://a.localhost/a?b",
    b"http://b.localhost/a?b",
    b"a",
    b"",
    b"/a b",
    b"/a#",
    b"/\x7f",
    b"/\xe9",
    b"/ HTTP/1.1\r\nA: b\r\n",
]


def test_a_path_after_another_form_is_a_path() -> None:
    before = RequestHeadCache()
    for target in (b"http://a.localhost/a", b"http://a.localhost/a", b"/b", b"http://a.localhost/a", b"/b"):
        head = HEAD.replace(b"/a?b", target)
        assert before.parse(head) == derive_request(head)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_is_no_path_is_judged_with_its_head(target: bytes) -> None:
    before = RequestHeadCache()
    for _ in range(2):
        for head in (HEAD, HEAD, HEAD.replace(b"/a?b", target), HEAD.replace(b"/a?b", target)):
            assert outcome(before.parse, head) == outcome(derive_request, head)


@pytest.mark.parametrize(
    "start",
    [
        b"POST /a?b HTTP/1.1",
        b"PUT /a?b HTTP/1.1",
        b"GET /a?b HTTP/1.0",
        b"G /a?b HTTP/1.1",
        b"GET  /a?b HTTP/1.1",
        b"\r\nGET /a?b HTTP/1.1",
    ],
)
def test_another_method_or_version_is_read(start: bytes) -> None:
    before = RequestHeadCache()
    for head in (HEAD, HEAD, HEAD.replace(b"GET /a?b HTTP/1.1", start), HEAD):
        assert outcome(before.parse, head) == outcome(derive_request, head)


def test_another_head_is_read_and_ends_the_memory_of_the_first() -> None:
    before = RequestHeadCache()
    second = [before.parse(HEAD) for _ in range(2)][1]
    assert before.parse(HEAD.replace(b"X-Y: z", b"X-Y: Z")).take_lines().endswith(b"X-Y: Z\r\n")
    assert before.parse(HEAD) is not second


@given(st.lists(st.integers(0, len(HEAD) - 1), max_size=12), st.integers(0, 255))
def test_a_head_that_differs_in_one_byte_is_judged_by_itself(places: list[int], byte: int) -> None:
    before = RequestHeadCache()
    for place in (*places, *places):
        for head in (HEAD, HEAD, HEAD, HEAD[:place] + bytes([byte]) + HEAD[place + 1 :]):
            assert outcome(before.parse, head) == outcome(derive_request, head)


@pytest.mark.parametrize(
    ("head", "remembered"),
    [
        (head_of(b"A: " + b"x" * (CACHED_HEAD_BYTES_MAX - len(head_of(b"A: ")))), True),
        (head_of(b"A: " + b"x" * (CACHED_HEAD_BYTES_MAX - len(head_of(b"A: ")) + 1)), False),
    ],
)
def test_only_short_heads_are_remembered(head: bytes, remembered: bool) -> None:
    before = RequestHeadCache()
    _, second, third = (before.parse(head) for _ in range(3))
    assert (second is third) == remembered


def test_a_wrong_head_stays_wrong() -> None:
    before = RequestHeadCache()
    for _ in range(3):
        with pytest.raises(MessageError):
            before.parse(b"GET / HTTP/1.1\r\n\r\n")
