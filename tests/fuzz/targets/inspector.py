"""What the inspector reads beside relays: messages of a stream, frames, events, and bodies with secrets."""

from hypothesis import strategies as st

from portway.errors import PeerError
from portway.inspector.redaction import Redaction
from portway.protocol.event_stream import EventStreamParser
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import RESPONSE_LIMITS
from portway.protocol.http1.framing import Body
from portway.protocol.http1.stream_parser import After, StreamParser, response_framing
from portway.protocol.websocket_frames import FrameReader, unmask
from tests.fuzz.target import Target, add, cuts, quietly

SECRET = b"CANARY7f3a91d2"


class _Messages:
    """Collects bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.body = self.rest = b""

    def on_head(self, head: bytes) -> Body | After:
        if not head[9:12].isdigit():
            raise MessageError("invalid status")
        self.body = b""
        return response_framing(head.lower(), int(head[9:12]), b"GET")

    def on_body(self, piece: memoryview | bytes) -> None:
        self.body += bytes(piece)

    def on_wire(self, piece: memoryview) -> None:
        """Do nothing."""

    def on_message_end(self) -> None:
        self.bodies.append(self.body)

    def on_other(self, piece: memoryview) -> None:
        self.rest += bytes(piece)


def _messages(pieces: list[bytes]) -> tuple[list[bytes], bytes, bool]:
    sink = _Messages()
    parser = StreamParser(sink, RESPONSE_LIMITS)
    for piece in pieces:
        parser.feed(memoryview(piece))
    parser.end()
    return sink.bodies, sink.rest, bool(parser.failed)


def check_messages(data: bytes) -> None:
    """Any cut gives the same messages, as long as none fails: errors may be found earlier or later."""
    bodies, rest, failed = _messages([data])
    for pieces in cuts(data):
        found = _messages([piece for piece in pieces if piece])
        if not failed and not found[2]:
            assert found[:2] == (bodies, rest)


def _frames(data: bytes) -> list[tuple[int, bytes]]:
    return [(frame.opcode, unmask(frame.payload, frame.key)) for frame in FrameReader(1 << 16).feed(memoryview(data))]


def check_frames(data: bytes) -> None:
    """Any cut gives the same frames."""
    whole = quietly(_frames, PeerError)(data)
    for pieces in cuts(data):
        reader, found = FrameReader(1 << 16), []
        try:
            for piece in pieces:
                found += [(frame.opcode, unmask(frame.payload, frame.key)) for frame in reader.feed(memoryview(piece))]
        except PeerError:
            continue
        if isinstance(whole, list):
            assert found == whole


def check_events(data: bytes) -> None:
    """Any cut gives the same events."""
    whole = EventStreamParser().feed(data)
    for pieces in cuts(data):
        parser = EventStreamParser()
        found = [event for piece in pieces for event in parser.feed(piece)]
        # A line end of CR and LF that is cut may end an event one byte earlier.
        assert [event.data for event in found] == [event.data for event in whole] or b"\r" in data


RULES = Redaction()


def redact(data: bytes) -> object:
    """Redact as a body."""
    return RULES.body(data, b"application/json")


def check_redaction(data: bytes) -> None:
    """A secret under a plain key is found whatever is around it on other lines."""
    text = data.replace(SECRET, b"").replace(b'"', b"").replace(b"'", b"").replace(b"\\", b"").replace(b"[", b"")
    found, _ = RULES.body(text + b'\n{"a": 1, "password": "' + SECRET + b'"}', b"application/json")
    assert SECRET not in found
    RULES.head(data)


_bodies = st.sampled_from([b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b""])
_heads = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n",
     b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 101 S\r\n\r\n", b"HTTP/1.1 204 N\r\n\r\n"]
)  # fmt: skip
_streams = st.lists(st.tuples(_heads, _bodies), max_size=5).map(lambda several: b"".join(head + body for head, body in several))

add(
    Target(
        "inspector-messages",
        lambda data: _messages([data]),
        check_messages,
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
        (b"\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"0\r\n\r\n", b"1\r\nx\r\n"),
        made=_streams,
        by_byte=False,
    )
)
add(
    Target(
        "websocket-frames",
        quietly(_frames, PeerError),
        check_frames,
        (b"\x81\x05hello", b"\x81\x85abcd\x09\x07\x0f\x08\x0e"),
        (b"\x81\x00",),
        by_byte=False,
    )
)
add(
    Target(
        "event-stream",
        lambda data: EventStreamParser().feed(data),
        check_events,
        (b"event: a\nid: 1\ndata: x\n\n",),
        (b"\n\n", b"data: ", b"\r\n"),
    )
)
add(
    Target(
        "redaction",
        quietly(redact, PeerError),
        check_redaction,
        (b'{"password": "x", "a": [1, {"token": "y"}]}', b"password=x&token=y"),
        (b'"password":', b"token=", b'"', b"\\", b"/reset/", b"eyJ", b"bearer "),
        shapes=(
            lambda size: b'{"token":"a"},' * (size // 14),
            lambda size: b"/" + b"reset" * (size // 5),
            lambda size: b"eyJ" * (size // 3),
        ),
    )
)
