"""Request heads: refused ones, and forwarded parts of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.fields import END_OF_HEAD, HeadBuffer
from portway.protocol.http1.framing import CHUNKED, NO_BODY
from portway.protocol.http1.request import RequestHead, parse_request_head
from portway.protocol.names import normalise_host
from tests.protocol.http1.corpus import HostileRequest, hostile_requests

CORPUS = hostile_requests()
H = b"Host: a.localhost\r\n"


def head_of(wire: bytes) -> RequestHead | None:
    """Read a head as the edge does: search its end, parse, normalise the host. None: it is incomplete."""
    at = wire.find(END_OF_HEAD)
    if at < 0:
        HeadBuffer().feed(wire)
        return None
    head = parse_request_head(wire[: at + 4])
    normalise_host(head.host)
    return head


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 150
    assert len({case.name for case in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_a_hostile_head_is_refused_with_its_code_and_a_sound_one_passes(case: HostileRequest) -> None:
    if case.outcome[:3].isdigit():
        with pytest.raises(PeerError) as caught:
            head_of(case.wire)
        code = caught.value.code if isinstance(caught.value, MessageError) else "bad_request"
        assert code == case.outcome[4:]
    elif case.outcome == "wait":
        assert head_of(case.wire) is None
    else:
        assert head_of(case.wire) is not None


def test_a_head_is_parsed_as_it_was_sent() -> None:
    head = parse_request_head(b"POST /a?b HTTP/1.1\r\nAccept: x\r\nHost: A:1\r\nContent-Length: 5\r\nX-Y:  z \r\nAccept: y\r\n\r\n")
    assert head == RequestHead(b"POST", b"/a?b", 11, b"A:1", [(b"Accept", b"x"), (b"X-Y", b"z"), (b"Accept", b"y")], 5, True, False, None)
    assert head.value(b"accept") == b"x, y"
    assert head.value(b"none") == b""


def test_the_target_is_forwarded_unchanged() -> None:
    target = b'//a/..;/%2f%5c%00\\b?q={|}"<>^`[]&x=%zz'
    assert parse_request_head(b"GET " + target + b" HTTP/1.1\r\n" + H + b"\r\n").target == target


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        (b"GET http://a.localhost/x?y", b"/x?y"),
        (b"GET HTTPS://a.localhost:443", b"/"),
        (b"GET http://a.localhost?q", b"/?q"),
        (b"OPTIONS http://a.localhost", b"*"),
        (b"OPTIONS http://a.localhost/", b"/"),
    ],
)
def test_an_absolute_target_becomes_origin_form(sent: bytes, forwarded: bytes) -> None:
    assert parse_request_head(sent + b" HTTP/1.1\r\n" + H + b"\r\n").target == forwarded


@pytest.mark.parametrize(
    "rest", [b" HTTP/1.1\r\nHost: b.localhost\r\n", b" HTTP/1.1\r\nHost:\r\n", b" HTTP/1.0\r\n", b" HTTP/1.0\r\nHost: b\r\n"]
)
def test_an_absolute_target_determines_the_host(rest: bytes) -> None:
    assert parse_request_head(b"GET http://A.localhost:81/" + rest + b"\r\n").host == b"A.localhost:81"


RULES = FieldRules(server_id="portway-0123", via="edge.example")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", b"portway-0123"),
        (b"CDN-Loop: a; v=1, b\r\n", b"a; v=1, b, portway-0123"),
        (b"CDN-Loop: a\r\ncdn-loop: portway-0124\r\n", b"a, portway-0124, portway-0123"),
        (b"Connection: CDN-Loop, Via\r\n", b"portway-0123"),
        (b"CDN_Loop: portway-0123\r\n", b"portway-0123"),
    ],
)
def test_each_request_records_that_it_passed_this_server(sent: bytes, expected: bytes) -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\n" + H + sent + b"\r\n", RULES)
    assert head.fields == [(b"CDN-Loop", expected), (b"Via", b"1.1 edge.example")]


@pytest.mark.parametrize("sent", [b"portway-0123", b"a, portway-0123; x", b"a\r\nCDN-Loop: b, portway-0123"])
def test_a_request_that_has_been_here_is_refused(sent: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        parse_request_head(b"GET / HTTP/1.1\r\n" + H + b"CDN-Loop: " + sent + b"\r\n\r\n", RULES)
    assert caught.value.code == "loop_detected"


def test_via_is_forwarded_and_extended_only_if_configured() -> None:
    head = b"GET / HTTP/1.0\r\n" + H + b"Via: 1.1 first\r\n\r\n"
    assert parse_request_head(head, RULES).fields[::2] == [(b"Via", b"1.1 first"), (b"Via", b"1.0 edge.example")]
    assert parse_request_head(head, FieldRules(server_id="x")).fields == [(b"Via", b"1.1 first"), (b"CDN-Loop", b"x")]


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: Keep-Alive, CLOSE\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_according_to_version_and_connection(version: bytes, connection: bytes, keeps: bool) -> None:
    assert parse_request_head(b"GET / HTTP/" + version + b"\r\n" + H + connection + b"\r\n").keep_alive is keeps


def test_fields_of_this_hop_and_of_the_edge_are_not_forwarded() -> None:
    names = [
        *(b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"Proxy-Authenticate", b"TE", b"HTTP2-Settings"),
        *(b"Forwarded", b"X-Forwarded-For", b"x-forwarded-PROTO", b"X-FORWARDED-HOST", b"X-Forwarded-User", b"X-Forwarded-"),
        *(b"X-Real-IP", b"X-Client-IP", b"X-Cluster-Client-IP", b"True-Client-IP", b"X-Request-Start", b"Nominated", b"Upgrade"),
        *(b"X_Forwarded_For", b"SCRIPT_NAME", b"Remote_User", b"Proxy", b"Keep_Alive"),
    ]
    fields = b"".join(b"%b: 6.6.6.6\r\n" % name for name in names)
    head = parse_request_head(b"GET / HTTP/1.1\r\n" + H + fields + b"Connection: nominated, x\r\nCookie: a\r\n\r\n")
    assert head.fields == [(b"Cookie", b"a")]


def test_expect_is_met_only_where_a_body_waits() -> None:
    def expects(rest: bytes, version: bytes = b"1.1") -> bool:
        return parse_request_head(b"POST / HTTP/" + version + b"\r\n" + H + b"Expect: 100-continue\r\n" + rest + b"\r\n").expects_continue

    assert expects(b"Content-Length: 1\r\n")
    assert expects(b"Transfer-Encoding: chunked\r\n")
    assert not expects(b"")
    assert not expects(b"Content-Length: 1\r\n", b"1.0")


def test_an_upgrade_is_forwarded_according_to_connection_and_version() -> None:
    def upgrade(fields: bytes, version: bytes = b"1.1") -> bytes | None:
        return parse_request_head(b"GET / HTTP/" + version + b"\r\n" + H + fields + b"\r\n").upgrade

    assert upgrade(b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n") == b"WebSocket"
    assert upgrade(b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: tcp\r\n") == b"tcp"
    assert upgrade(b"Upgrade: websocket\r\n") is None
    assert upgrade(b"Connection: Upgrade\r\n") is None
    assert upgrade(b"Connection: Upgrade\r\nUpgrade: h2c\r\n") is None
    assert upgrade(b"Connection: Upgrade\r\nUpgrade: tcp\r\n", b"1.0") is None


def test_too_many_fields_are_refused() -> None:
    def head(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * (count - 1) + b"\r\n"

    assert len(parse_request_head(head(500)).fields) == 499
    with pytest.raises(MessageError) as caught:
        parse_request_head(head(501))
    assert caught.value.code == "head_too_large"


@pytest.mark.parametrize("byte", range(256))
def test_no_byte_in_a_name_or_target_slips_through(byte: int) -> None:
    """Every byte in every place once: it is refused, or allowed there by RFC 9110."""
    token = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    odd = bytes([byte])
    for place, allowed in (
        (b"GET / HTTP/1.1\r\n" + H + b"A%bB: c\r\n\r\n" % odd, token + b":"),
        (b"G%bT / HTTP/1.1\r\n" % odd + H + b"\r\n", token),
        (b"GET /%b HTTP/1.1\r\n" % odd + H + b"\r\n", bytes(set(range(0x21, 0x7F)) - {0x23})),
        (b"GET / HTTP/1.1\r\n" + H + b"A: b%bc\r\n\r\n" % odd, bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])),
    ):
        try:
            parse_request_head(place)
        except MessageError:
            assert byte not in allowed
        else:
            assert byte in allowed


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else(noise: bytes) -> None:
    for wire in (noise + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + H + noise + b"\r\n\r\n", b"GET " + noise + b" HTTP/1.1\r\n" + H + b"\r\n"):
        head = wire[: wire.find(END_OF_HEAD) + 4]
        try:
            found = parse_request_head(head)
        except MessageError:
            continue
        assert found.body >= CHUNKED
        assert found.target[:1] == b"/" or found.target == b"*"


def test_a_plain_get_has_no_body() -> None:
    assert parse_request_head(b"GET / HTTP/1.1\r\n" + H + b"\r\n").body == NO_BODY


@pytest.mark.parametrize("hosts", [b"", H + H, H + b"Host: b\r\n"])
def test_a_request_has_exactly_one_host(hosts: bytes) -> None:
    with pytest.raises(MessageError, match="exactly one"):
        parse_request_head(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")


@pytest.mark.parametrize(
    ("te", "wants"),
    [(b"trailers", True), (b"deflate, Trailers", True), (b"gzip\r\nTE: trailers", True), (b"trailers;q=0", False), (b"", False)],
)
def test_te_is_rewritten(te: bytes, wants: bool) -> None:
    def head(version: bytes) -> RequestHead:
        return parse_request_head(b"GET / HTTP/" + version + b"\r\n" + H + b"TE: " + te + b"\r\n\r\n")

    assert head(b"1.1").accepts_trailers is wants
    assert not head(b"1.0").accepts_trailers
    assert head(b"1.1").fields == []


def test_trailers_are_announced_as_far_as_they_go_on() -> None:
    sent = H + b"Trailer: X-Checksum, Host\r\nTrailer: x_forwarded_for, Grpc-Status\r\n\r\n"
    assert parse_request_head(b"POST / HTTP/1.1\r\n" + sent).fields == [(b"Trailer", b"X-Checksum, Grpc-Status")]
    assert parse_request_head(b"POST / HTTP/1.0\r\n" + sent).fields == []
