"""HTTP/1.1: heads of requests and answers, and the chunked coding."""

from collections.abc import Callable

import h11
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.http1.chunked import ChunkDecoder
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import REQUEST_LIMITS, RESPONSE_LIMITS, HeadBuffer, HeadLimits, cut_head
from portway.protocol.http1.request import RequestHead, parse_request_head
from portway.protocol.http1.response import parse_response_head
from portway.protocol.http1.serialise import request_lines, response_bytes
from portway.protocol.names import normalise_host
from tests.fuzz.target import Target, add, cuts, outcome, quietly
from tests.protocol.http1 import chunked_reference
from tests.protocol.http1.corpus import hostile_requests, hostile_responses

WORDS = tuple(
    b"\r\n|\n|\r|\r\n\r\n|: |:|\t| |Host: a\r\n|Content-Length: 5\r\n|Content-Length: |Transfer-Encoding: chunked\r\n|Transfer-Encoding: |chunked|"
    b"Connection: close\r\n|Connection: |keep-alive|Upgrade: websocket\r\n|Expect: 100-continue\r\n|TE: trailers\r\n|Trailer: x\r\n|HTTP/1.1|"
    b"HTTP/1.0|GET |POST |CONNECT |OPTIONS * |http://b/|0x|+1|1_0|-0|\x85|\xa0|\x00|\x0b|,|;|a:\r\n".split(b"|")
)

_names = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"TE", b"Trailer", b"Upgrade", b"Expect", b"X-A", b"a"]
)
_values = st.one_of(st.sampled_from(WORDS), st.binary(max_size=12), st.sampled_from([b"chunked", b"5", b"a.localhost", b"close"]))
_fields = st.lists(st.tuples(_names, st.sampled_from([b": ", b":", b" : "]), _values), max_size=8).map(
    lambda several: b"".join(b"%b%b%b\r\n" % one for one in several)
)
_methods = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH"])
_targets = st.sampled_from([b"/", b"*", b"http://a/b?c", b"a:80", b"/%00", b"//x", b"/\x80"])


def head_of(data: bytes, limits: HeadLimits) -> bytes | None:
    """Cut the head off, as an edge does; None while it is incomplete."""
    return cut_head(data, None, limits)[0] if data else None


def _pieces(data: list[bytes], limits: HeadLimits) -> bytes | None:
    buffer = HeadBuffer(limits)
    for piece in data:
        if piece:
            found = buffer.feed(piece)
            if found is not None:
                return found[0]
    return None


def _same_head_however_cut(data: bytes, limits: HeadLimits) -> bytes | None:
    whole = outcome(lambda: head_of(data, limits), MessageError)
    for pieces in cuts(data):
        # Only complete heads are compared: errors may be found earlier or later, depending on the cuts.
        found = outcome(lambda pieces=pieces: _pieces(pieces, limits), MessageError)  # type: ignore[misc]
        if isinstance(whole, bytes) and isinstance(found, bytes):
            assert whole == found
    return whole if isinstance(whole, bytes) else None


def parse_request(data: bytes) -> RequestHead | None:
    """Read a request's head."""
    head = head_of(data, REQUEST_LIMITS)
    return None if head is None else parse_request_head(head)


def check_request(data: bytes) -> None:
    """Whatever is accepted is accepted by h11 as well and means the same there; written anew, it means the same again."""
    head = _same_head_however_cut(data, REQUEST_LIMITS)
    if head is None:
        return
    try:
        ours = parse_request_head(head)
    except MessageError:
        return
    again = request_lines(ours) + b"\r\n"
    second = parse_request_head(again)
    assert (second.method, second.target, second.host, second.body) == (ours.method, ours.target, ours.host, ours.body), again
    assert [name.lower() for name, _ in second.fields].count(b"host") == 0
    assert b"\n" not in ours.target + ours.method + ours.host
    theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    theirs.receive_data(again)
    try:
        event = theirs.next_event()
    except h11.RemoteProtocolError as exc:
        raise AssertionError(f"h11 refuses what goes to origins: {exc}: {again!r}") from exc
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (ours.method, ours.target)
    framing = [value for name, value in event.headers if name in (b"content-length", b"transfer-encoding")]
    assert len(framing) <= 1, again
    try:
        normalise_host(ours.host)
    except PeerError:
        pass  # 400 later, when it is routed


def parse_response(data: bytes) -> object:
    """Read an answer's head."""
    head = head_of(data, RESPONSE_LIMITS)
    return None if head is None else parse_response_head(head, b"GET")


def check_response(data: bytes) -> None:
    """A response that is serialised again has the same meaning, also for h11."""
    head = _same_head_however_cut(data, RESPONSE_LIMITS)
    if head is None:
        return
    for method in (b"GET", b"HEAD"):
        try:
            ours = parse_response_head(head, method)
        except MessageError:
            continue
        if ours.status < 200:
            continue
        again = response_bytes(ours, ours.body, keep_alive=ours.keep_alive)
        second = parse_response_head(again, method)
        assert (second.status, second.body) == (ours.status, ours.body), again
        theirs = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        theirs.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
        theirs.send(h11.EndOfMessage())
        theirs.receive_data(again)
        try:
            event = theirs.next_event()
        except h11.RemoteProtocolError as exc:
            raise AssertionError(f"h11 refuses what goes to visitors: {exc}: {again!r}") from exc
        assert isinstance(event, h11.Response)
        assert event.status_code == ours.status


