"""Taps of single streams: several requests on one, upgrades, compressed bodies, event streams, and what cannot be followed."""

import gzip
import zlib
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from portway.inspector.exchange import TunnelInfo
from portway.inspector.hub import Hub
from portway.inspector.recorder import Recorder
from portway.inspector.redaction import Redaction
from portway.inspector.store import Store
from portway.inspector.tap import HttpTap
from portway.inspector.writing import MESSAGES_MAX, Writer

TUNNEL = TunnelInfo("app", "http://app.test", "127.0.0.1:3000")
REQUEST = b"GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b\r\n"


class Accepting:
    """A sink that accepts everything, or at most `most` bytes at once."""

    wants_headroom = False

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.sent = b""
        self.ended = False

    def room(self) -> int:
        return self.most

    def send(self, data: memoryview | bytes | bytearray) -> int:
        count = min(self.most, len(data))
        self.sent += bytes(data[:count])
        return count

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        return self.send(buffer[12 : 12 + count])

    def splice_from(self, pipe: int, count: int) -> int:
        raise NotImplementedError

    def shutdown_write(self) -> None:
        self.ended = True


class Stream:
    """One stream with its tap, whose exchanges go to a store in memory."""

    def __init__(self, **settings: Any) -> None:
        self.store = Store(None, 50_000_000)
        self.writer = Writer(self.store, Redaction(enabled=settings.pop("redacts", True)), 1_000_000, Hub().notify)
        self.recorder = Recorder(self.writer.write, 1_000_000, **settings)
        self.tap: HttpTap = self.recorder.open_tap(TUNNEL, 0.001)
        self.to_origin, self.to_visitor = Accepting(), Accepting()
        self.forward, self.backward = self.tap.sinks(self.to_origin, self.to_visitor)

    def visitor(self, data: bytes) -> None:
        assert self.forward.send(data) == len(data)

    def origin(self, data: bytes) -> None:
        assert self.backward.send(data) == len(data)

    def rows(self, reason: str = "closed") -> list[dict[str, Any]]:
        """End the stream, and return what was stored, oldest first."""
        self.tap.close(reason)
        self.recorder.close()
        assert self.recorder.taps == set()
        assert self.recorder.buffered_bytes == 0
        return [self.store.find(row["id"]) or {} for row in reversed(self.store.page())]

    def frames(self) -> list[tuple[int, str, str, bytes]]:
        (row,) = self.rows()
        return [(one["side"], one["kind"], one["state"], one["data"]) for one in self.store.messages(row["id"], limit=20_000)]


def test_requests_of_one_stream_are_separate_exchanges_and_bytes_pass_unchanged() -> None:
    stream = Stream()
    for _ in range(3):
        stream.visitor(REQUEST)
        stream.origin(RESPONSE)
    rows = stream.rows()

    assert [(row["method"], row["target"], row["status"], row["state"]) for row in rows] == [("GET", "/a", 200, "done")] * 3
    assert ["connect_ms" in row["timings"] for row in rows] == [True, False, False], "the first one needed the connection"
    assert (stream.to_origin.sent, stream.to_visitor.sent) == (REQUEST * 3, RESPONSE * 3)


def test_only_what_the_sink_accepts_is_captured() -> None:
    stream = Stream()
    stream.to_origin.most = 7
    data = memoryview(REQUEST)
    while data:
        data = data[stream.forward.send(data) :]
    headroom = memoryview(bytearray(12) + RESPONSE)
    assert stream.backward.send_headroom(headroom, len(RESPONSE)) == len(RESPONSE)

    (row,) = stream.rows()
    assert (row["request_head"], row["status"], row["state"]) == (REQUEST, 200, "done")


