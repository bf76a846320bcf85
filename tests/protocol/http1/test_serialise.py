"""The one writer of heads."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import MisuseError
from portway.protocol.http1.forwarding import forwarded_fields
from portway.protocol.http1.framing import CHUNKED, UNTIL_END
from portway.protocol.http1.request import parse_request_head
from portway.protocol.http1.response import parse_response_head
from portway.protocol.http1.serialise import field_lines, interim_bytes, own_response_bytes, request_lines, response_bytes

OWN = forwarded_fields(["192.0.2.1"], b"a.localhost", "http")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def forwarded(wire: bytes, *, close: bool = False) -> bytes:
    return request_lines(parse_request_head(wire), close=close) + field_lines(OWN) + b"\r\n"


def test_a_request_is_written_in_one_form() -> None:
    sent = b"POST http://a.localhost/x HTTP/1.0\r\nB: 2\r\nhost: a.localhost\r\nContent-Length: 005\r\nConnection: B2, Keep-Alive\r\nB2: 3\r\nX-Forwarded-For: 6\r\n\r\n"
    assert forwarded(sent) == (
        b"POST /x HTTP/1.1\r\nHost: a.localhost\r\nB: 2\r\nContent-Length: 5\r\nX-Forwarded-For: 192.0.2.1\r\n"
        b'X-Forwarded-Host: a.localhost\r\nX-Forwarded-Proto: http\r\nForwarded: for=192.0.2.1;host="a.localhost";proto=http\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("start", "fields", "expected"),
    [
        (b"GET / HTTP/1.1", b"", None),
        (b"GET / HTTP/1.1", b"Content-Length: 0\r\n", None),
        (b"POST / HTTP/1.1", b"", b"Content-Length: 0"),
        (b"PUT / HTTP/1.1", b"Content-Length: 7\r\n", b"Content-Length: 7"),
        (b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked"),
    ],
)
def test_a_request_has_its_framing_once(start: bytes, fields: bytes, expected: bytes | None) -> None:
    lines = forwarded(start + b"\r\nHost: a.localhost\r\n" + fields + b"\r\n").split(b"\r\n")
    found = [line for line in lines if line.lower().startswith((b"content-length", b"transfer-encoding"))]
    assert found == ([expected] if expected else [])


def test_a_connection_that_is_not_reused_has_close() -> None:
    wire = b"DELETE / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\n\r\n"
    assert b"\r\nConnection: close\r\n" in forwarded(wire, close=True)
    assert b"Connection" not in forwarded(wire)


def test_expect_and_upgrade_are_written_anew() -> None:
    assert b"\r\nExpect: 100-continue\r\n" in forwarded(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\nContent-Length: 1\r\n\r\n")
    upgraded = forwarded(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, upgrade\r\nX: 1\r\nUpgrade: h2c, websocket\r\n" + KEY + b"\r\n")
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in upgraded
    assert b"h2c" not in upgraded
    assert KEY in upgraded


@pytest.mark.parametrize(
    ("fields", "close", "connection"),
    [(b"", False, b"TE"), (b"", True, b"TE, close"), (b"Connection: Upgrade\r\nUpgrade: tcp\r\n", False, b"TE, Upgrade")],
)
def test_accepted_trailers_are_announced_to_the_next_hop(fields: bytes, close: bool, connection: bytes) -> None:
    lines = forwarded(b"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n" + fields + b"\r\n", close=close).split(b"\r\n")
    assert [line for line in lines if line.startswith((b"TE:", b"Connection:"))] == [b"TE: trailers", b"Connection: " + connection]


def answer(wire: bytes, method: bytes = b"GET") -> bytes:
    head = parse_response_head(wire, method)
    return response_bytes(head, head.body, keep_alive=True)


def test_a_response_is_written_in_one_form() -> None:
    sent = b"HTTP/1.0 404 Nothing here\r\nconnection: keep-alive, a\r\nA: 1\r\nserver: x\r\nContent-Length: 03\r\nPortway-Error: y\r\n\r\n"
    assert answer(sent) == b"HTTP/1.1 404 Nothing here\r\nserver: x\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "keep_alive", "version", "added"),
    [
        (CHUNKED, True, 11, b"Transfer-Encoding: chunked\r\n"),
        (CHUNKED, False, 11, b"Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        (UNTIL_END, False, 10, b"Connection: close\r\n"),
    ],
)
def test_a_response_of_unknown_length_has_its_framing(body: int, keep_alive: bool, version: int, added: bytes) -> None:
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET")
    assert response_bytes(head, body, keep_alive=keep_alive, version=version) == b"HTTP/1.1 200 OK\r\n" + added + b"\r\n"


def test_an_http_1_0_visitor_gets_keep_alive() -> None:
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"GET")
    assert b"\r\nConnection: keep-alive\r\n" in response_bytes(head, 3, keep_alive=True, version=10)


def test_a_response_to_head_and_a_304_keep_their_length() -> None:
    assert b"\r\nContent-Length: 5\r\n" in answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HEAD")
    assert b"\r\nContent-Length: 5\r\n" in answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    assert (
        answer(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encodin: x\r\n\r\n")
        == b"HTTP/1.1 204 No Content\r\nTransfer-Encodin: x\r\n\r\n"
    )


def test_interim_responses_have_no_framing_and_a_switch_names_its_protocol() -> None:
    early = parse_response_head(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 4\r\nConnection: Link2\r\nLink2: x\r\n\r\n", b"GET"
    )
    assert interim_bytes(early) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    switch = parse_response_head(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n", b"GET")
    assert interim_bytes(switch) == b"HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nB: c", b"a\nb", b"a\rb", b"a\x00", b"\x7f", b"a\r\n\r\n"])
def test_a_line_break_or_control_byte_never_gets_out(value: bytes) -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for broken in (
        head._replace(target=b"/" + value),
        head._replace(host=value),
        head._replace(fields=[(b"A", value)]),
        head._replace(fields=[(value, b"")]),
    ):
        with pytest.raises(MisuseError):
            request_lines(broken)
    with pytest.raises(MisuseError):
        field_lines([(b"A", value)])
    with pytest.raises(MisuseError):
        own_response_bytes(200, value, [])


NAMES = st.text("abcXYZ019-", min_size=1, max_size=10).map(lambda name: b"X-" + name.encode())
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20).map(
    lambda value: value.encode("latin-1").strip(b" \t")
)


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=15), length=st.integers(0, 10**6))
def test_serialised_heads_parse_the_same_and_a_second_parser_agrees(fields: list[tuple[bytes, bytes]], length: int) -> None:
    wire = b"POST /a HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: %d\r\n%b\r\n" % (
        length,
        b"".join(b"%b: %b\r\n" % field for field in fields),
    )
    once = parse_request_head(wire)
    written = request_lines(once) + b"\r\n"
    assert parse_request_head(written) == once
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(written)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    names = {name.lower() for name, _ in fields}
    assert [field for field in event.headers if field[0] in names] == [
        (name.lower(), value) for name, value in fields if not name.lower().startswith(b"x-forwarded-")
    ]


def test_trailers_are_announced_to_visitors_that_can_receive_them() -> None:
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Cookie\r\n\r\n", b"GET")
    assert b"\r\nTrailer: X-Sum\r\n" in response_bytes(head, CHUNKED, keep_alive=True)
    assert b"Trailer" not in response_bytes(head, UNTIL_END, keep_alive=False, version=10)
