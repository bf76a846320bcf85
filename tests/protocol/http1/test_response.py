"""Response heads: an origin is not trusted more than a visitor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import END_OF_HEAD, HeadBuffer
from portway.protocol.http1.framing import CHUNKED, NO_BODY, UNTIL_END
from portway.protocol.http1.response import ResponseHead, parse_response_head
from portway.protocol.http1.upgrade import check_switch
from tests.protocol.http1.corpus import HostileResponse, hostile_responses

CORPUS = hostile_responses()


def final_head(wire: bytes, method: bytes) -> ResponseHead:
    """Read heads as the edge does, up to the final one."""
    for _ in range(10):
        at = wire.find(END_OF_HEAD)
        if at < 0:
            HeadBuffer().feed(wire)
            raise AssertionError("the head is incomplete")
        head = parse_response_head(wire[: at + 4], method)
        if head.status == 101:
            check_switch(None, head.upgrade, whole=True)
        if head.status >= 200:
            return head
        wire = wire[at + 4 :]
    raise AssertionError("too many interim answers")


@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_a_hostile_response_is_refused_and_a_valid_one_passes(case: HostileResponse) -> None:
    if case.outcome == "bad":
        with pytest.raises(MessageError):
            final_head(case.wire, case.method)
    else:
        assert final_head(case.wire, case.method).status == int(case.outcome[5:])


@pytest.mark.parametrize(
    ("status", "method", "fields", "body", "length"),
    [
        (200, b"GET", b"Content-Length: 5\r\n", 5, 5),
        (200, b"GET", b"Content-Length: 0\r\n", NO_BODY, 0),
        (200, b"GET", b"Transfer-Encoding: chunked\r\n", CHUNKED, None),
        (200, b"GET", b"", UNTIL_END, None),
        (200, b"HEAD", b"Content-Length: 5\r\n", NO_BODY, 5),
        (200, b"HEAD", b"", NO_BODY, None),
        (304, b"GET", b"Content-Length: 5\r\n", NO_BODY, 5),
        (204, b"GET", b"Content-Length: 5\r\n", NO_BODY, None),
        (103, b"GET", b"Content-Length: 5\r\n", NO_BODY, None),
        (404, b"POST", b"", UNTIL_END, None),
    ],
)
def test_a_body_ends_according_to_status_method_and_fields(
    status: int, method: bytes, fields: bytes, body: int, length: int | None
) -> None:
    head = parse_response_head(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), method)
    assert (head.body, head.length) == (body, length)


def test_fields_of_the_edge_and_of_this_hop_are_removed() -> None:
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nPORTWAY-ERROR: x\r\nPortway_Error: y\r\nA: 1\r\nConnection: gone, keep-alive\r\nGone: 1\r\nKeep-Alive: 5\r\n"
        b"Upgrade: h2c\r\nTrailer: t, Set-Cookie\r\nTrailer: Server-Timing\r\nTE: x\r\nProxy-Authenticate: y\r\nB: 2\r\nContent-Length: 0\r\n\r\n",
        b"GET",
    )
    assert head.fields == [(b"A", b"1"), (b"B", b"2")]
    assert head.trailer == b"t, Server-Timing"


@pytest.mark.parametrize(
    ("start", "connection", "keeps"),
    [(b"1.1", b"", True), (b"1.1", b"Connection: close\r\n", False), (b"1.0", b"", False), (b"1.0", b"Connection: keep-alive\r\n", True)],
)
def test_an_origins_connection_is_kept_according_to_its_fields(start: bytes, connection: bytes, keeps: bool) -> None:
    assert parse_response_head(b"HTTP/" + start + b" 200 OK\r\nContent-Length: 0\r\n" + connection + b"\r\n", b"GET").keep_alive is keeps


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else(noise: bytes) -> None:
    for wire in (noise + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n", b"HTTP/1.1 " + noise + b"\r\n\r\n"):
        try:
            head = parse_response_head(wire[: wire.find(END_OF_HEAD) + 4], b"GET")
        except MessageError:
            continue
        assert 100 <= head.status <= 599