def test_interim_responses_and_responses_to_head() -> None:
    stream = Stream()
    stream.visitor(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    stream.origin(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
    stream.visitor(REQUEST)
    stream.origin(b"HTTP/1.1 304 Not Modified\r\n\r\n")

    assert [(row["status"], row["response_bytes"]) for row in stream.rows()] == [(200, 0), (304, 0)]


def test_a_body_until_the_end_is_complete_only_with_a_proper_end() -> None:
    for ends, state in ((True, "done"), (False, "broken")):
        stream = Stream()
        stream.visitor(REQUEST)
        stream.origin(b"HTTP/1.0 200 OK\r\n\r\nto the end")
        if ends:
            stream.backward.shutdown_write()
            assert stream.to_visitor.ended

        (row,) = stream.rows("the origin broke the connection")
        assert (row["state"], row["response_bytes"]) == (state, 10)


@pytest.mark.parametrize(
    ("coding", "data"), [(b"gzip", gzip.compress(b'{"password":"x1"}', mtime=0)), (b"deflate", zlib.compress(b'{"password":"x1"}'))]
)
def test_compressed_bodies_are_decoded_to_find_secrets(coding: bytes, data: bytes) -> None:
    stream = Stream()
    stream.visitor(REQUEST)
    stream.origin(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (coding, len(data), data)
    )
    (row,) = stream.rows()

    body = stream.store.bodies(row["id"])[1]
    assert (body["data"], body["coding"], body["size"], body["state"]) == (b'{"password":"***"}', "", len(data), "complete")


def test_a_body_that_cannot_be_decoded_is_not_stored_unless_nothing_is_redacted() -> None:
    for redacts, stored in ((True, b""), (False, b"secret")):
        stream = Stream(redacts=redacts)
        stream.visitor(REQUEST)
        stream.origin(b"HTTP/1.1 200 OK\r\nContent-Encoding: x-own\r\nContent-Length: 6\r\n\r\nsecret")
        (row,) = stream.rows()

        assert stream.store.bodies(row["id"])[1]["data"] == stored


def test_frames_of_a_websocket() -> None:
    stream = Stream()
    stream.visitor(UPGRADE)
    stream.origin(SWITCHED % b"" + Frame(Opcode.TEXT, b"welcome").serialize(mask=False))
    stream.visitor(Frame(Opcode.TEXT, b'{"token":"x1"}').serialize(mask=True) + Frame(Opcode.PING, b"p").serialize(mask=True))
    stream.origin(Frame(Opcode.BINARY, b"\x00\xff").serialize(mask=False) + Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=False))

    assert stream.frames() == [
        (1, "text", "complete", b"welcome"),
        (0, "text", "complete", b'{"token":"***"}'),
        (0, "ping", "complete", b"p"),
        (1, "binary", "complete", b"\x00\xff"),
        (1, "close", "complete", b"bye"),
    ]


@pytest.mark.parametrize("takeover", [True, False])
def test_compressed_frames_are_inflated(takeover: bool) -> None:
    stream = Stream()
    stream.visitor(UPGRADE)
    option = b"" if takeover else b"; server_no_context_takeover"
    stream.origin(SWITCHED % (b"Sec-WebSocket-Extensions: permessage-deflate%b\r\n" % option))
    deflater = zlib.compressobj(wbits=-15)
    for _ in range(3):
        data = (deflater.compress(b"the same text again") + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        stream.origin(bytes([0x40 | 0x81, len(data)]) + data)
        if not takeover:
            deflater = zlib.compressobj(wbits=-15)

    assert [data for _, _, _, data in stream.frames()] == [b"the same text again"] * 3


def test_a_compression_bomb_in_a_frame_is_bounded() -> None:
    stream = Stream()
    stream.visitor(UPGRADE)
    stream.origin(SWITCHED % b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    deflater = zlib.compressobj(9, wbits=-15)
    data = (deflater.compress(bytes(100_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    stream.origin(b"\xc1\x7f" + len(data).to_bytes(8, "big") + data)

    ((_, _, state, stored),) = stream.frames()
    assert (state, len(stored)) == ("truncated", 1_000_000)


def test_more_frames_than_are_stored_are_counted() -> None:
    stream = Stream()
    stream.visitor(UPGRADE)
    stream.origin(SWITCHED % b"")
    frame = Frame(Opcode.PING, b"").serialize(mask=False)
    for _ in range(MESSAGES_MAX // 100 + 3):
        stream.origin(frame * 100)
    (row,) = stream.rows()

    assert (row["messages"], row["messages_missed"]) == (MESSAGES_MAX, 300)


def test_other_protocols_after_an_upgrade_are_only_counted() -> None:
    stream = Stream()
    stream.visitor(UPGRADE.replace(b"websocket", b"tcp"))
    stream.origin(SWITCHED.replace(b"websocket", b"tcp") % b"" + b"12345")
    stream.visitor(b"123")
    (row,) = stream.rows()

    assert (row["status"], row["kind"], row["request_bytes"], row["response_bytes"], row["state"]) == (101, "http", 3, 5, "broken")


def test_events_of_a_stream_are_stored_one_by_one() -> None:
    stream = Stream()
    stream.visitor(REQUEST)
    stream.origin(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in (b"data: one\n\n", b'event: login\nid: 2\ndata: {"token":"x1"}\n\n'):
        stream.origin(b"%x\r\n%b\r\n" % (len(event), event))
    (row,) = stream.rows()

    messages = stream.store.messages(row["id"])
    assert [(one["kind"], one["name"], one["data"]) for one in messages] == [
        ("event", "", b"one"),
        ("event", "login #2", b'{"token":"***"}'),
    ]
    assert row["kind"] == "sse"


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"HTTP/2.0 200\r\n\r\n", "invalid status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "both Content-Length and Transfer-Encoding"),
        (b"\x16\x03\x01", "not HTTP"),
    ],
)
def test_what_cannot_be_followed_still_passes(response: bytes, error: str) -> None:
    stream = Stream()
    stream.visitor(REQUEST)
    stream.origin(response)
    stream.origin(b"more")
    (row,) = stream.rows()

    assert (row["state"], error in row["error"]) == ("broken", True)
    assert stream.to_visitor.sent == response + b"more"


def test_a_response_without_a_request_is_ignored() -> None:
    stream = Stream()
    stream.origin(RESPONSE)

    assert stream.rows() == []


def test_bodies_are_dropped_and_shown_as_dropped_when_memory_is_used_up() -> None:
    stream = Stream(buffered_bytes_max=1000)
    stream.visitor(REQUEST)
    stream.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000))
    (row,) = stream.rows()

    assert (row["status"], row["response_bytes"], row["state"]) == (200, 5000, "done")
    assert stream.store.bodies(row["id"])[1]["state"] == "dropped"
    assert stream.recorder.dropped_bodies == 1
