"""Following the messages of one direction: any cut gives the same messages, and nothing that passes can make it fail."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import RESPONSE_LIMITS
from portway.protocol.http1.framing import Body
from portway.protocol.http1.stream_parser import After, StreamParser, field_value, request_framing, response_framing


class Collected:
    """Messages as (head, body), and what followed an upgrade."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.body = self.wire = self.other = b""
        self.head = b""

    def on_head(self, head: bytes) -> Body | After:
        digits = head[9:12]
        framing = response_framing(head.lower(), int(digits) if digits.isdigit() else 200, b"GET")
        if framing != After.ANOTHER_HEAD:
            self.head, self.body = head, b""
        return framing

    def on_body(self, piece: memoryview | bytes) -> None:
        self.body += bytes(piece)

    def on_wire(self, piece: memoryview) -> None:
        self.wire += bytes(piece)

    def on_message_end(self) -> None:
        self.messages.append((self.head, self.body))

    def on_other(self, piece: memoryview) -> None:
        self.other += bytes(piece)


def parsed(pieces: list[bytes]) -> tuple[Collected, StreamParser]:
    found = Collected()
    parser = StreamParser(found, RESPONSE_LIMITS)
    for piece in pieces:
        parser.feed(memoryview(piece))
    return found, parser


def head_of(*fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""])


CHUNKED = b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
STREAM = (
    head_of(status=b"100 Continue")
    + head_of(b"Content-Length: 5") + b"hello"
    + head_of(b"Transfer-Encoding: chunked") + CHUNKED
    + head_of(status=b"204 No Content")
    + head_of(b"X: 1") + b"until the end"
)  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_messages_are_the_same_for_any_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    found, parser = parsed([STREAM[a:b] for a, b in pairwise(places) if a < b])
    parser.end()

    assert [body for _, body in found.messages] == [b"hello", b"helloabc", b"", b"until the end"]
    assert found.wire == CHUNKED
    assert parser.failed == ""


@given(st.lists(st.binary(max_size=200)))
def test_noise_never_raises(pieces: list[bytes]) -> None:
    parsed(pieces)


def test_large_chunks_are_passed_over_without_decoding() -> None:
    data = b"%x\r\n%b\r\n" % (300_000, b"x" * 300_000)
    found, parser = parsed([head_of(b"Transfer-Encoding: chunked") + data[:10], data[10:200_000], data[200_000:] + b"0\r\n\r\n"])

    assert len(found.messages[0][1]) == 300_000
    assert not parser.in_message


def test_chunks_of_one_byte_in_bulk_are_not_followed() -> None:
    found, parser = parsed([head_of(b"Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 40_000])

    assert found.messages == []
    assert parser.failed == "chunks too small to be followed"


def test_bytes_after_an_upgrade_are_not_parsed() -> None:
    found, _ = parsed([head_of(b"Upgrade: websocket", status=b"101 Switching Protocols") + b"\x81\x05", b"hello"])

    assert found.other == b"\x81\x05hello"


def test_a_stream_that_switches_is_not_parsed_any_more() -> None:
    found = Collected()
    parser = StreamParser(found, RESPONSE_LIMITS)
    parser.switch()
    parser.feed(memoryview(b"anything"))

    assert found.other == b"anything"


def test_a_head_without_end_is_bounded() -> None:
    _, parser = parsed([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50_000] * 10)

    assert "a head of more than" in parser.failed


def test_framing_follows_the_fields() -> None:
    assert request_framing(b"post / http/1.1\r\ncontent-length: 12\r\n\r\n") == 12
    assert request_framing(b"get / http/1.0\r\n\r\n") == 0
    with pytest.raises(MessageError):
        request_framing(b"post / http/1.0\r\ntransfer-encoding: chunked\r\n\r\n")
    assert response_framing(b"http/1.1 200 ok\r\ncontent-length: 12\r\n\r\n", 200, b"HEAD") == 0
    assert field_value(b"get / http/1.1\r\nx-y:  z \r\n\r\n", b"x-y") == b"z"
    assert field_value(b"get / http/1.1\r\nx-y: z\r\n\r\n", b"y") is None