def decode_chunks(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Decode a body; return its payload, whether it is over, and what follows it."""
    decoder, payload, rest = ChunkDecoder(), bytearray(), b""
    for piece in pieces:
        if decoder.done:
            rest += piece
            continue
        left = piece
        while left and not decoder.done:
            before = len(left)
            some, left = decoder.feed(left)
            for part in some:
                payload += part
            assert len(left) < before or not left, "nothing was decoded, and nothing is over"
        rest += left
    return bytes(payload), decoder.done, rest


def check_chunks(data: bytes) -> None:
    """However it is cut, a body is what a slow and simple decoder makes of it."""
    try:
        slow = chunked_reference.decode(data)
        expected: object = (slow.payload, slow.done, slow.rest)
    except chunked_reference.InvalidError:
        expected = MessageError
    for pieces in cuts(data):
        found = outcome(lambda pieces=pieces: decode_chunks(pieces), MessageError)  # type: ignore[misc]
        assert found == expected, (pieces, found, expected)


_sizes = st.one_of(st.integers(0, 40).map(lambda size: b"%x" % size), st.sampled_from([b"0x1", b"+1", b"", b"1_0", b"F" * 17, b"00a"]))
_chunk = st.tuples(
    _sizes, st.sampled_from([b"", b"", b"", b";a=b", b";\n", b" "]), st.sampled_from([b"\r\n", b"\r\n", b"\n"]), st.binary(max_size=40)
)
_body = st.lists(_chunk, max_size=12).map(lambda several: b"".join(b"%b%b%b%b\r\n" % one for one in several))


def _true_chunks(several: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in several if one) + b"0\r\n\r\nGET"


def _repeated(piece: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + piece * ((size - len(before) - len(after)) // len(piece)) + after


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
add(
    Target(
        "request-head",
        quietly(parse_request, MessageError),
        check_request,
        tuple(one.wire for one in hostile_requests()),
        WORDS,
        st.tuples(_methods, _targets, _fields).map(lambda parts: b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % parts),
        shapes=(
            _repeated(b"a:\r\n", HEAD, b"\r\n"),
            _repeated(b"Cookie: a=b\r\n", HEAD, b"\r\n"),
            _repeated(b"x", b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
            _repeated(b"a,", HEAD + b"Connection: ", b"\r\n\r\n"),
            _repeated(b" ", HEAD + b"A: ", b"b\r\n\r\n"),
            _repeated(b"Connection: a\r\n", HEAD, b"\r\n"),
            _repeated(b"X-Forwarded-For: 1\r\n", HEAD, b"\r\n"),
        ),
    )
)
add(
    Target(
        "response-head",
        quietly(parse_response, MessageError),
        check_response,
        tuple(one.wire for one in hostile_responses()),
        (*WORDS, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.1 101 x\r\n"),
        st.tuples(st.sampled_from([b"200 OK", b"304", b"204 x", b"100 C", b"999 x", b"200"]), _fields).map(
            lambda parts: b"HTTP/1.1 %b\r\n%b\r\n" % parts
        ),
        shapes=(
            _repeated(b"a:\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n"),
            _repeated(b"Set-Cookie: a=b\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n"),
            _repeated(b"a,", b"HTTP/1.1 200 OK\r\nConnection: ", b"\r\n\r\n"),
        ),
    )
)
add(
    Target(
        "chunked",
        quietly(lambda data: decode_chunks([data]), MessageError),
        check_chunks,
        (b"5\r\nhello\r\n0\r\n\r\nGET", b"1\r\nx\r\n" * 40 + b"0\r\nA: b\r\n\r\n", b"a;x=y\r\n0123456789\r\n0\r\n\r\n", b"5\r\nhel"),
        (
            b"\r\n",
            b"\n",
            b"\r",
            b"0\r\n\r\n",
            b"1\r\nx\r\n",
            b";a",
            b"A: b\r\n",
            b"Host: b\r\n",
            b"ffffffffffffffff",
            b"10000000000000000",
            b"0x",
            b"+",
            b"_",
        ),
        st.one_of(_body, st.lists(st.binary(max_size=60), max_size=8).map(_true_chunks)),
        shapes=(
            _repeated(b"1\r\nx\r\n"),
            _repeated(b"1;e\r\nx\r\n"),
            _repeated(b"0000000000000001\r\nx\r\n"),
            _repeated(b"2\r\nxx\r\n1\r\nx\r\n"),
            _repeated(b"10\r\n0123456789abcdef\r\n"),
            _repeated(b"1\r\nx\r\n2;x\r\nyy\r\n"),
            _repeated(b"400\r\n" + bytes(1024) + b"\r\n"),
            _repeated(b"A: b\r\n", b"0\r\n"),
        ),
    )
)
